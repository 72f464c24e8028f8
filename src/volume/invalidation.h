/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * invalidation: tells the kernel of changes that it did not ask for.
 *
 * A command removes or resizes a region behind the kernel's back; what it has cached must go
 * before the command is answered.  Invalidations are records of the journal, written in the transaction
 * that makes the change, so that a worker that takes over tells them again.  They are told by a
 * helper thread, in order.
 *
 * The answer to a request can be tied to the last invalidation that it wrote.  It is given when that has
 * been told; by whichever worker: if one dies in between, the request is resent, and
 * invalidations_resume() says how far it got.
 *
 * Owns the invalidation records.  Never: sends from the loop's thread, or answers by itself.
 */

#include "base/job_queue.h"
#include "records/layout.h"

enum invalidation_kind {
        INVALIDATION_ENTRY, /* a name was removed, or is another's now */
        INVALIDATION_INODE, /* size, times or owner changed */
        INVALIDATION_TOLD,  /* the kernel knows; the answer waits for the resent request */
};

enum invalidations_state {
        INVALIDATIONS_NONE, /* a request that has not been seen */
        INVALIDATIONS_WAITING, /* carried out; the answer will be given when the kernel has been told */
        INVALIDATIONS_DONE, /* carried out and told: answer now */
};

struct invalidations;

/*
 * Answers a request whose invalidations have been told, which commits the transaction.  False if the
 * request is not at hand (it will be resent).
 */
typedef bool (*invalidations_answer_fn)(void *userdata, uint64_t unique, int result);

/*
 * What a dead worker left untold is told by the first invalidations_send().  notifier: see notifier.h; -1:
 * the helper tells the kernel itself.
 */
int invalidations_new(struct invalidations **out, struct journal *journal, struct job_queue *helper,
                      int notifier, invalidations_answer_fn answer, void *userdata);
struct invalidations *invalidations_free(struct invalidations *invalidations);

/* Within the transaction.  0, -ENOMEM (the table is full). */
int invalidation_entry(struct invalidations *invalidations, uint32_t dir, const char *name,
                       size_t length);
int invalidation_inode(struct invalidations *invalidations, uint32_t node);

/*
 * Ties the answer (what write(2) returns) to the last invalidation of this transaction.  False if it
 * wrote none: answer at once.
 */
bool invalidations_answer_later(struct invalidations *invalidations, uint64_t unique, int result);
/* How far a request got before; with INVALIDATIONS_DONE the answer, and the record is given back. */
enum invalidations_state invalidations_resume(struct invalidations *invalidations, uint64_t unique,
                                              int *result);

/* After the commit: hands what was written down to the helper. */
void invalidations_send(struct invalidations *invalidations);
/* Calls fn on the loop when everything written down so far has been told.  0, -ENOMEM. */
int invalidations_after(struct invalidations *invalidations, void (*fn)(void *userdata),
                        void *userdata);
