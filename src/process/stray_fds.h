/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * stray_fds: closes what a dead worker had open for itself.
 *
 * Keeper and workers share one table of descriptors, so whatever a worker had open is still open
 * when it has died.  What no record names is closed, before the next worker opens anything.
 *
 * Owns nothing.  Never: changes a record.
 */

#include <stddef.h>
#include "records/journal.h"

/* own: descriptors of the process that no record names, -1 is passed over.  0, -ENOMEM. */
int stray_fds_close(struct journal *journal, const int *own, size_t n_own);
