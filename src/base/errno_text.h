/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * errno_text: the words for an errno, in one spelling for the daemon, the library and iomem:
 * "permission denied", to go on after "frames: ".
 *
 * Owns a buffer in each thread.  Never: allocates.
 */

/* error: positive or negative.  Valid until this thread's next call. */
const char *errno_text(int error);
