/* SPDX-License-Identifier: MIT */
#include "notice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "notifier.h"

struct notices {
        struct arena *arena;
        struct root *root;
        struct helper *helper;
        int notifier;
        notices_answer_fn answer;
        void *userdata;
        uint32_t last; /* newest record of this transaction, 0 for none */
        uint64_t sent; /* orders below this one are with the helper */
};

/* What the helper's thread gets: copies only. */
struct telling {
        struct job job;
        struct notices *notices;
        uint32_t id; /* of the record */
        int notifier, fuse_fd;
        enum notice_kind kind;
        uint64_t node;
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1];
};

struct after {
        struct job job;
        void (*fn)(void *userdata);
        void *userdata;
};

static struct notice *notice_get(const struct notices *notices, uint32_t id) {
        struct notice *notice = arena_get(notices->arena, TABLE_NOTICE, id);

        return notice && notice->id == id ? notice : NULL;
}

static int notice_new(struct notices *notices, enum notice_kind kind, uint64_t node,
                      const char *name, size_t length) {
        uint32_t id = arena_new(notices->arena, TABLE_NOTICE);
        struct notice *notice = arena_get(notices->arena, TABLE_NOTICE, id);

        if (!notice)
                return -ENOMEM;
        notice->id = id;
        notice->kind = kind;
        notice->node = node;
        notice->order = notices->root->next_notice;
        notice->length = (uint32_t)length;
        memcpy(notice->name, name, length);
        ARENA_SET(notices->arena, notices->root->next_notice, notice->order + 1);
        notices->last = id;
        return 0;
}

int notice_entry(struct notices *notices, uint32_t dir, const char *name, size_t length) {
        return notice_new(notices, NOTICE_ENTRY, dir, name, length);
}

int notice_inode(struct notices *notices, uint32_t node) {
        return notice_new(notices, NOTICE_INODE, node, "", 0);
}

bool notices_answer_later(struct notices *notices, uint64_t unique, int result) {
        struct notice *notice = notice_get(notices, notices->last);

        if (!notice)
                return false;
        notice->unique = unique;
        notice->result = result;
        return true;
}

static struct notice *notices_find(const struct notices *notices, uint64_t unique) {
        uint32_t high = arena_high(notices->arena, TABLE_NOTICE);

        if (arena_used(notices->arena, TABLE_NOTICE) == 0)
                return NULL;
        for (uint32_t id = 1; id <= high; id++) {
                struct notice *notice = notice_get(notices, id);

                if (notice && notice->unique == unique)
                        return notice;
        }
        return NULL;
}

enum notices_state notices_resume(struct notices *notices, uint64_t unique, int *result) {
        struct notice *notice = notices_find(notices, unique);

        if (!notice)
                return NOTICES_NONE;
        if (notice->kind != NOTICE_TOLD)
                return NOTICES_WAITING;
        *result = notice->result;
        arena_delete(notices->arena, TABLE_NOTICE, notice->id);
        return NOTICES_DONE;
}

static void telling_run(struct job *job) {
        struct telling *telling = (struct telling *)job;

        if (telling->kind == NOTICE_ENTRY)
                notifier_tell_entry(telling->notifier, telling->fuse_fd, telling->node,
                                    telling->name, telling->length);
        else
                notifier_tell_inode(telling->notifier, telling->fuse_fd, telling->node);
}

static void telling_done(struct job *job) {
        struct telling *telling = (struct telling *)job;
        struct notices *notices = telling->notices;
        struct notice *notice = notice_get(notices, telling->id);
        uint64_t unique = notice->unique;
        int result = notice->result;

        if (unique == 0) {
                arena_delete(notices->arena, TABLE_NOTICE, notice->id);
                arena_commit(notices->arena);
        } else {
                /* The answer commits, so that the record goes with the answer. */
                arena_delete(notices->arena, TABLE_NOTICE, notice->id);
                if (!notices->answer(notices->userdata, unique, result)) {
                        arena_rollback(notices->arena);
                        ARENA_SET(notices->arena, notice->kind, NOTICE_TOLD);
                        arena_commit(notices->arena);
                }
        }
        free(telling);
}

static void notice_tell(struct notices *notices, const struct notice *notice) {
        struct telling *telling = calloc(1, sizeof(*telling));

        if (!telling)
                abort(); /* the next worker finds the record and tells it */
        telling->job.run = telling_run;
        telling->job.done = telling_done;
        telling->notices = notices;
        telling->id = notice->id;
        telling->notifier = notices->notifier;
        telling->fuse_fd = notices->root->fuse_fd;
        telling->kind = notice->kind;
        telling->node = notice->node;
        telling->length = notice->length;
        memcpy(telling->name, notice->name, notice->length);
        helper_submit(notices->helper, &telling->job);
}

static int notice_compare(const void *a, const void *b) {
        const struct notice *x = *(const struct notice *const *)a;
        const struct notice *y = *(const struct notice *const *)b;

        return (x->order > y->order) - (x->order < y->order);
}

void notices_send(struct notices *notices) {
        uint32_t high = arena_high(notices->arena, TABLE_NOTICE);
        const struct notice **unsent;
        size_t n = 0;

        notices->last = 0;
        if (notices->sent == notices->root->next_notice)
                return;
        unsent = calloc(high, sizeof(struct notice *));
        if (!unsent)
                abort(); /* as above */
        for (uint32_t id = 1; id <= high; id++) {
                const struct notice *notice = notice_get(notices, id);

                if (notice && notice->kind != NOTICE_TOLD && notice->order >= notices->sent)
                        unsent[n++] = notice;
        }
        qsort(unsent, n, sizeof(struct notice *), notice_compare);
        for (size_t i = 0; i < n; i++)
                notice_tell(notices, unsent[i]);
        free(unsent);
        notices->sent = notices->root->next_notice;
}

static void after_run(struct job *job) {
        (void)job;
}

static void after_done(struct job *job) {
        struct after *after = (struct after *)job;

        after->fn(after->userdata);
        free(after);
}

int notices_after(struct notices *notices, void (*fn)(void *userdata), void *userdata) {
        struct after *after = calloc(1, sizeof(*after));

        if (!after)
                return -ENOMEM;
        after->job.run = after_run;
        after->job.done = after_done;
        after->fn = fn;
        after->userdata = userdata;
        helper_submit(notices->helper, &after->job);
        return 0;
}

int notices_new(struct notices **out, struct arena *arena, struct helper *helper, int notifier,
                notices_answer_fn answer, void *userdata) {
        struct notices *notices;

        notices = calloc(1, sizeof(*notices));
        if (!notices)
                return -ENOMEM;
        notices->arena = arena;
        notices->root = arena_root(arena);
        notices->helper = helper;
        notices->notifier = notifier;
        notices->answer = answer;
        notices->userdata = userdata;
        *out = notices;
        return 0;
}

struct notices *notices_free(struct notices *notices) {
        free(notices);
        return NULL;
}
