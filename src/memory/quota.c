/* SPDX-License-Identifier: MIT */
#include "memory/quota.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "memory/backing.h"

enum { PAGE = 4096, NEW_MAX = 4 };

struct quota {
        struct journal *journal;
        struct root *root;
        /* Private tmpfs that this transaction has made, and limits that it has ended. */
        struct {
                uint32_t limit;
                int fd;
        } fresh[NEW_MAX];
        unsigned int n_fresh;
        uint32_t ended[LAYOUT_STALE_MAX];
        unsigned int n_ended;
        void (*on_tmpfs)(void *userdata, uint32_t limit, int fd);
        void *on_tmpfs_userdata;
};

static uint64_t page_round(uint64_t n) {
        return (n + PAGE - 1) / PAGE * PAGE;
}

/* Sums */

static uint64_t limit_in_use(const struct limit *limit) {
        uint64_t in_use = limit->tmpfs_fd < 0 ? 0 : backing_tmpfs_used(limit->tmpfs_fd);

        return limit->charged + in_use + limit->asked;
}

static uint64_t limit_left(const struct limit *limit) {
        uint64_t used;

        if (limit->bytes == 0)
                return UINT64_MAX;
        used = limit_in_use(limit);
        return limit->bytes > used ? limit->bytes - used : 0;
}

void quota_space(const struct quota *quota, uint32_t id, struct space *out) {
        const struct limit *limit = limit_of_bytes(quota->journal, id);
        uint64_t used = limit_in_use(limit);

        *out = (struct space){.limit = limit->bytes, .used = used};
        if (limit->bytes != 0 && used > limit->bytes) {
                out->used = limit->bytes;
                out->over = used - limit->bytes;
        }
}

uint64_t quota_left(const struct quota *quota, uint32_t limit) {
        return limit_left(limit_of_bytes(quota->journal, limit));
}

bool quota_is_limited(const struct quota *quota, const struct node *node) {
        return limit_of_bytes(quota->journal, node->limit)->bytes != 0;
}

/* The limits of the private tmpfs */

static int limit_sync_to(const struct limit *limit, uint64_t bytes, uint64_t charged) {
        if (limit->tmpfs_fd < 0)
                return 0;
        if (fault_strikes(FAULT_LIMIT))
                return -ENOMEM;
        if (bytes == 0)
                return backing_tmpfs_limit(limit->tmpfs_fd, UINT64_MAX);
        return backing_tmpfs_limit(limit->tmpfs_fd, bytes > charged ? bytes - charged : 0);
}

/* The tmpfs of the limit has to be set to what the records say, at the end of the transaction or by
 * the next worker. */
static void quota_mark_stale(struct quota *quota, const struct limit *limit) {
        struct root *root = quota->root;

        if (limit->tmpfs_fd < 0)
                return;
        for (uint32_t i = 0; i < root->n_stale && i < LAYOUT_STALE_MAX; i++)
                if (root->stale[i] == limit->id)
                        return;
        if (root->n_stale < LAYOUT_STALE_MAX)
                root->stale[root->n_stale] = limit->id;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        root->n_stale++;
}

static void quota_sync(struct quota *quota) {
        struct root *root = quota->root;
        bool all = root->n_stale > LAYOUT_STALE_MAX;
        uint32_t n = all ? journal_high(quota->journal, TABLE_LIMIT) : root->n_stale;

        for (uint32_t i = 0; i < n; i++) {
                const struct limit *limit = limit_get(quota->journal, all ? i + 1 : root->stale[i]);

                if (limit)
                        (void)limit_sync_to(limit, limit->bytes, limit->charged);
        }
        root->n_stale = 0;
}

/* Charges bytes, if they fit, to the part of a limit that its tmpfs cannot have. */
static int limit_charge(struct quota *quota, struct limit *limit, uint64_t more) {
        int r;

        if (more > limit_left(limit))
                return -ENOSPC;
        if (limit->bytes != 0) {
                quota_mark_stale(quota, limit);
                r = limit_sync_to(limit, limit->bytes, limit->charged + more);
                if (r < 0)
                        return r;
        }
        JOURNAL_SET(quota->journal, limit->charged, limit->charged + more);
        return 0;
}

