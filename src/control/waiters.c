/* SPDX-License-Identifier: MIT */
#include "control/waiters.h"

#include <errno.h>
#include <stdlib.h>

#define uthash_nonfatal_oom(element) ((element)->failed = true)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* A ring with a head; a member can be removed without knowing its ring. */
struct link {
        struct link *previous, *next;
};

static void ring_init(struct link *head) {
        head->previous = head->next = head;
}

static bool ring_is_empty(const struct link *head) {
        return head->next == head;
}

static void ring_add(struct link *head, struct link *link) {
        link->previous = head->previous;
        link->next = head;
        head->previous->next = link;
        head->previous = link;
}

static void ring_remove(struct link *link) {
        link->previous->next = link->next;
        link->next->previous = link->previous;
        ring_init(link);
}

/* Moves all members of one ring to the end of the other. */
static void ring_move_all(struct link *to, struct link *from) {
        if (ring_is_empty(from))
                return;
        from->next->previous = to->previous;
        to->previous->next = from->next;
        from->previous->next = to;
        to->previous = from->previous;
        ring_init(from);
}

struct scope {
        uint32_t dir;
        uint32_t n;
        bool failed;
        struct link waiting;
        UT_hash_handle hh;
};

struct waiter {
        struct link link; /* first member; in its directory's ring, or in the queue */
        uint32_t handle;
        bool failed;
        struct scope *scope;
        void *readers;
        UT_hash_handle hh;
};

struct waiters {
        struct waiters_parts parts;
        struct turns *turns;
        struct turns_job job;
        struct scope *scopes;
        struct waiter *waiters;
        struct link queue;
        uint64_t looked;
};

/* The job for the queue belongs to no user. */
#define WAITERS_UID ((uid_t)-1)

static void waiters_run(struct turns_job *job);

int waiters_new(struct waiters **out, const struct waiters_parts *parts) {
        struct waiters *waiters;

        waiters = calloc(1, sizeof(*waiters));
        if (!waiters)
                return -ENOMEM;
        waiters->parts = *parts;
        waiters->turns = parts->turns;
        waiters->job.uid = WAITERS_UID;
        waiters->job.run = waiters_run;
        ring_init(&waiters->queue);
        *out = waiters;
        return 0;
}

static struct scope *scope_find(const struct waiters *waiters, uint32_t dir) {
        struct scope *scope;

        HASH_FIND(hh, waiters->scopes, &dir, sizeof(dir), scope);
        return scope;
}

static struct scope *scope_get(struct waiters *waiters, uint32_t dir) {
        struct scope *scope = scope_find(waiters, dir);

        if (scope)
                return scope;
        scope = calloc(1, sizeof(*scope));
        if (!scope)
                return NULL;
        scope->dir = dir;
        ring_init(&scope->waiting);
        HASH_ADD(hh, waiters->scopes, dir, sizeof(dir), scope);
        if (!scope->failed)
                return scope;
        free(scope);
        return NULL;
}

static void scope_unref(struct waiters *waiters, struct scope *scope) {
        if (--scope->n > 0)
                return;
        HASH_DELETE(hh, waiters->scopes, scope);
        free(scope);
}

static struct waiter *waiter_find(const struct waiters *waiters, uint32_t handle) {
        struct waiter *waiter;

        HASH_FIND(hh, waiters->waiters, &handle, sizeof(handle), waiter);
        return waiter;
}

static void waiter_drop(struct waiters *waiters, struct waiter *waiter) {
        ring_remove(&waiter->link);
        HASH_DELETE(hh, waiters->waiters, waiter);
        scope_unref(waiters, waiter->scope);
        free(waiter);
}

struct waiters *waiters_free(struct waiters *waiters) {
        struct waiter *waiter, *next;

        if (!waiters)
                return NULL;
        turns_cancel(waiters->turns, &waiters->job);
        HASH_ITER(hh, waiters->waiters, waiter, next) {
                waiter_drop(waiters, waiter);
        }
        free(waiters);
        return NULL;
}

