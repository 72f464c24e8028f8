/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * name: names of regions, as they are and as the protocol writes them.
 *
 * Owns nothing.
 */

#include <stddef.h>

enum { NAME_ESCAPED_MAX = 4 * 4096 };

/* Checks that name is a path below a directory.  0, -EINVAL, -ENAMETOOLONG, with the text set. */
int name_check(const char *name);
/* Writes prefix and name with the protocol's escapes, terminated. */
void name_escape(char out[NAME_ESCAPED_MAX], const char *prefix, const char *name);

/* Replaces the escapes of a listing or an event by their bytes, in place. */
void name_unescape(char *name);
