/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * words: escapes a name, so that it is one word on one line.
 *
 * Names are bytes; most are UTF-8.  Escaped are spaces, backslashes, control characters (C1
 * included), characters that change the direction of writing or end a line, and bytes that are no
 * UTF-8: none of these may reach a terminal.
 *
 * Owns nothing.  Never: allocates.  Thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Writes name to buffer, terminated.  Each byte to be escaped becomes a backslash and three octal
 * digits, as in /proc/self/mounts.  Returns the length, which is at most 4 * length; the buffer
 * needs 4 * length + 1 bytes.
 */
size_t words_escape(char *buffer, const char *name, size_t length);

/* Returns the number of bytes of the character at text, and sets its code; 0 if it is no UTF-8.
 * length: bytes at text, at least 1. */
size_t words_character(const char *text, size_t length, uint32_t *code);
/* Whether the character may do more to a terminal than show itself. */
bool words_is_control(uint32_t code);
/* Whether all bytes are UTF-8. */
bool words_is_utf8(const char *text, size_t length);
