/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * stamp: the times of nodes.
 *
 * They come from the clock that the kernel uses for its own files, so that our times can be
 * compared with those of a region's backing file.  That clock moves in ticks of some milliseconds.
 *
 * Owns nothing.  Never: waits for the clock.
 */

#include "records/layout.h"

/* The time by the kernel's coarse clock, CLOCK_REALTIME_COARSE. */
struct stamp stamp_now(void);
/* The later one. */
struct stamp stamp_max(struct stamp a, struct stamp b);
/* The current time, but later than `last`, so that a change can be seen within one tick of the
 * clock. */
struct stamp stamp_moved(struct stamp last);
