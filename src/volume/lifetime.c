/* SPDX-License-Identifier: MIT */
#include "volume/lifetime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "base/fanotify.h"
#include "base/inotify.h"
#include "memory/store.h"

enum {
        GROWTH_DELAY_MS = 20, /* from the first write until the size is checked */
        RETRIES_MAX = 7,      /* probes after a close, each delay four times longer: 11 s */
        RETRY_FIRST_MS = 2,
        GRACE_LEAST_MS = 50,    /* between checks for regions whose grace has ended */
        STEPS_PER_TURN = 32,    /* transactions, then the loop does something else */
        STEPS_AFTER_COMMIT = 4, /* the same, at the end of a request */
        RECORDS_PER_STEP = 16,
        BUSY_MS = 2, /* until the next check, while enough work is under way */
};

/* A set of node ids, from which they are taken in any order. */
struct id_set {
        uint32_t *ids;
        size_t n, capacity;
        uint8_t *bits;
        size_t n_bytes;
};

struct lifetimes {
        struct loop *loop;
        struct txn *txn;
        struct journal *journal;
        struct root *root;
        struct tree *tree;
        struct regions *regions;
        struct lifetime_acts acts;
        struct inotify *closes, *growth; /* of regions that have a descriptor */
        struct fanotify *store_closes;   /* of all files of the stores, NULL: not needed yet */
        struct loop_source *soon, *retry_timer, *growth_timer, *grace;

        struct id_set due;     /* to be checked now */
        struct id_set again;   /* to be checked again */
        struct id_set retries; /* they were in use when checked: perhaps about to be closed */
        unsigned int attempt;  /* of the retries */
        bool failed;           /* a check failed, not because the region is in use */
        struct id_set grown;
        struct id_set touched; /* regions whose watches this transaction has changed */
        bool touched_all;      /* there was no memory to store which ones */
        bool grace_armed, soon_armed;

        /* The walk over all regions. */
        bool scanning, scan_again;
        uint32_t scan_at, scan_end;
        uint64_t scan_before; /* nodes that were made later need no visit */
        uint64_t scan_next;   /* milliseconds until the next region's grace ends */
};

static bool id_set_add(struct id_set *set, uint32_t id) {
        size_t byte = id / 8;

        if (byte >= set->n_bytes) {
                size_t n = (byte + 64) * 2;
                uint8_t *bits = realloc(set->bits, n);

                if (!bits)
                        return false;
                memset(bits + set->n_bytes, 0, n - set->n_bytes);
                set->bits = bits;
                set->n_bytes = n;
        }
        if (set->bits[byte] & (1 << id % 8))
                return true;
        if (set->n == set->capacity) {
                size_t capacity = set->capacity ? set->capacity * 2 : 16;
                uint32_t *ids = realloc(set->ids, capacity * sizeof(*ids));

                if (!ids)
                        return false;
                set->ids = ids;
                set->capacity = capacity;
        }
        set->bits[byte] |= (uint8_t)(1 << id % 8);
        set->ids[set->n++] = id;
        return true;
}

/* 0: the set is empty. */
static uint32_t id_set_take(struct id_set *set) {
        uint32_t id;

        if (set->n == 0)
                return 0;
        id = set->ids[--set->n];
        set->bits[id / 8] &= (uint8_t) ~(1 << id % 8);
        return id;
}

static void id_set_free(struct id_set *set) {
        free(set->ids);
        free(set->bits);
}

static struct node *lifetime_region(const struct lifetimes *l, uint32_t id) {
        struct node *node = tree_node(l->tree, id);

        return node && node_has_memory(node) ? node : NULL;
}

static bool is_orphan(const struct node *node) {
        return node->nlink == 0 && node->opens == 0 && !(node->flags & NODE_PENDING);
}

/* Whether it loses its names with its last user. */
static bool is_passing(const struct node *node) {
        return node->flags & (NODE_EPHEMERAL | NODE_OWNER_ENDED);
}

static void lifetimes_soon(struct lifetimes *l) {
        if (!l->soon_armed && l->acts.is_busy(l->acts.userdata))
                loop_arm(l->soon, BUSY_MS);
        else if (!l->soon_armed)
                loop_arm_soon(l->soon);
        l->soon_armed = true;
}

/* Checks all regions that have a record for that, from the first on; also used if there is no memory to store an id. */
static void lifetimes_scan(struct lifetimes *l) {
        lifetimes_soon(l);
        if (l->scanning) {
                l->scan_again = true;
                return;
        }
        l->scanning = true;
        l->scan_again = false;
        l->scan_at = 0;
        l->scan_end = journal_high(l->journal, TABLE_WATCHED);
        l->scan_before = l->root->next_ino;
        l->scan_next = UINT64_MAX;
        l->grace_armed = false;
}

