/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * name: names of regions, as people and as the protocol write them.
 *
 * Owns nothing.
 */

#include <stddef.h>

enum { NAME_ESCAPED_MAX = 4 * 4096 };

/* Whether name is a path below a directory.  0, -EINVAL, -ENAMETOOLONG, with the error's text. */
int name_check(const char *name);
/* Writes prefix and name with the protocol's escapes; terminated. */
void name_escape(char out[NAME_ESCAPED_MAX], const char *prefix, const char *name);

/* Turns the escapes of a listing or an event into the bytes that they stand for. */
void name_unescape(char *name);
