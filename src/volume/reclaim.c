/* SPDX-License-Identifier: MIT */
#include "volume/reclaim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>
#include "base/fault.h"
#include "memory/descriptor.h"
#include "memory/store.h"

enum { STEP = 64 * 1024 * 1024 }; /* bytes that are freed in one step */

struct reclaims {
        struct txn *txn;
        struct journal *journal;
        struct root *root;
        struct job_queue *queue;
        struct loop_source *turn;
        uint64_t begun, ended; /* jobs; they end in the order in which they begin */
        struct waiter *fresh;  /* of this turn: their targets are not known yet */
        struct waiter *waiters;
};

struct waiter {
        void (*fn)(void *userdata, bool done);
        void *userdata;
        uint64_t target; /* jobs that must have ended */
        struct waiter *prev, *next;
};

/* Frees the memory of a large file, unless somebody else still has it. */
struct reclaim_job {
        struct job job;
        struct reclaims *reclaims;
        uint32_t id;
        int fd;
};

static struct reclaim *reclaim_get(const struct reclaims *reclaims, uint32_t id) {
        struct reclaim *record = journal_get(reclaims->journal, TABLE_RECLAIM, id);

        return record && record->id == id ? record : NULL;
}

/* Closes or removes the file, and ends its record.  It may have been done before, by a worker that
 * died then. */
static void reclaim_finish(struct reclaims *reclaims, struct reclaim *record) {
        const struct limit *store = store_get(reclaims->journal, record->store);

        if (record->fd >= 0) {
                close(record->fd);
                journal_crash_point(reclaims->journal);
                descriptor_delete(reclaims->journal, record->fd);
        } else if (store) {
                store_unlink(store, record->node, record->ino);
                journal_crash_point(reclaims->journal);
        }
        journal_delete(reclaims->journal, TABLE_RECLAIM, record->id);
        txn_commit_anyway(reclaims->txn);
}

/* Large files */

static void job_run(struct job *job) {
        struct reclaim_job *reclaim = (struct reclaim_job *)job;
        struct stat st;

        /* In steps: a worker that is killed here ends only when the system call is over. */
        if (fcntl(reclaim->fd, F_SETLEASE, F_WRLCK) == 0 && fstat(reclaim->fd, &st) == 0) {
                off_t size = st.st_size;

                while (size > 0) {
                        size = size > STEP ? size - STEP : 0;
                        if (ftruncate(reclaim->fd, size) < 0)
                                break; /* sealed: close(2) frees it all the same */
                }
        }
}

/* Calls those who waited for no more than this. */
static void reclaims_tell(struct reclaims *reclaims) {
        struct waiter *waiter;

        while ((waiter = reclaims->waiters) && waiter->target <= reclaims->ended) {
                DL_DELETE(reclaims->waiters, waiter);
                waiter->fn(waiter->userdata, true);
                free(waiter);
        }
}

static void job_done(struct job *job) {
        struct reclaim_job *reclaim = (struct reclaim_job *)job;
        struct reclaims *reclaims = reclaim->reclaims;
        struct reclaim *record = reclaim_get(reclaims, reclaim->id);

        if (record->fd < 0)
                close(reclaim->fd);
        reclaim_finish(reclaims, record);
        free(reclaim);
        reclaims->ended++;
        reclaims_tell(reclaims);
}

/* False: it has to be done at once. */
static bool job_begin(struct reclaims *reclaims, const struct reclaim *record) {
        const struct limit *store = store_get(reclaims->journal, record->store);
        struct reclaim_job *reclaim = reclaims->queue ? calloc(1, sizeof(*reclaim)) : NULL;

        if (!reclaim)
                return false;
        reclaim->fd = record->fd;
        if (record->fd < 0)
                reclaim->fd = store ? store_open(store, record->node, record->ino, O_RDWR) : -1;
        if (reclaim->fd < 0) {
                free(reclaim);
                return false;
        }
        reclaim->job.run = job_run;
        reclaim->job.done = job_done;
        reclaim->reclaims = reclaims;
        reclaim->id = record->id;
        reclaims->begun++;
        job_queue_submit(reclaims->queue, &reclaim->job);
        return true;
}

/* The queue */

static void reclaim_start(struct reclaims *reclaims, struct reclaim *record) {
        if (record->blocks <= RECLAIM_AT_ONCE || !job_begin(reclaims, record))
                reclaim_finish(reclaims, record);
}