static void lifetime_look_soon(struct lifetimes *l, uint32_t id) {
        if (!id_set_add(&l->due, id))
                lifetimes_scan(l);
        else
                lifetimes_soon(l);
}

static void lifetime_retry(struct lifetimes *l, uint32_t id) {
        if (!id_set_add(&l->retries, id))
                return;
        l->attempt = 0;
        loop_arm(l->retry_timer, RETRY_FIRST_MS);
}

/* Watches */

static bool may_grow(const struct lifetimes *l, const struct node *node) {
        return node->backing == BACKING_MEMFD && !(node->seals & F_SEAL_GROW) &&
               quota_is_limited(regions_quota(l->regions), node);
}

/* If the transaction is aborted, the region's watches are set again. */
static void lifetime_touch(struct lifetimes *l, uint32_t id) {
        if (!id_set_add(&l->touched, id))
                l->touched_all = true;
}

static int lifetimes_listen(struct lifetimes *l);

/* Has the closing of all files of the store reported.  That outlives this worker. */
static int lifetimes_watch_store(struct lifetimes *l, struct limit *store) {
        int r;

        if (!store)
                return -ESTALE;
        if (store->watched)
                return 0;
        r = lifetimes_listen(l);
        if (r == 0)
                r = fanotify_watch(l->root->closes_fd, store->tmpfs_fd);
        if (r == 0)
                store->watched = 1;
        return r;
}

static int lifetime_watch_closes(struct lifetimes *l, const struct node *node) {
        if (node->backing == BACKING_TMPFS)
                return lifetimes_watch_store(l, store_get(l->journal, node->store));
        lifetime_touch(l, node->id);
        return inotify_watch(l->closes, node->fd, node->id);
}

/* A new worker has to look at the region. */
static bool is_to_be_watched(const struct lifetimes *l, const struct node *node) {
        return is_passing(node) || is_orphan(node) ||
               (may_grow(l, node) && (node->writers > 0 || (node->flags & NODE_EXPORTED)));
}

/* Gives the region a record, or takes it away. */
static void lifetime_note(struct lifetimes *l, struct node *node, bool watched) {
        struct watched *record;
        uint32_t id = node->watched;

        if (watched == (id != 0))
                return;
        if (watched) {
                /* There are as many records as nodes, so the table is never full. */
                id = journal_new_reserved(l->journal, TABLE_WATCHED);
                record = journal_get(l->journal, TABLE_WATCHED, id);
                *record = (struct watched){.id = id, .node = node->id};
        } else {
                journal_delete(l->journal, TABLE_WATCHED, id);
                id = 0;
        }
        JOURNAL_SET(l->journal, node->watched, id);
}

static void lifetime_watch_growth(struct lifetimes *l, const struct node *node) {
        lifetime_touch(l, node->id);
        /* Without a watch, growth is seen at the next check of the region. */
        (void)inotify_watch(l->growth, node->fd, node->id);
}

static void lifetime_unwatch(struct lifetimes *l, uint32_t id) {
        inotify_unwatch(l->closes, id);
        inotify_unwatch(l->growth, id);
}

static void lifetimes_commit(void *userdata) {
        struct lifetimes *l = userdata;

        l->touched_all = false;
        while (id_set_take(&l->touched))
                ;
}

/* Sets the watches to what the records, which were rolled back, require. */
static void lifetimes_abort(void *userdata) {
        struct lifetimes *l = userdata;
        uint32_t id;

        if (l->touched_all)
                lifetimes_scan(l);
        l->touched_all = false;
        while ((id = id_set_take(&l->touched))) {
                struct node *node = lifetime_region(l, id);

                lifetime_unwatch(l, id);
                if (node && (is_passing(node) || is_orphan(node)) && node->fd >= 0 &&
                    inotify_watch(l->closes, node->fd, id) < 0)
                        lifetime_retry(l, id);
                if (node && may_grow(l, node) && node->writers > 0)
                        (void)inotify_watch(l->growth, node->fd, id);
        }
}

/* Checking regions */

