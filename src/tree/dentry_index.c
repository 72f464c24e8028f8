/* SPDX-License-Identifier: MIT */
#include "tree/dentry_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->failed = true)
#include <uthash.h>

struct name {
        UT_hash_handle hh; /* key: parent and name of the dentry record */
        uint32_t dentry;
        bool failed;
};

struct slot {
        uint64_t cookie;
        uint32_t dentry; /* 0: a gap */
};

struct listing {
        struct slot *slots;
        size_t n;
        size_t capacity;
        size_t gaps;
};

struct dentry_index {
        struct journal *journal;
        struct name *names;
        struct name *spare;        /* for the next dentry_index_add() */
        struct listing **listings; /* by node id of the directory */
        size_t n_listings;
};

/* What a key looks like to the hash. */
struct key {
        uint32_t parent;
        char name[LAYOUT_NAME_MAX + 1];
};

static const struct dentry *dentry_index_record(const struct dentry_index *index, uint32_t id) {
        return journal_get(index->journal, TABLE_DENTRY, id);
}

static struct listing *dentry_index_listing(const struct dentry_index *index, uint32_t dir) {
        return dir < index->n_listings ? index->listings[dir] : NULL;
}

static int dentry_index_make_listing(struct dentry_index *index, uint32_t dir) {
        if (dir >= index->n_listings) {
                size_t n = index->n_listings ? index->n_listings : 64;
                struct listing **listings;

                while (n <= dir)
                        n *= 2;
                listings = realloc(index->listings, n * sizeof(*listings));
                if (!listings)
                        return -ENOMEM;
                memset(listings + index->n_listings, 0,
                       (n - index->n_listings) * sizeof(*listings));
                index->listings = listings;
                index->n_listings = n;
        }
        if (!index->listings[dir])
                index->listings[dir] = calloc(1, sizeof(struct listing));
        return index->listings[dir] ? 0 : -ENOMEM;
}

static int listing_grow(struct listing *listing) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 4;
        struct slot *slots;

        if (listing->n < listing->capacity)
                return 0;
        slots = realloc(listing->slots, capacity * sizeof(*slots));
        if (!slots)
                return -ENOMEM;
        listing->slots = slots;
        listing->capacity = capacity;
        return 0;
}

int dentry_index_reserve(struct dentry_index *index, uint32_t dir) {
        int r;

        if (!index->spare)
                index->spare = calloc(1, sizeof(*index->spare));
        if (!index->spare)
                return -ENOMEM;
        r = dentry_index_make_listing(index, dir);
        if (r < 0)
                return r;
        return listing_grow(index->listings[dir]);
}

/* uthash may need memory for its first table; without it the entry is only found by a walk. */
static bool dentry_index_hash(struct dentry_index *index, struct name *name,
                              const struct dentry *dentry) {
        name->dentry = dentry->id;
        name->failed = false;
        HASH_ADD_KEYPTR(hh, index->names, (const void *)&dentry->parent,
                        sizeof(dentry->parent) + dentry->length, name);
        return !name->failed;
}

void dentry_index_add(struct dentry_index *index, const struct dentry *dentry) {
        struct listing *listing = dentry_index_listing(index, dentry->parent);
        struct name *name = index->spare;

        index->spare = NULL;
        if (!dentry_index_hash(index, name, dentry))
                abort(); /* cannot go on without; the next worker rebuilds the index */
        listing->slots[listing->n++] = (struct slot){dentry->cookie, dentry->id};
}

