/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * protocol: lines of the socket, taken apart and put together.
 *
 * A request is a line: an optional word `@TAG`, a verb, and what the verb needs.  An answer is a
 * line: the tag, if there was one, then `ok` or `error ERRNO`, then the rest.  docs/protocol.md
 * says it in full.
 *
 * Owns nothing.  Never: reads or writes a descriptor, knows what a verb does.
 */

#include <stdbool.h>
#include <stddef.h>
#include "control/command.h"

enum { PROTOCOL_TAG_MAX = 32 }; /* bytes, without the @ */

/* A request, parsed; or what is wrong with it. */
struct request {
        char tag[PROTOCOL_TAG_MAX + 3]; /* "@TAG " or "" */
        int error;                      /* 0, or negative errno: then error_text says why */
        struct command command;
        struct command_error error_text;
};

/* Bytes of the first line in buffer, its newline included; 0 if it has no end yet. */
size_t protocol_line(const char *buffer, size_t length);

/* Parses a line (without its newline). */
void protocol_parse(struct request *out, const char *line, size_t length);

/*
 * Writes an answer with its newline to buffer and returns its length: `ok`, or `error ERRNO` for a
 * negative error.  Text that does not fit is cut; newlines in it become spaces.
 */
size_t protocol_answer(char *buffer, size_t size, const char *tag, int error, const char *text);
