/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * turns: limits the work for listings and waiting readers in one turn of the loop.
 *
 * In a turn, TURNS_RECORDS records are visited for all of them together.  The last one may exceed
 * that by a part that cannot be split, which is finding its way along a path.  Work that is not
 * finished then continues in a later turn, after other requests have been served.  It waits here,
 * and users take turns, with one job of each.
 *
 * Owns the order of the jobs, not the jobs.  Never: knows what a job does.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/loop.h"

enum { TURNS_RECORDS = 256 };

/* Embedded in the caller's structure. */
struct turns_job {
        uid_t uid;
        void (*run)(struct turns_job *job); /* may call turns_wait() again */
        bool waits;
        struct turns_user *user;
        struct turns_job *previous, *next;
};

struct turns;

/* loop stays the caller's and must outlive the turns.  0 or negative errno. */
int turns_new(struct turns **out, struct loop *loop);
struct turns *turns_free(struct turns *turns);

/* What is left of this turn; take 1 off for each visited record. */
int *turns_left(struct turns *turns);
/* Calls job->run in a later turn.  0, -ENOMEM. */
int turns_wait(struct turns *turns, struct turns_job *job);
/* Removes a job; does nothing if it does not wait. */
void turns_cancel(struct turns *turns, struct turns_job *job);
/* Ends a turn and begins the next, with the waiting jobs.  The loop calls it. */
void turns_next(struct turns *turns);
/* The number of records visited since the worker's start, and the most in one turn. */
uint64_t turns_visited(const struct turns *turns);
unsigned int turns_most(const struct turns *turns);
/* To be called after a use of turns_left(), so that the turn ends and the next has its full
 * number. */
void turns_used(struct turns *turns);
