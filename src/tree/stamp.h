/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * stamp: the times of nodes.
 *
 * Since Linux 6.13 the kernel's own stamps are neither those of CLOCK_REALTIME nor those of
 * CLOCK_REALTIME_COARSE: a stamp that somebody has looked at makes the next one a finer one.  Only
 * stamps of the kernel are in order with its stamps of regions' backing files.  So ours are the
 * kernel's, too: it stamps a file of ours, and we look at the stamp.  On older kernels that gives
 * the coarse clock, as for any file.
 *
 * All changes of a transaction have the same stamp.
 *
 * Owns that file.  Never: waits for the clock.
 */

#include "records/layout.h"

/* Opens the file, because the number of descriptors should not change later.  If it cannot, stamps
 * are those of the coarse clock. */
void stamp_open(void);
/* The time of the current transaction. */
struct stamp stamp_now(void);
/* To be called when a transaction has ended: the next one has its own time. */
void stamp_end(void);
/* The time by CLOCK_REALTIME_COARSE, which costs nothing; not in order with stamps. */
struct stamp stamp_coarse(void);
/* The later one. */
struct stamp stamp_max(struct stamp a, struct stamp b);
/* The current time, but later than `last`, so that a change can be seen within one tick of the
 * clock. */
struct stamp stamp_moved(struct stamp last);
