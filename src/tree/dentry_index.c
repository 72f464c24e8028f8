/* SPDX-License-Identifier: MIT */
#include "tree/dentry_index.h"

#include <sodium/crypto_shorthash.h>
#include <string.h>

_Static_assert(sizeof(((struct root *)0)->name_key) == crypto_shorthash_KEYBYTES,
               "the key of crypto_shorthash()");

static struct dentry *dentry_get(const struct journal *journal, uint32_t id) {
        return journal_get(journal, TABLE_DENTRY, id);
}

static void set_link(struct journal *journal, uint32_t *link, uint32_t id) {
        if (*link != id)
                JOURNAL_SET(journal, *link, id);
}

/* The hash */

static uint32_t name_hash(const struct journal *journal, uint32_t dir, const char *name,
                          size_t length) {
        const struct root *root = journal_root(journal);
        unsigned char key[sizeof(dir) + LAYOUT_NAME_MAX];
        uint64_t hash;

        memcpy(key, &dir, sizeof(dir));
        memcpy(key + sizeof(dir), name, length);
        crypto_shorthash((unsigned char *)&hash, key, sizeof(dir) + length, root->name_key);
        return (uint32_t)hash;
}

/*
 * Linear hashing.  There are n buckets, and 2^k is the largest power of two that is not above n.
 * The buckets below n - 2^k have been split already, and use one bit of the hash more than the
 * others.
 */
static uint32_t bucket_of(uint32_t n_buckets, uint32_t hash) {
        uint32_t low = (UINT32_C(1) << (31 - __builtin_clz(n_buckets))) - 1, high = 2 * low + 1;

        return (hash & high) < n_buckets ? hash & high : hash & low;
}

static uint32_t *bucket_head(const struct journal *journal, uint32_t bucket) {
        struct buckets *buckets =
                journal_get(journal, TABLE_BUCKETS, bucket / LAYOUT_BUCKETS_EACH + 1);

        return &buckets->heads[bucket % LAYOUT_BUCKETS_EACH];
}

/* Adds a bucket, and moves into it a part of the bucket that is split. */
static void hash_split(struct journal *journal) {
        struct root *root = journal_root(journal);
        uint32_t added = root->n_buckets;
        uint32_t *from, *to;

        /* If the table is full, the chains just grow longer. */
        if (added % LAYOUT_BUCKETS_EACH == 0 && journal_new(journal, TABLE_BUCKETS) == 0)
                return;
        JOURNAL_SET(journal, root->n_buckets, added + 1);
        from = bucket_head(journal, added - (UINT32_C(1) << (31 - __builtin_clz(added))));
        to = bucket_head(journal, added);
        for (uint32_t id = *from; id != 0;) {
                struct dentry *dentry = dentry_get(journal, id);
                uint32_t next = dentry->hash_next;

                if (bucket_of(added + 1, dentry->hash) == added) {
                        set_link(journal, from, next);
                        set_link(journal, &dentry->hash_next, *to);
                        set_link(journal, to, id);
                } else {
                        from = &dentry->hash_next;
                }
                id = next;
        }
}

static void hash_add(struct journal *journal, struct dentry *dentry) {
        struct root *root = journal_root(journal);
        uint32_t *head;

        if (journal_used(journal, TABLE_DENTRY) > root->n_buckets)
                hash_split(journal);
        head = bucket_head(journal, bucket_of(root->n_buckets, dentry->hash));
        set_link(journal, &dentry->hash_next, *head);
        set_link(journal, head, dentry->id);
}

static void hash_remove(struct journal *journal, const struct dentry *dentry) {
        const struct root *root = journal_root(journal);
        uint32_t *link = bucket_head(journal, bucket_of(root->n_buckets, dentry->hash));

        while (*link != dentry->id)
                link = &dentry_get(journal, *link)->hash_next;
        set_link(journal, link, dentry->hash_next);
}

struct dentry *dentry_index_find(const struct journal *journal, uint32_t dir, const char *name,
                                 size_t length) {
        const struct root *root = journal_root(journal);
        uint32_t hash, id;

        if (length > LAYOUT_NAME_MAX)
                return NULL;
        hash = name_hash(journal, dir, name, length);
        for (id = *bucket_head(journal, bucket_of(root->n_buckets, hash)); id != 0;) {
                struct dentry *dentry = dentry_get(journal, id);

                if (dentry->hash == hash && dentry->parent == dir && dentry->length == length &&
                    memcmp(dentry->name, name, length) == 0)
                        return dentry;
                id = dentry->hash_next;
        }
        return NULL;
}

