/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * allocator_process: the far end of the allocator, see allocator.h.
 *
 * A small process without threads that forks a child for each allocation.  The child does the work
 * and reports; if it ends without a report, the process reports for it.
 *
 * Owns its children: they end with it.  Never: decides what may be allocated, or when.
 */

#include <stdint.h>
#include <sys/types.h>

/* From the worker: one message each, with the region's descriptor if it is a start. */
struct allocator_order {
        uint32_t id; /* of the allocation, above 0 */
        uint32_t cancel;
        uint64_t offset, length;
        int32_t mode;
        int32_t pid;
        uint32_t zero;
        uint32_t huge;
};

/* To the worker. */
struct allocator_report {
        uint32_t id;
        int32_t result;
        uint64_t huge;
};

/* Starts it, a child of the caller's.  The socket to it, close-on-exec, or negative errno. */
int allocator_process_start(pid_t *pid);
