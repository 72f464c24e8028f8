/* SPDX-License-Identifier: MIT */
#include "volume/invalidation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"

/* What the queue's thread gets: copies only.  Made with the record, begun after the commit. */
struct notification {
        struct job job;
        struct invalidations *invalidations;
        uint32_t id; /* of the record */
        enum invalidation_kind kind;
        uint64_t node;
        uint64_t order;
        struct notification *next; /* of the same transaction, or due */
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1];
};

struct notifications {
        struct notification *first;
        struct notification **end;
};

struct invalidations {
        struct txn *txn;
        struct journal *journal;
        struct root *root;
        struct job_queue *queue;
        struct invalidation_teller teller;
        invalidations_reply_fn reply;
        void *userdata;
        struct invalidation_mark last; /* of this request */
        struct notifications fresh;    /* of the current transaction */
        struct notifications due;      /* committed, not with the queue yet */
};

static void notifications_init(struct notifications *list) {
        list->first = NULL;
        list->end = &list->first;
}

static void notifications_push(struct notifications *list, struct notification *notification) {
        notification->next = NULL;
        *list->end = notification;
        list->end = &notification->next;
}

static void notifications_drop(struct notifications *list) {
        while (list->first) {
                struct notification *next = list->first->next;

                free(list->first);
                list->first = next;
        }
        notifications_init(list);
}

static struct invalidation *invalidation_get(const struct invalidations *invalidations,
                                             uint32_t id) {
        struct invalidation *invalidation =
                journal_get(invalidations->journal, TABLE_INVALIDATION, id);

        return invalidation && invalidation->id == id ? invalidation : NULL;
}

/* Telling */

static void notification_run(struct job *job) {
        struct notification *notification = (struct notification *)job;
        const struct invalidation_teller *teller = &notification->invalidations->teller;

        if (notification->kind == INVALIDATION_ENTRY && teller->entry)
                teller->entry(teller->userdata, notification->node, notification->name,
                              notification->length);
        else if (notification->kind == INVALIDATION_INODE && teller->inode)
                teller->inode(teller->userdata, notification->node);
}

/* The record goes in the transaction of the reply that waited for it, or in one of its own. */
static void invalidation_told(struct invalidations *invalidations, uint32_t id) {
        struct invalidation *invalidation = invalidation_get(invalidations, id);
        uint64_t unique = invalidation->unique;
        int result = invalidation->result;

        journal_delete(invalidations->journal, TABLE_INVALIDATION, id);
        txn_insist(invalidations->txn);
        if (unique == 0) {
                (void)txn_commit(invalidations->txn);
                return;
        }
        if (invalidations->reply && invalidations->reply(invalidations->userdata, unique, result))
                return;
        txn_abort(invalidations->txn);
        JOURNAL_SET(invalidations->journal, invalidation->kind, INVALIDATION_TOLD);
        txn_commit_anyway(invalidations->txn);
}

static void notification_done(struct job *job) {
        struct notification *notification = (struct notification *)job;

        invalidation_told(notification->invalidations, notification->id);
        free(notification);
}

static struct notification *notification_new(struct invalidations *invalidations,
                                             const struct invalidation *invalidation) {
        struct notification *notification;

        notification = fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*notification));
        if (!notification)
                return NULL;
        notification->job.run = notification_run;
        notification->job.done = notification_done;
        notification->invalidations = invalidations;
        notification->id = invalidation->id;
        notification->kind = invalidation->kind;
        notification->node = invalidation->node;
        notification->order = invalidation->order;
        notification->length = invalidation->length;
        memcpy(notification->name, invalidation->name, invalidation->length);
        return notification;
}

static void invalidations_send(void *userdata) {
        struct invalidations *invalidations = userdata;
        struct notification *next;

        for (struct notification *n = invalidations->due.first; n; n = next) {
                next = n->next;
                job_queue_submit(invalidations->queue, &n->job);
        }
        notifications_init(&invalidations->due);
}

/* Writing down */

static int invalidation_new(struct invalidations *invalidations, enum invalidation_kind kind,
                            uint64_t node, const char *name, size_t length) {
        uint32_t id = journal_new(invalidations->journal, TABLE_INVALIDATION);
        struct invalidation *invalidation =
                journal_get(invalidations->journal, TABLE_INVALIDATION, id);
        struct notification *notification;

        if (!invalidation)
                return -ENOMEM;
        invalidation->id = id;
        invalidation->kind = kind;
        invalidation->node = node;
        invalidation->order = invalidations->root->next_invalidation;
        invalidation->length = (uint32_t)length;
        memcpy(invalidation->name, name, length);
        JOURNAL_SET(invalidations->journal, invalidations->root->next_invalidation,
                    invalidation->order + 1);
        notification = notification_new(invalidations, invalidation);
        if (!notification)
                return -ENOMEM;
        notifications_push(&invalidations->fresh, notification);
        txn_after_commit(invalidations->txn, TXN_AFTER_INVALIDATIONS);
        invalidations->last = (struct invalidation_mark){id, invalidation->order};
        return 0;
}

int invalidation_entry(struct invalidations *invalidations, uint32_t dir, const char *name,
                       size_t length) {
        return invalidation_new(invalidations, INVALIDATION_ENTRY, dir, name, length);
}

int invalidation_inode(struct invalidations *invalidations, uint32_t node) {
        return invalidation_new(invalidations, INVALIDATION_INODE, node, "", 0);
}

/* Replies that wait */

