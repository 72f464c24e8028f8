/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reclaim: gives the memory of released regions back to the kernel.
 *
 * Closing the last descriptor of a large file takes long, and close(2) cannot be interrupted.  So
 * the memory of large files is freed in pieces, on the queue for memory jobs.
 *
 * Owns the descriptors that it is given.  Never: touches a record.
 */

#include <stdint.h>
#include "base/job_queue.h"

/* Closes fd of a region that had `blocks` bytes allocated, as last known.  userdata: the job
 * queue. */
void reclaim_close(void *userdata, int fd, uint64_t blocks);
