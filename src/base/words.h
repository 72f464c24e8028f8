/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * words: how names are written where they must be one word of one line.
 *
 * Owns nothing.  Never: allocates.
 */

#include <stddef.h>

/*
 * Writes name to buffer, terminated, with spaces, control characters and backslashes as a backslash
 * and three octal digits, as in /proc/self/mounts.  Returns the length: at most 4 * length, so that
 * the buffer needs 4 * length + 1 bytes.
 */
size_t words_escape(char *buffer, const char *name, size_t length);
