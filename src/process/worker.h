/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * worker: the event loop, and the one thread that owns all state.
 *
 * Puts the rooms together over the journal that it is given, and serves: the kernel, the socket,
 * signals, the helpers' reports.  It starts the same way whether it is the first or comes after a
 * crash: see recovery.h.
 *
 * Never: lives on when the file system is unmounted.
 */

#include "records/journal.h"

/* How a worker ends, as its process's exit status. */
enum worker_exit {
        WORKER_UNMOUNTED = 0, /* all is over */
        WORKER_FAILED = 2,    /* could not start; says why in the log */
        WORKER_UPGRADE = 3,   /* the keeper is to run the program anew */
        WORKER_STOPPED = 4,   /* told to end by a signal */
};

/*
 * keeper_pidfd: tells when the keeper has died; ready_fd: written a byte and closed when the mount
 * answers, -1 for none.  Returns the process's exit status.
 */
int worker_run(struct journal *journal, int keeper_pidfd, int ready_fd);
