/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * waiters: open files of events whose readers wait, by the directory that they are about.
 *
 * A change costs a look-up for each directory above it: the files that may have something to tell
 * are put into a queue as a whole.  From there they are looked at a few in a turn of the loop
 * (turns.h), however many there are; files of other directories are never looked at.
 *
 * Owns the order of the waiters, on the heap.  Never: knows what an event is.
 */

#include "control/turns.h"
#include "tree/tree.h"

enum {
        WAITERS_PER_TURN = 16,
        WAITERS_TELL_COST = 16, /* of the turn's records: to wake somebody is a system call */
};

struct waiters;

/* What has become of one that was looked at. */
enum waiter_state {
        WAITER_WAITS, /* there is nothing for it */
        WAITER_BUSY,  /* it has not been looked at to the end: once more, in a later turn */
        WAITER_TOLD,  /* it does not wait any more, and is to be told */
};

struct waiters_parts {
        struct turns *turns;
        enum waiter_state (*look)(void *userdata, uint32_t handle);
        /* readers: what waiters_readers() had; the handle does not wait any more, but may again. */
        void (*tell)(void *userdata, uint32_t handle, void *readers);
        void *userdata;
};

int waiters_new(struct waiters **out, const struct waiters_parts *parts);
struct waiters *waiters_free(struct waiters *waiters);

/* The handle waits for events of the directory.  queued: to be looked at in any case.  0, -ENOMEM. */
int waiters_add(struct waiters *waiters, uint32_t handle, uint32_t dir, bool queued);
void waiters_remove(struct waiters *waiters, uint32_t handle);
/* A list that the owner of the requests keeps with the handle, NULL if it does not wait. */
void **waiters_readers(struct waiters *waiters, uint32_t handle);

/* Something happened: to be called for the directory and all above it. */
void waiters_queue(struct waiters *waiters, uint32_t dir);
void waiters_queue_all(struct waiters *waiters);
/* Looks at the first of those in the queue; the others follow in later turns. */
void waiters_look(struct waiters *waiters);

bool waiters_are_empty(const struct waiters *waiters);
/* How many were looked at since the worker's start. */
uint64_t waiters_looked(const struct waiters *waiters);
