/* SPDX-License-Identifier: MIT */
#include "volume/owner.h"

#include <errno.h>
#include <sodium/crypto_shorthash.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "records/chain.h"
#include "volume/owner_watch.h"

enum {
        STEP = 32,           /* regions in one transaction */
        STEP_RETRY_MS = 100, /* after one that failed */
};

struct owners {
        struct txn *txn;
        struct journal *journal;
        struct root *root;
        struct owner_acts acts;
        struct owner_watches *watches;
        struct loop_source *ending; /* takes regions from owners that have ended */
        uint32_t *touched;          /* owners that this transaction has made or deleted */
        size_t n_touched, touched_capacity;
        bool touched_more; /* there was no memory to store which ones */
};

static struct owner *owner_get(const struct journal *journal, uint32_t id) {
        struct owner *owner = journal_get(journal, TABLE_OWNER, id);

        return owner && owner->id == id ? owner : NULL;
}

static struct owned *owned_get(const struct journal *journal, uint32_t id) {
        struct owned *owned = journal_get(journal, TABLE_OWNED, id);

        return owned && owned->id == id ? owned : NULL;
}

/* The hash, keyed so that nobody can choose processes that are in one bucket */

static uint32_t *owners_head(const struct owners *owners, const struct owner_key *key) {
        const uint64_t words[] = {key->kind, key->version, (uint64_t)key->pid, key->start,
                                  key->inode};
        uint64_t hash;

        crypto_shorthash((unsigned char *)&hash, (const unsigned char *)words, sizeof(words),
                         owners->root->name_key);
        return &owners->root->owner_heads[hash % LAYOUT_OWNER_HEADS];
}

static struct owner *owners_find(const struct owners *owners, const struct owner_key *key) {
        uint32_t id = *owners_head(owners, key);

        while (id != 0) {
                struct owner *owner = owner_get(owners->journal, id);
                struct owner_key other = owner_record_key(owner);

                if (owner_key_equal(&other, key))
                        return owner;
                id = owner->hash_next;
        }
        return NULL;
}

static void owners_unhash(struct owners *owners, const struct owner *owner) {
        struct owner_key key = owner_record_key(owner);
        uint32_t *link = owners_head(owners, &key);

        while (*link != owner->id)
                link = &owner_get(owners->journal, *link)->hash_next;
        JOURNAL_SET(owners->journal, *link, owner->hash_next);
}

/* Making */

/* It gets or loses its watch when the transaction is committed. */
static void owners_note(struct owners *owners, uint32_t id) {
        if (owners->n_touched == owners->touched_capacity) {
                size_t capacity = 2 * owners->touched_capacity + 4;
                uint32_t *touched = fault_strikes(FAULT_MEMORY)
                                            ? NULL
                                            : realloc(owners->touched, capacity * sizeof(*touched));

                if (!touched) {
                        owners->touched_more = true;
                        return;
                }
                owners->touched = touched;
                owners->touched_capacity = capacity;
        }
        owners->touched[owners->n_touched++] = id;
}

static int owner_make(struct owners *owners, const struct owner_key *key, const char *path,
                      uid_t uid, struct owner **out) {
        uint32_t id = journal_new(owners->journal, TABLE_OWNER), *head = owners_head(owners, key);
        struct owner *owner = journal_get(owners->journal, TABLE_OWNER, id);

        if (!owner)
                return -ENOSPC;
        *owner = (struct owner){
                .id = id,
                .kind = key->kind,
                .uid = uid,
                .hash_next = *head,
                .pid = key->pid,
                .version = key->version,
                .start = key->start,
                .inode = key->inode,
                .path_length = (uint32_t)strlen(path),
        };
        if (chain_store(owners->journal, &owner->path, path, owner->path_length) < 0)
                return -ENOSPC;
        JOURNAL_SET(owners->journal, *head, id);
        owners_note(owners, id);
        *out = owner;
        return 0;
}

int owner_add(struct owners *owners, struct node *node, const struct caller *caller) {
        char path[PATH_MAX];
        struct owner_key key;
        struct owner *owner;
        struct owned *owned;
        uint32_t id;
        int r;

        r = owner_identify(&key, path, caller, node->flags & NODE_OWNER);
        if (r < 0)
                return r;
        owner = owners_find(owners, &key);
        if (!owner)
                r = owner_make(owners, &key, path, caller->uid, &owner);
        if (r < 0)
                return r;
        id = journal_new(owners->journal, TABLE_OWNED);
        owned = journal_get(owners->journal, TABLE_OWNED, id);
        if (!owned)
                return -ENOSPC;
        *owned = (struct owned){
                .id = id, .node = node->id, .owner = owner->id, .next = owner->first};
        if (owner->first)
                JOURNAL_SET(owners->journal, owned_get(owners->journal, owner->first)->previous,
                            id);
        JOURNAL_SET(owners->journal, owner->first, id);
        JOURNAL_SET(owners->journal, node->owned, id);
        return 0;
}

