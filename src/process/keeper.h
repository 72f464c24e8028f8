/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * keeper: keeps the descriptors open, and restarts the worker.
 *
 * The process that mounted becomes the keeper.  The worker is its child and shares its descriptor
 * table (clone(2) with CLONE_FILES and without CLONE_VM), so that the keeper also has every
 * descriptor that the worker opens.  When the worker dies, the keeper starts another.  When the
 * keeper dies, the worker executes the program again with `--resume`: so it becomes the keeper,
 * with a clean memory, and starts a worker.  For an upgrade the keeper takes the same step.
 *
 * Never: reads a request, touches a region, accesses its own mount.
 */

#include "records/journal.h"

/* Serves until unmounted; returns the program's exit status.  ready_fd: as for worker_run(). */
int keeper_run(struct journal *journal, int ready_fd);
