/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * report_json: regions as JSON objects, and their single values; limits as JSON objects.
 *
 * The output is valid JSON for any name.  A name that is no UTF-8 is written with U+FFFD in place
 * of each invalid byte, and once more as name_escaped, escaped as in commands; the same goes for a
 * creator's command.
 *
 * Owns nothing.  Never: walks.
 */

#include <stdio.h>
#include "memory/region.h"

/* One object, without newline. */
void report_json_region(FILE *stream, const struct node *node, const char *name, size_t length);

/* The same with fresh attributes.  0 or the errors of region_stat(). */
int report_region(FILE *stream, struct regions *regions, struct node *node, const char *name);
/* One value of that object as text, lists as `a,b`.  0, -ENODATA (no such value, or stat(2) has
 * it). */
int report_attribute(FILE *stream, struct regions *regions, struct node *node, const char *name);

/* One object: a directory, the space that a file in it has, and the limit of inodes there. */
void report_json_limit(FILE *stream, const char *path, size_t length, const struct space *space,
                       const struct limit *nodes);