static void owner_delete(struct owners *owners, struct owner *owner) {
        /* Shortening a chain cannot fail. */
        (void)chain_store(owners->journal, &owner->path, NULL, 0);
        owners_note(owners, owner->id);
        journal_delete(owners->journal, TABLE_OWNER, owner->id);
}

/* Takes the region from its owner, which it returns. */
static struct owner *owned_delete(struct journal *journal, struct node *node,
                                  const struct owned *owned) {
        struct owner *owner = owner_get(journal, owned->owner);

        if (owned->previous)
                JOURNAL_SET(journal, owned_get(journal, owned->previous)->next, owned->next);
        else
                JOURNAL_SET(journal, owner->first, owned->next);
        if (owned->next)
                JOURNAL_SET(journal, owned_get(journal, owned->next)->previous, owned->previous);
        journal_delete(journal, TABLE_OWNED, owned->id);
        JOURNAL_SET(journal, node->owned, 0);
        return owner;
}

void owner_remove(struct owners *owners, struct node *node) {
        const struct owned *owned = owned_get(owners->journal, node->owned);
        struct owner *owner = owned ? owned_delete(owners->journal, node, owned) : NULL;

        if (!owner || owner->first || owner->ended)
                return;
        owners_unhash(owners, owner);
        owner_delete(owners, owner);
}

/* Ending */

/* No new region is given to it from now on. */
static void owners_on_ended(void *userdata, uint32_t id) {
        struct owners *owners = userdata;
        struct owner *owner = owner_get(owners->journal, id);

        if (!owner || owner->ended)
                return;
        owners->root->in_background = 1;
        owners_unhash(owners, owner);
        JOURNAL_SET(owners->journal, owner->ended, 1);
        JOURNAL_SET(owners->journal, owner->hash_next, owners->root->ended_owners);
        JOURNAL_SET(owners->journal, owners->root->ended_owners, id);
        if (txn_commit(owners->txn) == 0) {
                owner_watch_remove(owners->watches, id);
                loop_arm_soon(owners->ending);
        }
        owners->root->in_background = 0;
}

/* Takes some regions from the owner; deletes it when it has none left. */
static void owner_end_some(struct owners *owners, struct owner *owner) {
        struct journal *journal = owners->journal;

        for (int i = 0; i < STEP && owner->first; i++) {
                const struct owned *owned = owned_get(journal, owner->first);
                struct node *node = journal_get(journal, TABLE_NODE, owned->node);

                owned_delete(journal, node, owned);
                JOURNAL_SET(journal, node->flags, node->flags | NODE_OWNER_ENDED);
                owners->acts.ended(owners->acts.userdata, node);
        }
        if (owner->first)
                return;
        JOURNAL_SET(journal, owners->root->ended_owners, owner->hash_next);
        owner_delete(owners, owner);
}

static void owners_on_ending(void *userdata, uint32_t events) {
        struct owners *owners = userdata;
        struct owner *owner = owner_get(owners->journal, owners->root->ended_owners);
        int r;

        (void)events;
        if (!owner)
                return;
        owners->root->in_background = 1;
        owner_end_some(owners, owner);
        r = txn_commit(owners->txn);
        owners->root->in_background = 0;
        if (r < 0)
                loop_arm(owners->ending, STEP_RETRY_MS);
        else if (owners->root->ended_owners != 0)
                loop_arm_soon(owners->ending);
}

void owners_take_up(struct owners *owners) {
        loop_arm_soon(owners->ending);
        owner_watches_take_up(owners->watches);
}

/* The whole */

static void owners_commit(void *userdata) {
        struct owners *owners = userdata;

        for (size_t i = 0; i < owners->n_touched; i++)
                owner_watch_update(owners->watches, owners->touched[i]);
        if (owners->touched_more)
                owner_watches_take_up(owners->watches);
        owners->n_touched = 0;
        owners->touched_more = false;
}

static void owners_abort(void *userdata) {
        struct owners *owners = userdata;

        owners->n_touched = 0;
        owners->touched_more = false;
}

int owners_new(struct owners **out, struct loop *loop, struct txn *txn, struct job_queue *queue,
               const struct owner_acts *acts) {
        struct owners *owners = calloc(1, sizeof(*owners));
        int r;

        if (!owners)
                return -ENOMEM;
        owners->txn = txn;
        owners->journal = txn_journal(txn);
        owners->root = journal_root(owners->journal);
        owners->acts = *acts;
        r = owner_watches_new(&owners->watches, loop, owners->journal, queue, owners_on_ended,
                              owners);
        if (r == 0)
                r = loop_add_timer(loop, &owners->ending, owners_on_ending, owners);
        if (r < 0) {
                owners_free(owners);
                return r;
        }
        txn_add_member(txn, owners_commit, owners_abort, owners);
        *out = owners;
        return 0;
}

struct owners *owners_free(struct owners *owners) {
        if (!owners)
                return NULL;
        owner_watches_free(owners->watches);
        loop_remove(owners->ending);
        free(owners->touched);
        free(owners);
        return NULL;
}
