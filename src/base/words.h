/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * words: how names are written where they must be one word of one line.
 *
 * Names are bytes; most are UTF-8.  What a terminal must not get as it is, is escaped: spaces and
 * control characters (C1 included), backslashes, characters that change the direction of writing
 * or end a line, and bytes that are no UTF-8.
 *
 * Owns nothing.  Never: allocates.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Writes name to buffer, terminated, with what must be escaped as a backslash and three octal
 * digits for each byte, as in /proc/self/mounts.  Returns the length: at most 4 * length, so that
 * the buffer needs 4 * length + 1 bytes.
 */
size_t words_escape(char *buffer, const char *name, size_t length);

/* Bytes of the character at text, and its code; 0 if the bytes there are no UTF-8. */
size_t words_character(const char *text, size_t length, uint32_t *code);
/* Whether a terminal would take the character for more than something to be shown. */
bool words_is_control(uint32_t code);
/* Whether all of it is UTF-8. */
bool words_is_utf8(const char *text, size_t length);
