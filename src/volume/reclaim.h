/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reclaim: gives the memory of regions that were given up back to the kernel.
 *
 * Closing the last descriptor of a large file takes long, and close(2) cannot be interrupted; so
 * the memory of large ones is freed in pieces, by the queue that works on memory.
 *
 * Owns the descriptors that it is given.  Never: touches a record.
 */

#include <stdint.h>
#include "base/job_queue.h"

/* Closes fd, of a region of so many bytes allocated, as last known.  userdata: the job queue. */
void reclaim_close(void *userdata, int fd, uint64_t blocks);