/* The time that an ephemeral region, which was never opened, has left. */
static uint64_t milliseconds_left(const struct lifetimes *l, const struct node *node) {
        struct stamp now = stamp_coarse();
        int64_t grace = (int64_t)l->root->settings.grace_s * 1000;
        int64_t age = (now.sec - node->btime.sec) * 1000 + (now.nsec - node->btime.nsec) / 1000000;

        if (grace == 0)
                return UINT64_MAX;
        return age < grace ? (uint64_t)(grace - age) : 0;
}

static bool is_due(const struct lifetimes *l, const struct node *node) {
        if (!is_passing(node) || (node->flags & NODE_PENDING) || node->opens > 0)
                return false;
        return (node->flags & (NODE_USED | NODE_OWNER_ENDED)) || milliseconds_left(l, node) == 0;
}

/* Removes one name, or releases the region.  False: somebody still has it open, or is about to
 * close it. */
static bool lifetime_look(struct lifetimes *l, struct node *node) {
        uint32_t id = node->id;

        if (!is_due(l, node) && !is_orphan(node))
                return true;
        if (region_has_other_users(l->regions, node)) {
                /* An owner's end cannot be refused for lack of a watch, so try again later. */
                if ((node->flags & NODE_OWNER_ENDED) && lifetime_watch_closes(l, node) < 0)
                        l->failed = true;
                return false;
        }
        if (node->nlink == 0)
                tree_reap(l->tree, node);
        else if (l->acts.remove_name(l->acts.userdata, node) < 0)
                txn_fail(l->txn, -ENOMEM);
        if (txn_commit(l->txn) < 0) {
                l->failed = true;
                return false;
        }
        node = lifetime_region(l, id);
        if (node && node->nlink > 0)
                lifetime_look_soon(l, id);
        return true;
}

/* The walk over all regions that have a record for it */

static void scan_region(struct lifetimes *l, struct node *node) {
        uint64_t left;

        if (may_grow(l, node) && (node->writers > 0 || (node->flags & NODE_EXPORTED)))
                lifetime_watch_growth(l, node);
        /* Watch first, then check, so that no close is missed in between. */
        if (is_passing(node) && lifetime_watch_closes(l, node) < 0 &&
            !(node->flags & NODE_OWNER_ENDED))
                return;
        if (is_due(l, node) || is_orphan(node)) {
                lifetime_look_soon(l, node->id);
        } else if ((node->flags & NODE_EPHEMERAL) && !(node->flags & NODE_USED)) {
                left = milliseconds_left(l, node);
                if (left < l->scan_next)
                        l->scan_next = left;
        }
}

static void scan_end(struct lifetimes *l) {
        l->scanning = false;
        if (l->scan_next != UINT64_MAX) {
                l->grace_armed = true;
                loop_arm(l->grace, l->scan_next > GRACE_LEAST_MS ? l->scan_next : GRACE_LEAST_MS);
        }
        if (l->scan_again)
                lifetimes_scan(l);
}

static void scan_step(struct lifetimes *l) {
        for (int i = 0; i < RECORDS_PER_STEP && l->scan_at < l->scan_end; i++) {
                const struct watched *record = journal_get(l->journal, TABLE_WATCHED, ++l->scan_at);
                struct node *node =
                        record->id == l->scan_at ? lifetime_region(l, record->node) : NULL;

                if (node && node->ino < l->scan_before)
                        scan_region(l, node);
        }
        txn_commit(l->txn);
        if (l->scan_at == l->scan_end)
                scan_end(l);
}

/* Runs one small transaction.  False: there is nothing to do. */
static bool lifetimes_step(struct lifetimes *l) {
        uint32_t id = id_set_take(&l->due);
        bool is_retry = id == 0 && l->again.n > 0;
        struct node *node;

        if (is_retry)
                id = id_set_take(&l->again);
        if (id == 0 && !l->scanning)
                return false;
        if (id == 0) {
                scan_step(l);
                return true;
        }
        node = lifetime_region(l, id);
        if (!node || lifetime_look(l, node))
                return true;
        if (is_retry)
                (void)id_set_add(&l->retries, id);
        else
                lifetime_retry(l, id);
        return true;
}

static void lifetimes_run(struct lifetimes *l, int steps) {
        bool trying = l->again.n > 0;

        /* Tells the next worker, if this one dies here. */
        l->root->in_background = 1;
        while (steps > 0 && !l->acts.is_busy(l->acts.userdata) && lifetimes_step(l))
                steps--;
        l->root->in_background = 0;
        if (trying && l->again.n == 0 && l->retries.n > 0 && l->attempt < RETRIES_MAX)
                loop_arm(l->retry_timer, (uint64_t)RETRY_FIRST_MS << (2 * l->attempt));
        else if (trying && l->again.n == 0 && l->failed)
                loop_arm(l->retry_timer, (uint64_t)RETRY_FIRST_MS << (2 * RETRIES_MAX));
        else if (trying && l->again.n == 0)
                /* Stop retrying: the next close will be reported by inotify. */
                while (id_set_take(&l->retries))
                        ;
        if (trying && l->again.n == 0)
                l->failed = false;
        if (l->due.n > 0 || l->again.n > 0 || l->scanning)
                lifetimes_soon(l);
        else
                l->root->background_deaths = 0; /* this worker survived the step */
}

