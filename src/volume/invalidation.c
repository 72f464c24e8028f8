/* SPDX-License-Identifier: MIT */
#include "volume/invalidation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "fuse/notifier.h"

struct invalidations {
        struct journal *journal;
        struct root *root;
        struct job_queue *helper;
        int notifier;
        invalidations_answer_fn answer;
        void *userdata;
        uint32_t last; /* newest record of this transaction, 0 for none */
        uint64_t sent; /* orders below this one are with the helper */
};

/* What the helper's thread gets: copies only. */
struct notification {
        struct job job;
        struct invalidations *invalidations;
        uint32_t id; /* of the record */
        int notifier, fuse_fd;
        enum invalidation_kind kind;
        uint64_t node;
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1];
};

struct after {
        struct job job;
        void (*fn)(void *userdata);
        void *userdata;
};

static struct invalidation *invalidation_get(const struct invalidations *invalidations,
                                             uint32_t id) {
        struct invalidation *invalidation =
                journal_get(invalidations->journal, TABLE_INVALIDATION, id);

        return invalidation && invalidation->id == id ? invalidation : NULL;
}

static int invalidation_new(struct invalidations *invalidations, enum invalidation_kind kind,
                            uint64_t node, const char *name, size_t length) {
        uint32_t id = journal_new(invalidations->journal, TABLE_INVALIDATION);
        struct invalidation *invalidation =
                journal_get(invalidations->journal, TABLE_INVALIDATION, id);

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
        invalidations->last = id;
        return 0;
}

int invalidation_entry(struct invalidations *invalidations, uint32_t dir, const char *name,
                       size_t length) {
        return invalidation_new(invalidations, INVALIDATION_ENTRY, dir, name, length);
}

int invalidation_inode(struct invalidations *invalidations, uint32_t node) {
        return invalidation_new(invalidations, INVALIDATION_INODE, node, "", 0);
}

bool invalidations_answer_later(struct invalidations *invalidations, uint64_t unique, int result) {
        struct invalidation *invalidation = invalidation_get(invalidations, invalidations->last);

        if (!invalidation)
                return false;
        invalidation->unique = unique;
        invalidation->result = result;
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

static void notification_run(struct job *job) {
        struct notification *notification = (struct notification *)job;

        if (notification->kind == INVALIDATION_ENTRY)
                notifier_tell_entry(notification->notifier, notification->fuse_fd,
                                    notification->node, notification->name, notification->length);
        else
                notifier_tell_inode(notification->notifier, notification->fuse_fd,
                                    notification->node);
}

static void notification_done(struct job *job) {
        struct notification *notification = (struct notification *)job;
        struct invalidations *invalidations = notification->invalidations;
        struct invalidation *invalidation = invalidation_get(invalidations, notification->id);
        uint64_t unique = invalidation->unique;
        int result = invalidation->result;

        if (unique == 0) {
                journal_delete(invalidations->journal, TABLE_INVALIDATION, invalidation->id);
                journal_commit(invalidations->journal);
        } else {
                /* The answer commits, so that the record goes with the answer. */
                journal_delete(invalidations->journal, TABLE_INVALIDATION, invalidation->id);
                if (!invalidations->answer(invalidations->userdata, unique, result)) {
                        journal_rollback(invalidations->journal);
                        JOURNAL_SET(invalidations->journal, invalidation->kind, INVALIDATION_TOLD);
                        journal_commit(invalidations->journal);
                }
        }
        free(notification);
}

static void invalidation_tell(struct invalidations *invalidations,
                              const struct invalidation *invalidation) {
        struct notification *notification = calloc(1, sizeof(*notification));

        if (!notification)
                abort(); /* the next worker finds the record and tells it */
        notification->job.run = notification_run;
        notification->job.done = notification_done;
        notification->invalidations = invalidations;
        notification->id = invalidation->id;
        notification->notifier = invalidations->notifier;
        notification->fuse_fd = invalidations->root->fuse_fd;
        notification->kind = invalidation->kind;
        notification->node = invalidation->node;
        notification->length = invalidation->length;
        memcpy(notification->name, invalidation->name, invalidation->length);
        job_queue_submit(invalidations->helper, &notification->job);
}

static int invalidation_compare(const void *a, const void *b) {
        const struct invalidation *x = *(const struct invalidation *const *)a;
        const struct invalidation *y = *(const struct invalidation *const *)b;

        return (x->order > y->order) - (x->order < y->order);
}

void invalidations_send(struct invalidations *invalidations) {
        uint32_t high = journal_high(invalidations->journal, TABLE_INVALIDATION);
        const struct invalidation **unsent;
        size_t n = 0;

        invalidations->last = 0;
        if (invalidations->sent == invalidations->root->next_invalidation)
                return;
        unsent = calloc(high, sizeof(struct invalidation *));
        if (!unsent)
                abort(); /* as above */
        for (uint32_t id = 1; id <= high; id++) {
                const struct invalidation *invalidation = invalidation_get(invalidations, id);

                if (invalidation && invalidation->kind != INVALIDATION_TOLD &&
                    invalidation->order >= invalidations->sent)
                        unsent[n++] = invalidation;
        }
        qsort(unsent, n, sizeof(struct invalidation *), invalidation_compare);
        for (size_t i = 0; i < n; i++)
                invalidation_tell(invalidations, unsent[i]);
        free(unsent);
        invalidations->sent = invalidations->root->next_invalidation;
}

static void after_run(struct job *job) {
        (void)job;
}

static void after_done(struct job *job) {
        struct after *after = (struct after *)job;

        after->fn(after->userdata);
        free(after);
}

int invalidations_after(struct invalidations *invalidations, void (*fn)(void *userdata),
                        void *userdata) {
        struct after *after = calloc(1, sizeof(*after));

        if (!after)
                return -ENOMEM;
        after->job.run = after_run;
        after->job.done = after_done;
        after->fn = fn;
        after->userdata = userdata;
        job_queue_submit(invalidations->helper, &after->job);
        return 0;
}

int invalidations_new(struct invalidations **out, struct journal *journal, struct job_queue *helper,
                      int notifier, invalidations_answer_fn answer, void *userdata) {
        struct invalidations *invalidations;

        invalidations = calloc(1, sizeof(*invalidations));
        if (!invalidations)
                return -ENOMEM;
        invalidations->journal = journal;
        invalidations->root = journal_root(journal);
        invalidations->helper = helper;
        invalidations->notifier = notifier;
        invalidations->answer = answer;
        invalidations->userdata = userdata;
        *out = invalidations;
        return 0;
}

struct invalidations *invalidations_free(struct invalidations *invalidations) {
        free(invalidations);
        return NULL;
}