/* less: may be negative, for what has grown without our knowing. */
static void limit_discharge(struct quota *quota, struct limit *limit, uint64_t less) {
        JOURNAL_SET(quota->journal, limit->charged, limit->charged - less);
        if (limit->bytes != 0)
                quota_mark_stale(quota, limit);
}

/* Files that have asked for memory */

static struct node *quota_node(const struct quota *quota, uint32_t id) {
        return journal_get(quota->journal, TABLE_NODE, id);
}

static void asking_link(struct quota *quota, struct node *one, struct node *next) {
        JOURNAL_SET(quota->journal, one->asking_next, next->id);
        JOURNAL_SET(quota->journal, next->asking_previous, one->id);
}

/* As the last of the list. */
static void asking_add(struct quota *quota, struct limit *limit, struct node *node) {
        struct node *first = quota_node(quota, limit->asking);

        if (!first) {
                JOURNAL_SET(quota->journal, limit->asking, node->id);
                first = node;
                asking_link(quota, node, node);
                return;
        }
        asking_link(quota, quota_node(quota, first->asking_previous), node);
        asking_link(quota, node, first);
}

static void asking_remove(struct quota *quota, struct limit *limit, struct node *node) {
        uint32_t next = node->asking_next;

        if (next == node->id)
                next = 0;
        else
                asking_link(quota, quota_node(quota, node->asking_previous),
                            quota_node(quota, next));
        if (limit->asking == node->id)
                JOURNAL_SET(quota->journal, limit->asking, next);
        JOURNAL_SET(quota->journal, node->asking_next, 0);
}

struct node *quota_next_asking(struct quota *quota, uint32_t id) {
        struct limit *limit = limit_of_bytes(quota->journal, id);
        struct node *node = quota_node(quota, limit->asking);

        if (node)
                JOURNAL_SET(quota->journal, limit->asking, node->asking_next);
        return node;
}

/* Charges */

static void quota_ask(struct quota *quota, struct limit *limit, struct node *node,
                      uint64_t charge) {
        JOURNAL_SET(quota->journal, limit->asked, limit->asked - node->charge + charge);
        if (node->charge == 0)
                asking_add(quota, limit, node);
        else if (charge == 0)
                asking_remove(quota, limit, node);
}

void quota_set_charge(struct quota *quota, struct node *node, uint64_t charge) {
        struct limit *limit = limit_of_bytes(quota->journal, node->limit);

        if (node->charge == charge)
                return;
        if (node->backing == BACKING_TMPFS)
                quota_ask(quota, limit, node, charge);
        else
                limit_discharge(quota, limit, node->charge - charge);
        JOURNAL_SET(quota->journal, node->charge, charge);
}

int quota_reserve(struct quota *quota, struct node *node, uint64_t charge) {
        struct limit *limit = limit_of_bytes(quota->journal, node->limit);
        uint64_t more;
        int r;

        if (charge <= node->charge) {
                quota_set_charge(quota, node, charge);
                return 0;
        }
        more = charge - node->charge;
        if (node->backing == BACKING_TMPFS) {
                if (more > limit_left(limit))
                        return -ENOSPC;
                quota_set_charge(quota, node, charge);
                return 0;
        }
        r = limit_charge(quota, limit, more);
        if (r == 0)
                JOURNAL_SET(quota->journal, node->charge, charge);
        return r;
}

/* The private tmpfs */

void quota_on_tmpfs(struct quota *quota, void (*fn)(void *userdata, uint32_t limit, int fd),
                    void *userdata) {
        quota->on_tmpfs = fn;
        quota->on_tmpfs_userdata = userdata;
}

static void quota_tell(const struct quota *quota, uint32_t limit, int fd) {
        if (quota->on_tmpfs)
                quota->on_tmpfs(quota->on_tmpfs_userdata, limit, fd);
}