static void lifetimes_on_soon(void *userdata, uint32_t events) {
        struct lifetimes *l = userdata;

        (void)events;
        l->soon_armed = false;
        lifetimes_run(l, STEPS_PER_TURN);
}

static void lifetimes_after_commit(void *userdata) {
        lifetimes_run(userdata, STEPS_AFTER_COMMIT);
}

static void lifetimes_on_retry(void *userdata, uint32_t events) {
        struct lifetimes *l = userdata;
        struct id_set empty = l->again;

        (void)events;
        if (l->again.n > 0)
                return;
        l->again = l->retries;
        l->retries = empty;
        l->attempt++;
        lifetimes_run(l, STEPS_PER_TURN);
}

static void lifetimes_on_grace(void *userdata, uint32_t events) {
        (void)events;
        lifetimes_scan(userdata);
}

static void lifetime_on_close(void *userdata, uint32_t id) {
        struct lifetimes *l = userdata;

        /* Events were lost: any region that is watched may have been closed. */
        if (id == 0)
                lifetimes_scan(l);
        else
                lifetime_look_soon(l, id);
}

static void lifetime_on_store_close(void *userdata, const char *name) {
        struct lifetimes *l = userdata;
        const struct node *node;
        uint32_t id;
        uint64_t ino;

        if (!name) {
                lifetimes_scan(l);
                return;
        }
        node = store_parse(name, &id, &ino) ? lifetime_region(l, id) : NULL;
        if (node && node->ino == ino && node->watched != 0)
                lifetime_look_soon(l, id);
}

/* Reads what is reported of the stores. */
static int lifetimes_listen(struct lifetimes *l) {
        int r;

        if (l->store_closes)
                return 0;
        if (l->root->closes_fd <= 0) {
                r = fanotify_group();
                if (r < 0)
                        return r;
                l->root->closes_fd = r;
        }
        return fanotify_new(&l->store_closes, l->loop, l->root->closes_fd, lifetime_on_store_close,
                            l);
}

static void lifetime_give_grace(struct lifetimes *l, const struct node *node) {
        uint64_t left = milliseconds_left(l, node);

        /* The timer is set for an older region, and is set again when it expires. */
        if (l->grace_armed || left == UINT64_MAX)
                return;
        loop_arm(l->grace, left > 0 ? left : 1);
        l->grace_armed = true;
}

/* Growing regions */

static void lifetime_on_write(void *userdata, uint32_t id) {
        struct lifetimes *l = userdata;

        /* Lost events (id 0) need nothing: their regions are in the list already, or will be. */
        if (id != 0 && id_set_add(&l->grown, id) && l->grown.n == 1)
                loop_arm(l->growth_timer, GROWTH_DELAY_MS);
}

static void lifetime_look_at_size(struct lifetimes *l, struct node *node) {
        uint64_t cuts = l->root->counters.cut_back;
        struct stat st;

        /* Watch again first, so that no write is missed in between. */
        if (node->writers > 0 || (node->flags & NODE_EXPORTED))
                lifetime_watch_growth(l, node);
        region_stat(l->regions, node, &st);
        if (cuts != l->root->counters.cut_back)
                (void)l->acts.changed(l->acts.userdata, node);
        txn_commit(l->txn);
}

static void lifetimes_on_grown(void *userdata, uint32_t events) {
        struct lifetimes *l = userdata;

        (void)events;
        for (int i = 0; i < STEPS_PER_TURN && l->grown.n > 0; i++) {
                struct node *node = lifetime_region(l, id_set_take(&l->grown));

                if (node && may_grow(l, node))
                        lifetime_look_at_size(l, node);
        }
        if (l->grown.n > 0)
                loop_arm_soon(l->growth_timer);
}

/* Calls by the volume */

int lifetime_created(struct lifetimes *l, struct node *node) {
        if (!(node->flags & NODE_EPHEMERAL))
                return 0;
        if (lifetime_watch_closes(l, node) < 0)
                return -ENOSPC;
        lifetime_note(l, node, true);
        lifetime_give_grace(l, node);
        return 0;
}

