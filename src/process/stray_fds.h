/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * stray_fds: closes descriptors that only a dead worker used.
 *
 * Keeper and workers share one table of descriptors, so a worker's descriptors stay open when it
 * dies.  Those that no record has are closed, before the next worker opens anything.
 *
 * Owns nothing.  Never: changes a record.
 */

#include <stddef.h>
#include "records/journal.h"

/* own: descriptors of this process that are in no record; -1 is ignored.  0, -ENOMEM. */
int stray_fds_close(struct journal *journal, const int *own, size_t n_own);
