/* SPDX-License-Identifier: MIT */
#include "volume/lifetime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include "tree/pending.h"
#include "base/inotify.h"

enum {
        GROWTH_DELAY_MS = 20, /* from the first write to a look at the size */
        RETRIES_MAX = 7,      /* probes after a close, four times later each: 11 s in all */
        RETRY_FIRST_MS = 2,
        COMMIT_EACH = 256, /* regions that are given up at the start */
};

/* Regions to look at again. */
struct backlog {
        uint32_t *ids;
        size_t n;
        size_t capacity;
        struct loop_source *timer;
};

struct lifetimes {
        struct lifetime_parts parts;
        struct journal *journal;
        struct root *root;
        struct watch *closes;
        struct watch *growth;
        struct backlog retries;
        unsigned int attempt; /* of the retries */
        struct backlog grown;
        struct loop_source *grace;
        bool grace_armed;
};

static bool backlog_add(struct backlog *backlog, uint32_t id) {
        for (size_t i = 0; i < backlog->n; i++)
                if (backlog->ids[i] == id)
                        return true;
        if (backlog->n == backlog->capacity) {
                size_t capacity = backlog->capacity ? backlog->capacity * 2 : 16;
                uint32_t *ids = realloc(backlog->ids, capacity * sizeof(*ids));

                if (!ids)
                        return false;
                backlog->ids = ids;
                backlog->capacity = capacity;
        }
        backlog->ids[backlog->n++] = id;
        return true;
}

static void lifetimes_commit(struct lifetimes *l) {
        if (journal_dirty(l->journal))
                journal_commit(l->journal);
        l->parts.settle(l->parts.userdata);
}

static struct node *lifetime_region(const struct lifetimes *l, uint32_t id) {
        struct node *node = tree_node(l->parts.tree, id);

        return node && node_is_region(node) && node->fd >= 0 ? node : NULL;
}

static bool is_orphan(const struct node *node) {
        return node->nlink == 0 && node->opens == 0 && !(node->flags & NODE_PENDING);
}

/* Ephemeral regions and orphans */

/* Takes the names away; the node may be gone afterwards. */
static void lifetime_remove(struct lifetimes *l, struct node *node) {
        for (uint32_t n = node->nlink; n > 0; n--) {
                const struct dentry *dentry = tree_name_of(l->parts.tree, node);
                struct node *dir;
                char name[LAYOUT_NAME_MAX + 1];
                uint32_t length;

                if (!dentry)
                        return;
                dir = tree_node(l->parts.tree, dentry->parent);
                length = dentry->length;
                memcpy(name, dentry->name, sizeof(name));
                invalidation_entry(l->parts.invalidations, dir->id, name, length);
                invalidation_inode(l->parts.invalidations, dir->id);
                event_add(l->parts.tree, EVENT_REMOVE, node, dir, name, length, NULL);
                tree_unlink(l->parts.tree, dir, name, length);
        }
}

static void lifetime_retry(struct lifetimes *l, uint32_t id) {
        if (!backlog_add(&l->retries, id))
                return;
        l->attempt = 0;
        loop_arm(l->retries.timer, RETRY_FIRST_MS);
}

/* False: somebody has it still, or is just letting go. */
static bool lifetime_look(struct lifetimes *l, struct node *node) {
        bool due = (node->flags & NODE_EPHEMERAL) && (node->flags & NODE_USED) && node->opens == 0;

        if (!due && !is_orphan(node))
                return true;
        if (region_has_other_users(l->parts.regions, node))
                return false;
        if (node->nlink > 0)
                lifetime_remove(l, node);
        else
                tree_reap(l->parts.tree, node);
        return true;
}

/* Events were lost: every region that is watched may have been let go of. */
static void lifetimes_look_at_all(struct lifetimes *l) {
        uint32_t high = journal_high(l->journal, TABLE_NODE);

        for (uint32_t id = 1; id <= high; id++) {
                struct node *node = lifetime_region(l, id);

                if (node && !lifetime_look(l, node))
                        lifetime_retry(l, id);
        }
}

