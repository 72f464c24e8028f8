/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * worker: the event loop, and the one thread that owns all state.
 *
 * Puts the modules together over the journal that it is given.  Then it serves the kernel, the
 * socket, signals, and the reports of job queues and the allocator.  It starts in the same way
 * whether it is the first or comes after a crash: see recovery.h.
 *
 * Never: outlives the mount.
 */

#include "records/journal.h"

/* The exit status of a worker's process. */
enum worker_exit {
        WORKER_UNMOUNTED = 0, /* unmounted: the daemon ends */
        WORKER_FAILED = 2,    /* could not start; the log says why */
        WORKER_UPGRADE = 3,   /* the keeper shall execute the program again */
        WORKER_STOPPED = 4,   /* ended by a signal */
};

/*
 * keeper_pidfd: becomes readable when the keeper has died.  ready_fd: gets a byte and is closed
 * when the mount works; -1 for none.  Returns the process's exit status.
 */
int worker_run(struct journal *journal, int keeper_pidfd, int ready_fd);
