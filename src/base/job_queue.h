/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * job_queue: a thread that runs jobs which take long.
 *
 * The jobs run one after the other, in the order in which they were submitted, away from the event
 * loop.  The loop calls done() for each when it has run.  A worker has one queue, "memory-jobs",
 * which frees memory and punches holes.
 *
 * Owns the thread, the queue and an eventfd.  Never: touches the journal or anything else that
 * belongs to the loop; a job gets copies and descriptors.  All functions are called on the loop's
 * thread.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include "base/loop.h"

struct job_queue;

/* Embedded in the caller's structure, which must live until done() has been called. */
struct job {
        void (*run)(struct job *job);  /* on the queue's thread */
        void (*done)(struct job *job); /* on the loop's thread; may free the job */
        atomic_bool cancelled;         /* run() of a long job checks it now and then */
        struct job *next;
};

/* name: of the thread, at most 15 bytes.  0 or negative errno. */
int job_queue_new(struct job_queue **out, struct loop *loop, const char *name);
/* Cancels the running job and waits for its end; drops all other jobs.  No done() is called.  NULL
 * is allowed; returns NULL. */
struct job_queue *job_queue_free(struct job_queue *queue);
void job_queue_submit(struct job_queue *queue, struct job *job);
