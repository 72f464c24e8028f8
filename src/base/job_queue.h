/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * helper: a thread for what takes long.
 *
 * Runs jobs one after the other, in the order in which they came, away from the event loop, and
 * reports each back to the loop when it is done.  A worker has two: one for the kernel's
 * notifications, which may have to wait for a request that the loop is about to answer, and one
 * for work on memory (populate, fallocate, freeing).
 *
 * Owns the thread, the queue and an eventfd.  Never: touches the journal or anything else that
 * belongs to the loop; a job gets copies and descriptors.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include "base/loop.h"

struct job_queue;

/* Embedded in what the job needs; owned by the caller until done() is called. */
struct job {
        void (*run)(struct job *job);  /* on the helper's thread */
        void (*done)(struct job *job); /* on the loop's thread; may free the job */
        atomic_bool cancelled;         /* run() of a long job looks at it now and then */
        struct job *next;
};

int job_queue_new(struct job_queue **out, struct loop *loop, const char *name);
/* Waits for the job that is running; jobs that have not run are dropped. */
struct job_queue *job_queue_free(struct job_queue *helper);
void job_queue_submit(struct job_queue *helper, struct job *job);
