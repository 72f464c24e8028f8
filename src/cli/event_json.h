/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * event_json: a line of .ctl/events, `SEQUENCE KIND NAME [KEY=VALUE ...]`, as JSON; see docs/json.md.
 *
 * Owns nothing.
 */

#include <stdio.h>

/* Writes the object and a newline; nothing if the line is no event.  Destroys the line. */
void event_json(FILE *stream, char *line);
