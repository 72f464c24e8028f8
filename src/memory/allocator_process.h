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

#include <sys/types.h>

/* Starts it, a child of the caller's.  The socket to it, close-on-exec, or negative errno. */
int allocator_process_start(pid_t *pid);