void lifetime_opened(struct lifetimes *l, struct node *node, bool writable) {
        if ((node->flags & NODE_EPHEMERAL) && !(node->flags & NODE_USED))
                JOURNAL_SET(l->journal, node->flags, node->flags | NODE_USED);
        if (!writable || !may_grow(l, node))
                return;
        lifetime_note(l, node, true);
        lifetime_watch_growth(l, node);
}

void lifetime_closed(struct lifetimes *l, struct node *node) {
        if (!node_has_memory(node))
                return;
        lifetime_note(l, node, is_to_be_watched(l, node));
        if (!is_due(l, node) && !is_orphan(node))
                return;
        if (!id_set_add(&l->due, node->id))
                lifetimes_scan(l);
        txn_after_commit(l->txn, TXN_AFTER_LIFETIMES);
}

void lifetime_owner_ended(struct lifetimes *l, struct node *node) {
        if (!node_has_memory(node) || (node->flags & NODE_PENDING))
                return;
        lifetime_note(l, node, true);
        (void)lifetime_watch_closes(l, node);
        if (!id_set_add(&l->due, node->id))
                lifetimes_scan(l);
        txn_after_commit(l->txn, TXN_AFTER_LIFETIMES);
}

bool lifetime_release(struct lifetimes *l, struct node *node) {
        /* A tmpfs counts by itself the files that are still in use. */
        if (node->backing == BACKING_MEMFD && region_has_other_users(l->regions, node) &&
            lifetime_watch_closes(l, node) == 0) {
                lifetime_note(l, node, true);
                lifetime_retry(l, node->id);
                return false;
        }
        lifetime_note(l, node, false);
        /* A watch would keep the memory, and the id may soon be reused. */
        lifetime_touch(l, node->id);
        lifetime_unwatch(l, node->id);
        return true;
}

/* The whole */

bool lifetimes_are_busy(const struct lifetimes *l) {
        return l->due.n > 0 || l->again.n > 0;
}

void lifetimes_take_up(struct lifetimes *l) {
        lifetimes_scan(l);
}

static int lifetimes_build(struct lifetimes *l) {
        struct loop *loop = l->loop;
        int r;

        r = inotify_new(&l->closes, loop, IN_CLOSE, lifetime_on_close, l);
        if (r == 0 && l->root->closes_fd > 0)
                r = lifetimes_listen(l);
        if (r == 0)
                r = inotify_new(&l->growth, loop, IN_MODIFY | IN_ONESHOT, lifetime_on_write, l);
        if (r == 0)
                r = loop_add_timer(loop, &l->soon, lifetimes_on_soon, l);
        if (r == 0)
                r = loop_add_timer(loop, &l->retry_timer, lifetimes_on_retry, l);
        if (r == 0)
                r = loop_add_timer(loop, &l->growth_timer, lifetimes_on_grown, l);
        if (r == 0)
                r = loop_add_timer(loop, &l->grace, lifetimes_on_grace, l);
        return r;
}

int lifetimes_new(struct lifetimes **out, struct loop *loop, struct txn *txn, struct tree *tree,
                  struct regions *regions, const struct lifetime_acts *acts) {
        struct lifetimes *l;
        int r;

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->loop = loop;
        l->txn = txn;
        l->journal = txn_journal(txn);
        l->root = journal_root(l->journal);
        l->tree = tree;
        l->regions = regions;
        l->acts = *acts;
        r = lifetimes_build(l);
        if (r < 0) {
                lifetimes_free(l);
                return r;
        }
        txn_add_member(txn, lifetimes_commit, lifetimes_abort, l);
        txn_set_after(txn, TXN_AFTER_LIFETIMES, lifetimes_after_commit, l);
        *out = l;
        return 0;
}

struct lifetimes *lifetimes_free(struct lifetimes *l) {
        if (!l)
                return NULL;
        inotify_free(l->closes);
        fanotify_free(l->store_closes);
        if (l->root->closes_fd > 0)
                close(l->root->closes_fd);
        l->root->closes_fd = 0;
        inotify_free(l->growth);
        loop_remove(l->soon);
        loop_remove(l->retry_timer);
        loop_remove(l->growth_timer);
        loop_remove(l->grace);
        id_set_free(&l->due);
        id_set_free(&l->again);
        id_set_free(&l->retries);
        id_set_free(&l->grown);
        id_set_free(&l->touched);
        free(l);
        return NULL;
}
