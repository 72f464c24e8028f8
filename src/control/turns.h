/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * turns: how much of a turn of the loop goes to listings and to those who wait for events.
 *
 * A turn of the loop visits TURNS_RECORDS records for them, whoever they are; the last of them may
 * go beyond that by what it cannot do in parts, which is to find its way along a path.  What does
 * not come to an end within that goes on in a later turn, after other requests have been served:
 * it waits here, and users take turns, one job of each.
 *
 * Owns the order of the jobs, not the jobs.  Never: knows what a job does.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/loop.h"

enum { TURNS_RECORDS = 256 };

/* Part of whoever waits. */
struct turns_job {
        uid_t uid;
        void (*run)(struct turns_job *job); /* may wait again */
        bool waits;
        struct turns_user *user;
        struct turns_job *previous, *next;
};

struct turns;

int turns_new(struct turns **out, struct loop *loop);
struct turns *turns_free(struct turns *turns);

/* What is left of this turn; whoever visits a record takes one off. */
int *turns_left(struct turns *turns);
/* Has job->run called in a later turn.  0, -ENOMEM. */
int turns_wait(struct turns *turns, struct turns_job *job);
/* Takes a job back; nothing happens if it does not wait. */
void turns_cancel(struct turns *turns, struct turns_job *job);
/* Ends a turn and begins the next, with the jobs that wait; the loop calls it. */
void turns_next(struct turns *turns);
/* Records visited since the worker's start, and the most in one turn. */
uint64_t turns_visited(const struct turns *turns);
unsigned int turns_most(const struct turns *turns);
/* Sees to it that a turn ends, and with it what was used up. */
void turns_used(struct turns *turns);
