/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * allocator_process: the process that runs the allocations, see allocator.h.
 *
 * It is small, has no threads, and forks a child for each allocation.  The child does the work and
 * reports; if it ends without a report, the process reports for it.
 *
 * Owns its children: they end with it.  Never: decides what may be allocated, or when.
 */

#include <sys/types.h>

/* Starts it as a child of the caller.  Returns a socket to it, close-on-exec and the caller's, or
 * negative errno. */
int allocator_process_start(pid_t *pid);