/* The order of a directory: a treap, the largest hash on top. */

static bool is_above(const struct dentry *a, const struct dentry *b) {
        return a->hash >= b->hash;
}

static void order_add(struct journal *journal, struct dentry *dentry) {
        struct node *dir = journal_get(journal, TABLE_NODE, dentry->parent);
        uint32_t *link = &dir->entries;

        /* Its cookie is the largest, so it belongs at the end of the right-hand edge. */
        while (*link != 0 && is_above(dentry_get(journal, *link), dentry))
                link = &dentry_get(journal, *link)->order_right;
        set_link(journal, &dentry->order_left, *link);
        set_link(journal, &dentry->order_right, 0);
        set_link(journal, link, dentry->id);
}

static void order_remove(struct journal *journal, const struct dentry *dentry) {
        struct node *dir = journal_get(journal, TABLE_NODE, dentry->parent);
        uint32_t *link = &dir->entries, left = dentry->order_left, right = dentry->order_right;

        while (*link != dentry->id) {
                struct dentry *at = dentry_get(journal, *link);

                link = dentry->cookie < at->cookie ? &at->order_left : &at->order_right;
        }
        /* Merge its two subtrees into its place. */
        while (left != 0 && right != 0) {
                struct dentry *a = dentry_get(journal, left), *b = dentry_get(journal, right);

                if (is_above(a, b)) {
                        set_link(journal, link, left);
                        link = &a->order_right;
                        left = a->order_right;
                } else {
                        set_link(journal, link, right);
                        link = &b->order_left;
                        right = b->order_left;
                }
        }
        set_link(journal, link, left != 0 ? left : right);
}

const struct dentry *dentry_index_next(const struct journal *journal, const struct node *dir,
                                       uint64_t after) {
        const struct dentry *found = NULL;

        for (uint32_t id = dir->entries; id != 0;) {
                const struct dentry *dentry = dentry_get(journal, id);

                if (dentry->cookie > after)
                        found = dentry;
                id = dentry->cookie > after ? dentry->order_left : dentry->order_right;
        }
        return found;
}

const struct dentry *dentry_index_before(const struct journal *journal, const struct node *dir,
                                         uint64_t before) {
        const struct dentry *found = NULL;

        for (uint32_t id = dir->entries; id != 0;) {
                const struct dentry *dentry = dentry_get(journal, id);

                if (dentry->cookie < before)
                        found = dentry;
                id = dentry->cookie < before ? dentry->order_right : dentry->order_left;
        }
        return found;
}

/* Both */

void dentry_index_init(struct journal *journal) {
        struct root *root = journal_root(journal);

        journal_touch(journal, root->name_key, sizeof(root->name_key));
        crypto_shorthash_keygen(root->name_key);
        journal_new(journal, TABLE_BUCKETS);
        JOURNAL_SET(journal, root->n_buckets, LAYOUT_BUCKETS_EACH);
}

void dentry_index_add(struct journal *journal, struct dentry *dentry) {
        uint32_t hash = name_hash(journal, dentry->parent, dentry->name, dentry->length);

        set_link(journal, &dentry->hash, hash);
        hash_add(journal, dentry);
        order_add(journal, dentry);
}

void dentry_index_remove(struct journal *journal, struct dentry *dentry) {
        hash_remove(journal, dentry);
        order_remove(journal, dentry);
}

/* The names of a node */

void dentry_index_attach(struct journal *journal, struct dentry *dentry, struct node *node) {
        struct dentry *first = dentry_get(journal, node->dentry);

        set_link(journal, &dentry->node, node->id);
        set_link(journal, &dentry->name_next, node->dentry);
        set_link(journal, &dentry->name_previous, 0);
        if (first)
                set_link(journal, &first->name_previous, dentry->id);
        set_link(journal, &node->dentry, dentry->id);
}

void dentry_index_detach(struct journal *journal, struct dentry *dentry) {
        struct node *node = journal_get(journal, TABLE_NODE, dentry->node);
        struct dentry *previous = dentry_get(journal, dentry->name_previous);
        struct dentry *next = dentry_get(journal, dentry->name_next);

        set_link(journal, previous ? &previous->name_next : &node->dentry, dentry->name_next);
        if (next)
                set_link(journal, &next->name_previous, dentry->name_previous);
}