int quota_tmpfs(struct quota *quota, uint32_t id) {
        struct limit *limit = limit_of_bytes(quota->journal, id);
        uint64_t left = limit->bytes > limit->charged ? limit->bytes - limit->charged : 0;
        int fd;

        if (limit->tmpfs_fd >= 0)
                return limit->tmpfs_fd;
        if (quota->n_fresh == NEW_MAX)
                return -ENOMEM;
        if (fault_strikes(FAULT_MEMFD))
                return -ENOSPC;
        fd = backing_tmpfs(limit->bytes == 0 ? UINT64_MAX : left);
        if (fd < 0)
                return fd;
        JOURNAL_SET(quota->journal, limit->tmpfs_fd, fd);
        quota->fresh[quota->n_fresh].limit = limit->id;
        quota->fresh[quota->n_fresh++].fd = fd;
        quota_tell(quota, limit->id, fd);
        return fd;
}

/* Changing limits */

int quota_set_bytes(struct quota *quota, struct limit *limit, uint64_t bytes) {
        struct limit *payer = limit->above ? limit_of_bytes(quota->journal, limit->above) : NULL;
        int r = 0;

        bytes = page_round(bytes);
        if (bytes != 0 && bytes < limit_in_use(limit))
                return -EBUSY;
        if (payer && bytes > limit->bytes)
                r = limit_charge(quota, payer, bytes - limit->bytes);
        if (r < 0)
                return r;
        quota_mark_stale(quota, limit);
        r = limit_sync_to(limit, bytes, limit->charged);
        if (r < 0)
                return r == -ENOSPC ? -EBUSY : r;
        if (payer && bytes < limit->bytes)
                limit_discharge(quota, payer, limit->bytes - bytes);
        JOURNAL_SET(quota->journal, limit->bytes, bytes);
        return 0;
}

int quota_add_limit(struct quota *quota, struct node *dir, uint64_t bytes, uint64_t nodes) {
        uint32_t above = dir->limit;
        struct limit *limit;
        int r;

        bytes = page_round(bytes);
        r = bytes > 0 ? limit_charge(quota, limit_of_bytes(quota->journal, above), bytes) : 0;
        if (r < 0)
                return r;
        /* The directory leaves first: its inode counts in the new limit. */
        limit_leave(quota->journal, dir);
        r = limit_add(quota->journal, above, dir->id, bytes, nodes, &limit);
        if (r < 0)
                return r;
        limit_join(quota->journal, dir, limit->id);
        return 0;
}

struct limit *quota_end_limit(struct quota *quota, struct limit *limit, int *fd) {
        struct limit *above = limit_get(quota->journal, limit->above);

        *fd = limit->tmpfs_fd;
        if (limit->tmpfs_fd >= 0 && quota->n_ended < LAYOUT_STALE_MAX)
                quota->ended[quota->n_ended++] = limit->id;
        if (limit->bytes > 0)
                limit_discharge(quota, limit_of_bytes(quota->journal, limit->above), limit->bytes);
        limit_delete(quota->journal, limit);
        return above;
}

void quota_take_limit(struct quota *quota, struct node *dir, int *fd) {
        struct limit *limit = limit_get(quota->journal, dir->limit);

        limit_leave(quota->journal, dir);
        limit_join(quota->journal, dir, quota_end_limit(quota, limit, fd)->id);
}

/* The whole */

void quota_commit(struct quota *quota) {
        quota->n_fresh = 0;
        while (quota->n_ended > 0)
                quota_tell(quota, quota->ended[--quota->n_ended], -1);
        if (quota->root->n_stale > 0)
                quota_sync(quota);
}

void quota_abort(struct quota *quota) {
        quota->n_ended = 0;
        while (quota->n_fresh > 0) {
                quota->n_fresh--;
                quota_tell(quota, quota->fresh[quota->n_fresh].limit, -1);
                close(quota->fresh[quota->n_fresh].fd);
        }
        if (quota->root->n_stale > 0)
                quota_sync(quota);
}

int quota_new(struct quota **out, struct journal *journal) {
        struct quota *quota = calloc(1, sizeof(*quota));
        int r;

        if (!quota)
                return -ENOMEM;
        quota->journal = journal;
        quota->root = journal_root(journal);
        r = limits_init(journal);
        if (r < 0) {
                quota_free(quota);
                return r;
        }
        *out = quota;
        return 0;
}

struct quota *quota_free(struct quota *quota) {
        free(quota);
        return NULL;
}
