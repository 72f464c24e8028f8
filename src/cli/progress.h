/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * progress: a bar on the terminal while a region is being populated.
 *
 * A thread asks the daemon, on a connection of its own, how far the region of this process is, and
 * draws the bar on stderr.  There is none if stderr is no terminal, or if populating takes only a
 * moment.  It is removed at the end, after success, failure or a signal.
 *
 * Never: disturbs the command; errors of the bar are ignored.
 */

/* argument: the region's name, in the form that cli_connect() takes. */
void progress_begin(const char *argument);
void progress_end(void);