static void lifetime_on_close(void *userdata, uint32_t id) {
        struct lifetimes *l = userdata;
        struct node *node = lifetime_region(l, id);

        if (id == 0)
                lifetimes_look_at_all(l);
        else if (node && !lifetime_look(l, node))
                lifetime_retry(l, id);
        lifetimes_commit(l);
}

static void lifetimes_on_retry(void *userdata, uint32_t events) {
        struct lifetimes *l = userdata;
        size_t left = 0;

        (void)events;
        for (size_t i = 0; i < l->retries.n; i++) {
                struct node *node = lifetime_region(l, l->retries.ids[i]);

                if (node && !lifetime_look(l, node))
                        l->retries.ids[left++] = l->retries.ids[i];
        }
        l->retries.n = left;
        if (left > 0 && ++l->attempt < RETRIES_MAX)
                loop_arm(l->retries.timer, (uint64_t)RETRY_FIRST_MS << (2 * l->attempt));
        else
                l->retries.n = 0; /* held for good: the next close tells */
        lifetimes_commit(l);
}

/* Never opened: given some time */

static uint64_t milliseconds_left(const struct lifetimes *l, const struct node *node) {
        struct stamp now = stamp_now();
        int64_t grace = (int64_t)l->root->settings.grace_s * 1000;
        int64_t age = (now.sec - node->btime.sec) * 1000 + (now.nsec - node->btime.nsec) / 1000000;

        /* Its time begins with its name. */
        if (node->flags & NODE_PENDING)
                return (uint64_t)grace;

        return age < grace ? (uint64_t)(grace - age) : 0;
}

static void lifetimes_on_grace(void *userdata, uint32_t events) {
        struct lifetimes *l = userdata;
        uint32_t high = journal_high(l->journal, TABLE_NODE);
        uint64_t next = UINT64_MAX;

        (void)events;
        for (uint32_t id = 1; id <= high; id++) {
                struct node *node = lifetime_region(l, id);
                uint64_t left;

                if (!node || !(node->flags & NODE_EPHEMERAL) || (node->flags & NODE_USED))
                        continue;
                left = milliseconds_left(l, node);
                if (left == 0)
                        lifetime_remove(l, node);
                else if (left < next)
                        next = left;
        }
        l->grace_armed = next != UINT64_MAX;
        if (l->grace_armed)
                loop_arm(l->grace, next);
        lifetimes_commit(l);
}

static void lifetime_give_grace(struct lifetimes *l, const struct node *node) {
        uint64_t left = milliseconds_left(l, node);

        /* An armed timer is due for an older region, and arms itself again. */
        if (l->grace_armed || l->root->settings.grace_s == 0)
                return;
        loop_arm(l->grace, left > 0 ? left : 1);
        l->grace_armed = true;
}

/* Growing */

static bool may_grow(const struct lifetimes *l, const struct node *node) {
        return node->backing == BACKING_MEMFD && !(node->seals & F_SEAL_GROW) &&
               l->root->limit_bytes != 0;
}

static void lifetime_on_write(void *userdata, uint32_t id) {
        struct lifetimes *l = userdata;

        /* Lost events (id 0) are of regions that are in the backlog already, or will be. */
        if (id != 0 && backlog_add(&l->grown, id))
                loop_arm(l->grown.timer, GROWTH_DELAY_MS);
}

static void lifetimes_on_grown(void *userdata, uint32_t events) {
        struct lifetimes *l = userdata;

        (void)events;
        for (size_t i = 0; i < l->grown.n; i++) {
                struct node *node = lifetime_region(l, l->grown.ids[i]);
                uint64_t cuts = l->root->counters.cut_back;
                struct stat st;

                if (!node || !may_grow(l, node))
                        continue;
                /* Watched again first, so that no write falls between. */
                if (node->writers > 0 || (node->flags & NODE_EXPORTED))
                        watch_add(l->growth, node->fd, node->id);
                region_stat(l->parts.regions, node, &st);
                if (cuts != l->root->counters.cut_back)
                        invalidation_inode(l->parts.invalidations, node->id);
        }
        l->grown.n = 0;
        lifetimes_commit(l);
}

