/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * top_screen: `iomem top` on a terminal: shows frames by ncurses and reads keys.
 *
 * Owns the terminal while it runs.  Never: changes a region or a process.
 */

#include "top_frame.h"

/* Seconds on a clock that nobody sets. */
double top_now(void);
/* Runs until q, a signal, or that many samples (0: no limit).  Returns an exit status. */
int top_screen_run(struct top_model *model, struct top_view *view, uint64_t samples);
