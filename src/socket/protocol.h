/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * protocol: parses and formats the lines of the socket.
 *
 * A request is a line: an optional word `@TAG`, a verb, and its arguments.  A reply is a line: the
 * tag, if there was one, then `ok` or `error ERRNO`, then the rest.  docs/protocol.md has the full
 * description.
 *
 * Owns nothing.  Never: reads or writes a descriptor, knows what a verb does.
 */

#include <stdbool.h>
#include <stddef.h>
#include "control/command.h"

enum { PROTOCOL_TAG_MAX = 32 }; /* bytes, without the @ */

/* A parsed request, or its error. */
struct request {
        char tag[PROTOCOL_TAG_MAX + 3]; /* "@TAG " or "" */
        int error;                      /* 0, or negative errno: then error_text says why */
        struct command command;
        struct command_error error_text;
};

/* Bytes of the first line in buffer, with its newline; 0 if its end has not come yet. */
size_t protocol_line(const char *buffer, size_t length);

/* Parses a line (without its newline). */
void protocol_parse(struct request *out, const char *line, size_t length);

/*
 * Writes a reply with its newline to buffer and returns its length.  It is `ok`, or `error ERRNO`
 * for a negative error.  Text that does not fit is cut; newlines in it become spaces.
 */
size_t protocol_answer(char *buffer, size_t size, const char *tag, int error, const char *text);
