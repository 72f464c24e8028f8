/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * report_json: regions as JSON objects, and their single values.
 *
 * What is written is valid JSON whatever the names are.  A name that is no UTF-8 is written
 * with U+FFFD in place of each byte that is none, and once more, escaped as in commands, as
 * name_escaped; the same goes for a creator's command.
 *
 * Owns nothing.  Never: walks.
 */

#include <stdio.h>
#include "memory/region.h"

/* One object, without newline. */
void report_json_region(FILE *stream, const struct node *node, const char *name, size_t length);

/* The same, its attributes fresh.  0 or the errors of region_stat(). */
int report_region(FILE *stream, struct regions *regions, struct node *node, const char *name);
/* One value of that object as text, lists as `a,b`; what stat(2) tells is left out.  -ENODATA. */
int report_attribute(FILE *stream, struct regions *regions, struct node *node, const char *name);
