/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * waiters: open files of events whose readers wait, sorted by directory.
 *
 * A change costs one look-up for each directory above it: all files of that directory are moved to
 * a queue in one step.  The files in the queue are checked a few in a turn of the loop (turns.h),
 * however many there are.  Files of other directories are never checked.
 *
 * Owns the order of the waiters, on the heap.  Never: knows what an event is.
 */

#include "control/turns.h"
#include "tree/tree.h"

enum {
        WAITERS_PER_TURN = 16,
        WAITERS_TELL_COST = 16, /* as many of the turn's records: waking is a system call */
};

struct waiters;

/* The result of checking a waiter. */
enum waiter_state {
        WAITER_WAITS, /* there is nothing for it to read */
        WAITER_BUSY,  /* it was not checked to the end: again in a later turn */
        WAITER_TOLD,  /* it does not wait any more, and has to be woken */
};

struct waiters_parts {
        struct turns *turns;
        enum waiter_state (*look)(void *userdata, uint32_t handle);
        /* readers: the list of waiters_readers().  The handle does not wait any more, but may wait
         * again. */
        void (*tell)(void *userdata, uint32_t handle, void *readers);
        void *userdata;
};

/* 0, -ENOMEM. */
int waiters_new(struct waiters **out, const struct waiters_parts *parts);
struct waiters *waiters_free(struct waiters *waiters);

/* Makes the handle wait for events of the directory.  queued: check it in any case.  0, -ENOMEM. */
int waiters_add(struct waiters *waiters, uint32_t handle, uint32_t dir, bool queued);
void waiters_remove(struct waiters *waiters, uint32_t handle);
/* A list that the caller keeps with the handle; NULL if the handle does not wait. */
void **waiters_readers(struct waiters *waiters, uint32_t handle);

/* To be called after an event, for its directory and all above it. */
void waiters_queue(struct waiters *waiters, uint32_t dir);
void waiters_queue_all(struct waiters *waiters);
/* Checks the first ones in the queue; the others follow in later turns. */
void waiters_look(struct waiters *waiters);

/* Whether no handle waits. */
bool waiters_are_empty(const struct waiters *waiters);
/* How many were checked since the worker's start. */
uint64_t waiters_looked(const struct waiters *waiters);
