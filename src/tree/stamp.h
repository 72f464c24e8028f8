/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * stamp: the times of nodes.
 *
 * They are of the clock that the kernel stamps its own files with, so that ours and those of a
 * region's memory can be compared.  That clock stands still for a tick, some milliseconds.
 *
 * Owns nothing.  Never: waits for the clock.
 */

#include "records/layout.h"

struct stamp stamp_now(void);
/* The later one. */
struct stamp stamp_max(struct stamp a, struct stamp b);
/* Now, and another time than the last. */
struct stamp stamp_moved(struct stamp last);