void invalidations_begin(struct invalidations *invalidations, struct invalidation_mark mark) {
        invalidations->last = mark;
}

struct invalidation_mark invalidations_mark(const struct invalidations *invalidations) {
        return invalidations->last;
}

bool invalidations_reply_later(struct invalidations *invalidations, uint64_t unique, int result) {
        struct invalidation *invalidation = invalidation_get(invalidations, invalidations->last.id);

        /* The record may have been told meanwhile, or rolled back, and its id be another's. */
        if (!invalidation || invalidation->order != invalidations->last.order ||
            invalidation->kind == INVALIDATION_TOLD)
                return false;
        JOURNAL_SET(invalidations->journal, invalidation->unique, unique);
        JOURNAL_SET(invalidations->journal, invalidation->result, result);
        return true;
}

static struct invalidation *invalidations_find(const struct invalidations *invalidations,
                                               uint64_t unique) {
        uint32_t high = journal_high(invalidations->journal, TABLE_INVALIDATION);

        if (journal_used(invalidations->journal, TABLE_INVALIDATION) == 0)
                return NULL;
        for (uint32_t id = 1; id <= high; id++) {
                struct invalidation *invalidation = invalidation_get(invalidations, id);

                if (invalidation && invalidation->unique == unique)
                        return invalidation;
        }
        return NULL;
}

enum invalidations_state invalidations_resume(struct invalidations *invalidations, uint64_t unique,
                                              int *result) {
        struct invalidation *invalidation = invalidations_find(invalidations, unique);

        if (!invalidation)
                return INVALIDATIONS_NONE;
        if (invalidation->kind != INVALIDATION_TOLD)
                return INVALIDATIONS_WAITING;
        *result = invalidation->result;
        journal_delete(invalidations->journal, TABLE_INVALIDATION, invalidation->id);
        return INVALIDATIONS_DONE;
}

static void waiter_run(struct job *job) {
        (void)job;
}

static void waiter_done(struct job *job) {
        struct invalidations_waiter *waiter = (struct invalidations_waiter *)job;

        waiter->fn(waiter->userdata);
}

void invalidations_after(struct invalidations *invalidations, struct invalidations_waiter *waiter,
                         void (*fn)(void *userdata), void *userdata) {
        waiter->job.run = waiter_run;
        waiter->job.done = waiter_done;
        waiter->fn = fn;
        waiter->userdata = userdata;
        job_queue_submit(invalidations->queue, &waiter->job);
}

/* The whole */

static int notification_compare(const void *a, const void *b) {
        const struct notification *x = *(struct notification *const *)a;
        const struct notification *y = *(struct notification *const *)b;

        return (x->order > y->order) - (x->order < y->order);
}

int invalidations_take_up(struct invalidations *invalidations) {
        uint32_t high = journal_high(invalidations->journal, TABLE_INVALIDATION);
        struct notification **untold;
        size_t n = 0;
        int r = 0;

        if (journal_used(invalidations->journal, TABLE_INVALIDATION) == 0)
                return 0;
        untold = calloc(high, sizeof(struct notification *));
        if (!untold)
                return -ENOMEM;
        for (uint32_t id = 1; id <= high && r == 0; id++) {
                const struct invalidation *invalidation = invalidation_get(invalidations, id);

                if (!invalidation || invalidation->kind == INVALIDATION_TOLD)
                        continue;
                untold[n] = notification_new(invalidations, invalidation);
                r = untold[n] ? 0 : -ENOMEM;
                n += r == 0;
        }
        qsort(untold, n, sizeof(struct notification *), notification_compare);
        for (size_t i = 0; i < n; i++)
                notifications_push(&invalidations->due, untold[i]);
        free(untold);
        invalidations_send(invalidations);
        return r;
}

static void invalidations_commit(void *userdata) {
        struct invalidations *invalidations = userdata;

        if (!invalidations->fresh.first)
                return;
        *invalidations->due.end = invalidations->fresh.first;
        invalidations->due.end = invalidations->fresh.end;
        notifications_init(&invalidations->fresh);
}

static void invalidations_abort(void *userdata) {
        struct invalidations *invalidations = userdata;

        notifications_drop(&invalidations->fresh);
}

int invalidations_new(struct invalidations **out, struct txn *txn, struct job_queue *queue) {
        struct invalidations *invalidations;

        invalidations = calloc(1, sizeof(*invalidations));
        if (!invalidations)
                return -ENOMEM;
        invalidations->txn = txn;
        invalidations->journal = txn_journal(txn);
        invalidations->root = journal_root(invalidations->journal);
        invalidations->queue = queue;
        notifications_init(&invalidations->fresh);
        notifications_init(&invalidations->due);
        txn_set_after(txn, TXN_AFTER_INVALIDATIONS, invalidations_send, invalidations);
        txn_add_member(txn, invalidations_commit, invalidations_abort, invalidations);
        *out = invalidations;
        return 0;
}

struct invalidations *invalidations_free(struct invalidations *invalidations) {
        if (!invalidations)
                return NULL;
        notifications_drop(&invalidations->fresh);
        notifications_drop(&invalidations->due);
        free(invalidations);
        return NULL;
}

void invalidations_set_teller(struct invalidations *invalidations,
                              const struct invalidation_teller *teller) {
        invalidations->teller = *teller;
}

void invalidations_set_reply(struct invalidations *invalidations, invalidations_reply_fn reply,
                             void *userdata) {
        invalidations->reply = reply;
        invalidations->userdata = userdata;
}