static void reclaims_after_commit(void *userdata) {
        struct reclaims *reclaims = userdata;
        struct root *root = reclaims->root;

        while (root->reclaim_first != 0) {
                struct reclaim *record = reclaim_get(reclaims, root->reclaim_first);

                JOURNAL_SET(reclaims->journal, root->reclaim_first, record->next);
                reclaim_start(reclaims, record);
                txn_commit_anyway(reclaims->txn);
        }
}

void reclaim_add(struct reclaims *reclaims, const struct node *node) {
        struct root *root = reclaims->root;
        /* There are as many records as nodes, so the table is never full. */
        uint32_t id = journal_new_reserved(reclaims->journal, TABLE_RECLAIM);
        struct reclaim *record = journal_get(reclaims->journal, TABLE_RECLAIM, id), *last;

        if (!record) {
                txn_fail(reclaims->txn, -ENOSPC);
                return;
        }
        *record = (struct reclaim){
                .id = id,
                .fd = node->fd,
                .store = node->backing == BACKING_TMPFS ? node->store : 0,
                .node = node->id,
                .ino = node->ino,
                .blocks = node->blocks,
        };
        last = root->reclaim_first ? reclaim_get(reclaims, root->reclaim_last) : NULL;
        if (last)
                JOURNAL_SET(reclaims->journal, last->next, id);
        else
                JOURNAL_SET(reclaims->journal, root->reclaim_first, id);
        JOURNAL_SET(reclaims->journal, root->reclaim_last, id);
        txn_after_commit(reclaims->txn, TXN_AFTER_RECLAIM);
}

/* Waiting */

static void reclaims_on_turn(void *userdata, uint32_t events) {
        struct reclaims *reclaims = userdata;
        struct waiter *waiter;

        (void)events;
        while ((waiter = reclaims->fresh)) {
                DL_DELETE(reclaims->fresh, waiter);
                waiter->target = reclaims->begun;
                DL_APPEND(reclaims->waiters, waiter);
        }
        reclaims_tell(reclaims);
}

bool reclaims_are_busy(const struct reclaims *reclaims) {
        return reclaims->begun != reclaims->ended;
}

int reclaim_after(struct reclaims *reclaims, void (*fn)(void *userdata, bool done),
                  void *userdata) {
        struct waiter *waiter = fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*waiter));

        if (!waiter)
                return -ENOMEM;
        waiter->fn = fn;
        waiter->userdata = userdata;
        DL_APPEND(reclaims->fresh, waiter);
        loop_arm_soon(reclaims->turn);
        return 0;
}

static void waiters_free(struct waiter *list) {
        struct waiter *waiter;

        while ((waiter = list)) {
                DL_DELETE(list, waiter);
                free(waiter);
        }
}

/* The whole */

void reclaims_take_up(struct reclaims *reclaims) {
        uint32_t high = journal_high(reclaims->journal, TABLE_RECLAIM);

        /* Those in the queue are among them. */
        JOURNAL_SET(reclaims->journal, reclaims->root->reclaim_first, 0);
        for (uint32_t id = 1; id <= high; id++) {
                struct reclaim *record = reclaim_get(reclaims, id);

                if (record)
                        reclaim_start(reclaims, record);
        }
        txn_commit_anyway(reclaims->txn);
}

int reclaims_new(struct reclaims **out, struct loop *loop, struct txn *txn,
                 struct job_queue *queue) {
        struct reclaims *reclaims = calloc(1, sizeof(*reclaims));
        int r;

        if (!reclaims)
                return -ENOMEM;
        reclaims->txn = txn;
        reclaims->journal = txn_journal(txn);
        reclaims->root = journal_root(reclaims->journal);
        reclaims->queue = queue;
        r = loop_add_timer(loop, &reclaims->turn, reclaims_on_turn, reclaims);
        if (r < 0) {
                free(reclaims);
                return r;
        }
        txn_set_after(txn, TXN_AFTER_RECLAIM, reclaims_after_commit, reclaims);
        *out = reclaims;
        return 0;
}

struct reclaims *reclaims_free(struct reclaims *reclaims) {
        if (!reclaims)
                return NULL;
        loop_remove(reclaims->turn);
        waiters_free(reclaims->fresh);
        waiters_free(reclaims->waiters);
        free(reclaims);
        return NULL;
}
