/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * progress: a bar on the terminal while a region is being populated.
 *
 * A thread asks the daemon, on a connection of its own, how far the region of this process is, and
 * draws that on stderr.  There is no bar if stderr is no terminal, or if it is all done in a
 * moment; and none is left behind, whether it ends well, badly or by a signal.
 *
 * Never: stands in the way.  What goes wrong with the bar is nobody's concern.
 */

/* argument: the region's name, as cli_connect() takes it. */
void progress_begin(const char *argument);
void progress_end(void);
