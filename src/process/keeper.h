/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * keeper: holds the descriptors, and restarts the worker.
 *
 * The process that mounted becomes the keeper.  The worker is its child that shares the descriptor
 * table (clone(2) with CLONE_FILES and without CLONE_VM), so that whatever the worker opens the
 * keeper holds, too.  When the worker dies, the keeper starts another.  When the keeper dies, the
 * worker executes the program anew with `--resume`: it is the keeper then, with a clean memory, and
 * starts a worker.  An upgrade is the same step, taken by the keeper.
 *
 * Never: reads a request, touches a region, or touches its own mount.
 */

#include "records/journal.h"

/* Serves until unmounted; returns the program's exit status.  ready_fd as for worker_run(). */
int keeper_run(struct journal *journal, int ready_fd);
