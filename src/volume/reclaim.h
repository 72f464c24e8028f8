/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reclaim: gives the memory of released regions back to the kernel.
 *
 * The file of a region that is released gets a record, in the transaction that releases it.  After
 * the commit its descriptor is closed, or its name in the store is removed.  The record goes with
 * that; so a new worker knows what is left to do.  Freeing a large file takes long, and close(2)
 * cannot be interrupted.  So the memory of large files is freed in pieces before that, on the queue
 * for memory jobs.  Whoever must not go on before that is done waits with reclaim_after().
 *
 * Owns the reclaim records.  Never: decides when a region is released.
 */

#include <stdbool.h>
#include "base/job_queue.h"
#include "volume/txn.h"

enum { RECLAIM_AT_ONCE = 4 * 1024 * 1024 }; /* bytes that are freed on the loop */

struct reclaims;

/* queue: for large files; NULL: they are freed at once.  0 or negative errno. */
int reclaims_new(struct reclaims **out, struct loop *loop, struct txn *txn,
                 struct job_queue *queue);
struct reclaims *reclaims_free(struct reclaims *reclaims);
/* Continues with the files that the worker before did not get to.  Call it before any other. */
void reclaims_take_up(struct reclaims *reclaims);

/* Takes over the file of a region that is about to be released. */
void reclaim_add(struct reclaims *reclaims, const struct node *node);

/* Whether the memory of released regions is being freed now. */
bool reclaims_are_busy(const struct reclaims *reclaims);
/* Calls fn on the loop, in a later turn, when the memory of all that was released up to the end of
 * this turn has been freed.  0, -ENOMEM. */
int reclaim_after(struct reclaims *reclaims, void (*fn)(void *userdata, bool done), void *userdata);