/* What the rooms above tell */

int lifetime_created(struct lifetimes *l, struct node *node) {
        int r;

        if (!(node->flags & NODE_EPHEMERAL))
                return 0;
        r = watch_add(l->closes, node->fd, node->id);
        if (r < 0)
                return -ENOSPC;
        lifetime_give_grace(l, node);
        return 0;
}

void lifetime_opened(struct lifetimes *l, struct node *node, bool writable) {
        if ((node->flags & NODE_EPHEMERAL) && !(node->flags & NODE_USED))
                JOURNAL_SET(l->journal, node->flags, node->flags | NODE_USED);
        /* Without a watch growth is seen when the region is looked at the next time. */
        if (writable && may_grow(l, node))
                watch_add(l->growth, node->fd, node->id);
}

void lifetime_closed(struct lifetimes *l, struct node *node) {
        if (node->fd >= 0 && !lifetime_look(l, node))
                lifetime_retry(l, node->id);
}

bool lifetime_abandon(struct lifetimes *l, struct node *node) {
        if (node->fd < 0)
                return true;
        /* The private tmpfs counts what is still in use by itself. */
        if (node->backing == BACKING_MEMFD && region_has_other_users(l->parts.regions, node) &&
            watch_add(l->closes, node->fd, node->id) == 0) {
                lifetime_retry(l, node->id);
                return false;
        }
        watch_remove(l->closes, node->id);
        watch_remove(l->growth, node->id);
        return true;
}

/* The whole */

void lifetimes_start(struct lifetimes *l) {
        uint32_t high = journal_high(l->journal, TABLE_NODE);
        unsigned int given_up = 0;

        for (uint32_t id = 1; id <= high; id++) {
                struct node *node = lifetime_region(l, id);

                if (!node)
                        continue;
                if (is_orphan(node) || (node->flags & NODE_PENDING)) {
                        /* Populating one is begun anew when the request is resent. */
                        pending_end(l->parts.tree, node);
                        tree_reap(l->parts.tree, node);
                        /* No request waits for all of it, and the undo log has an end. */
                        if (++given_up % COMMIT_EACH == 0)
                                journal_commit(l->journal);
                        continue;
                }
                if (node->writers > 0 && may_grow(l, node))
                        watch_add(l->growth, node->fd, node->id);
                /* Watched first, then looked at, so that no close falls between. */
                if (lifetime_created(l, node) == 0 && !lifetime_look(l, node))
                        lifetime_retry(l, id);
        }
        lifetimes_commit(l);
}

int lifetimes_new(struct lifetimes **out, const struct lifetime_parts *parts) {
        struct lifetimes *l;
        int r;

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->parts = *parts;
        l->journal = tree_arena(parts->tree);
        l->root = tree_root_record(parts->tree);
        r = watch_new(&l->closes, parts->loop, IN_CLOSE, lifetime_on_close, l);
        if (r == 0)
                r = watch_new(&l->growth, parts->loop, IN_MODIFY | IN_ONESHOT, lifetime_on_write,
                              l);
        if (r == 0)
                r = loop_add_timer(parts->loop, &l->retries.timer, lifetimes_on_retry, l);
        if (r == 0)
                r = loop_add_timer(parts->loop, &l->grown.timer, lifetimes_on_grown, l);
        if (r == 0)
                r = loop_add_timer(parts->loop, &l->grace, lifetimes_on_grace, l);
        if (r < 0) {
                lifetimes_free(l);
                return r;
        }
        *out = l;
        return 0;
}

struct lifetimes *lifetimes_free(struct lifetimes *l) {
        if (!l)
                return NULL;
        watch_free(l->closes);
        watch_free(l->growth);
        loop_remove(l->retries.timer);
        loop_remove(l->grown.timer);
        loop_remove(l->grace);
        free(l->retries.ids);
        free(l->grown.ids);
        free(l);
        return NULL;
}