static struct waiter *waiter_new(struct waiters *waiters, uint32_t handle, uint32_t dir) {
        struct scope *scope = scope_get(waiters, dir);
        struct waiter *waiter;

        if (!scope)
                return NULL;
        scope->n++;
        waiter = calloc(1, sizeof(*waiter));
        if (waiter) {
                waiter->handle = handle;
                waiter->scope = scope;
                ring_add(&scope->waiting, &waiter->link);
                HASH_ADD(hh, waiters->waiters, handle, sizeof(handle), waiter);
                if (!waiter->failed)
                        return waiter;
                ring_remove(&waiter->link);
                free(waiter);
        }
        scope_unref(waiters, scope);
        return NULL;
}

int waiters_add(struct waiters *waiters, uint32_t handle, uint32_t dir, bool queued) {
        struct waiter *waiter = waiter_find(waiters, handle);

        if (!waiter)
                waiter = waiter_new(waiters, handle, dir);
        if (!waiter)
                return -ENOMEM;
        if (!queued)
                return 0;
        ring_remove(&waiter->link);
        ring_add(&waiters->queue, &waiter->link);
        return turns_wait(waiters->turns, &waiters->job);
}

void **waiters_readers(struct waiters *waiters, uint32_t handle) {
        struct waiter *waiter = waiter_find(waiters, handle);

        return waiter ? &waiter->readers : NULL;
}

void waiters_remove(struct waiters *waiters, uint32_t handle) {
        struct waiter *waiter = waiter_find(waiters, handle);

        if (waiter)
                waiter_drop(waiters, waiter);
}

void waiters_queue(struct waiters *waiters, uint32_t dir) {
        struct scope *scope = scope_find(waiters, dir);

        if (scope)
                ring_move_all(&waiters->queue, &scope->waiting);
}

void waiters_queue_all(struct waiters *waiters) {
        for (struct scope *scope = waiters->scopes; scope; scope = scope->hh.next)
                ring_move_all(&waiters->queue, &scope->waiting);
}

static void waiter_tell(struct waiters *waiters, struct waiter *waiter) {
        uint32_t handle = waiter->handle;
        void *readers = waiter->readers;

        *turns_left(waiters->turns) -= WAITERS_TELL_COST;
        waiter_drop(waiters, waiter);
        waiters->parts.tell(waiters->parts.userdata, handle, readers);
}

static void waiter_look(struct waiters *waiters, struct waiter *waiter) {
        enum waiter_state state;

        waiters->looked++;
        --*turns_left(waiters->turns);
        ring_remove(&waiter->link);
        state = waiters->parts.look(waiters->parts.userdata, waiter->handle);
        if (state == WAITER_TOLD)
                waiter_tell(waiters, waiter);
        else
                ring_add(state == WAITER_BUSY ? &waiters->queue : &waiter->scope->waiting,
                         &waiter->link);
}

void waiters_look(struct waiters *waiters) {
        const int *left = turns_left(waiters->turns);
        unsigned int n = 0;

        while (*left > 0 && n < WAITERS_PER_TURN && !ring_is_empty(&waiters->queue)) {
                waiter_look(waiters, (struct waiter *)waiters->queue.next);
                n++;
        }
        if (n == 0 && ring_is_empty(&waiters->queue))
                return;
        turns_used(waiters->turns);
        if (!ring_is_empty(&waiters->queue))
                turns_wait(waiters->turns, &waiters->job);
}

static void waiters_run(struct turns_job *job) {
        struct waiters *waiters = (struct waiters *)((char *)job - offsetof(struct waiters, job));

        waiters_look(waiters);
}

bool waiters_are_empty(const struct waiters *waiters) {
        return waiters->waiters == NULL;
}

uint64_t waiters_looked(const struct waiters *waiters) {
        return waiters->looked;
}