/* The first slot whose cookie is at least `cookie`. */
static size_t listing_search(const struct listing *listing, uint64_t cookie) {
        size_t low = 0, high = listing->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (listing->slots[middle].cookie < cookie)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static void listing_pack(struct listing *listing) {
        size_t to = 0;

        for (size_t i = 0; i < listing->n; i++)
                if (listing->slots[i].dentry != 0)
                        listing->slots[to++] = listing->slots[i];
        listing->n = to;
        listing->gaps = 0;
}

static struct name *dentry_index_find_name(const struct dentry_index *index, uint32_t dir,
                                           const char *name, size_t length) {
        struct name *found;
        struct key key = {.parent = dir};

        if (length > LAYOUT_NAME_MAX)
                return NULL;
        memcpy(key.name, name, length);
        HASH_FIND(hh, index->names, &key, sizeof(key.parent) + length, found);
        return found;
}

void dentry_index_remove(struct dentry_index *index, const struct dentry *dentry) {
        struct listing *listing = dentry_index_listing(index, dentry->parent);
        struct name *name;
        size_t at;

        name = dentry_index_find_name(index, dentry->parent, dentry->name, dentry->length);
        HASH_DEL(index->names, name);
        if (!index->spare)
                index->spare = name;
        else
                free(name);

        at = listing_search(listing, dentry->cookie);
        listing->slots[at].dentry = 0;
        if (++listing->gaps > 32 && listing->gaps > listing->n / 2)
                listing_pack(listing);
}

uint32_t dentry_index_find(const struct dentry_index *index, uint32_t dir, const char *name,
                           size_t length) {
        const struct name *found = dentry_index_find_name(index, dir, name, length);

        return found ? found->dentry : 0;
}

const struct dentry *dentry_index_next(const struct dentry_index *index, uint32_t dir,
                                       uint64_t after) {
        const struct listing *listing = dentry_index_listing(index, dir);

        if (!listing || after == UINT64_MAX)
                return NULL;
        for (size_t i = listing_search(listing, after + 1); i < listing->n; i++)
                if (listing->slots[i].dentry != 0)
                        return dentry_index_record(index, listing->slots[i].dentry);
        return NULL;
}

const struct dentry *dentry_index_before(const struct dentry_index *index, uint32_t dir,
                                         uint64_t before) {
        const struct listing *listing = dentry_index_listing(index, dir);

        if (!listing)
                return NULL;
        for (size_t i = listing_search(listing, before); i > 0; i--)
                if (listing->slots[i - 1].dentry != 0)
                        return dentry_index_record(index, listing->slots[i - 1].dentry);
        return NULL;
}

void dentry_index_drop(struct dentry_index *index, uint32_t dir) {
        struct listing *listing = dentry_index_listing(index, dir);

        if (!listing)
                return;
        free(listing->slots);
        free(listing);
        index->listings[dir] = NULL;
}

static int slot_compare(const void *a, const void *b) {
        const struct slot *x = a, *y = b;

        return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

static int dentry_index_rebuild(struct dentry_index *index) {
        uint32_t high = journal_high(index->journal, TABLE_DENTRY);
        int r;

        for (uint32_t id = 1; id <= high; id++) {
                const struct dentry *dentry = dentry_index_record(index, id);

                if (dentry->id != id)
                        continue;
                r = dentry_index_reserve(index, dentry->parent);
                if (r < 0)
                        return r;
                dentry_index_add(index, dentry);
        }
        /* Records are recycled, so that their order says nothing about that of the cookies. */
        for (size_t i = 0; i < index->n_listings; i++)
                if (index->listings[i])
                        qsort(index->listings[i]->slots, index->listings[i]->n, sizeof(struct slot),
                              slot_compare);
        return 0;
}

int dentry_index_new(struct dentry_index **out, struct journal *journal) {
        struct dentry_index *index;
        int r;

        index = calloc(1, sizeof(*index));
        if (!index)
                return -ENOMEM;
        index->journal = journal;
        r = dentry_index_rebuild(index);
        if (r < 0) {
                dentry_index_free(index);
                return r;
        }
        *out = index;
        return 0;
}

struct dentry_index *dentry_index_free(struct dentry_index *index) {
        struct name *name, *next;

        if (!index)
                return NULL;
        HASH_ITER(hh, index->names, name, next) {
                HASH_DEL(index->names, name);
                free(name);
        }
        free(index->spare);
        for (size_t i = 0; i < index->n_listings; i++)
                dentry_index_drop(index, (uint32_t)i);
        free(index->listings);
        free(index);
        return NULL;
}
