/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * populate: fills a region with pages before anybody touches them.
 *
 * Works on a helper's thread, in pieces, through a mapping of its own.  With `huge` the pages are
 * transparent huge pages: the kernel is asked for them before (MADV_HUGEPAGE, where
 * /sys/kernel/mm/transparent_hugepage/shmem_enabled allows it), and what came out small is
 * collapsed afterwards (MADV_COLLAPSE, Linux 6.1, which needs no permission).  Before each piece
 * it looks at how much memory is available (memory.h): a region that does not fit is refused, and
 * does not wake the OOM killer.
 *
 * Owns its descriptor and mapping.  Never: touches records.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/job_queue.h"

struct population;

/* result: 0, -ENOSPC, -ECANCELED, …; huge: bytes that are in huge pages. */
typedef void (*population_fn)(void *userdata, int result, uint64_t huge);

/*
 * What it takes to populate size bytes of fd, which stays the caller's.  0, -ENOMEM, -ENOSPC.
 */
int population_new(struct population **out, int fd, uint64_t size, bool huge, population_fn done,
                   void *userdata);
/* Begins.  done() is called on the loop's thread, once, also after population_cancel(); the
 * population is gone then. */
void population_start(struct population *population, struct job_queue *helper);
/* One that has not been started. */
struct population *population_free(struct population *population);
/* Gives up at the next piece. */
void population_cancel(struct population *population);
