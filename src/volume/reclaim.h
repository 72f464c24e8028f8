/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reclaim: gives the memory of released regions back to the kernel.
 *
 * Closing the last descriptor of a large file takes long, and close(2) cannot be interrupted.  So
 * the memory of large files is freed in pieces, on the queue for memory jobs.  Whoever must not go
 * on before that is done waits with reclaim_after().
 *
 * Owns the descriptors that it is given.  Never: touches a record.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/job_queue.h"

enum { RECLAIM_AT_ONCE = 4 * 1024 * 1024 }; /* bytes that a close on the loop may free */

struct reclaimer;

/* queue: NULL if all is to be freed at once.  0 or negative errno. */
int reclaimer_new(struct reclaimer **out, struct loop *loop, struct job_queue *queue);
struct reclaimer *reclaimer_free(struct reclaimer *reclaimer);

/* Closes fd of a region that had `blocks` bytes allocated, as last known.  userdata: the
 * reclaimer. */
void reclaim_close(void *userdata, int fd, uint64_t blocks);

/* Calls fn on the loop, in a later turn, when the memory of all that was closed up to the end of
 * this turn has been freed.  0, -ENOMEM. */
int reclaim_after(struct reclaimer *reclaimer, void (*fn)(void *userdata, bool done),
                  void *userdata);
