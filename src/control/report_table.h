/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * report_table: regions as lines of a table.
 *
 * Columns: NAME SIZE ALLOCATED HUGE MODE UID GID REFS FLAGS SEALS CREATED PID COMMAND.  A column
 * has the width of usual content.  A longer cell moves the rest of its line, as in ps(1): the table
 * is written while it is read, so later lines are not known.  No cell is empty or has spaces.
 * Users are numbers: looking up their names could block the daemon, or lead into its own mount.
 *
 * Owns nothing.  Never: walks.
 */

#include <stdio.h>
#include "records/layout.h"

/* The line of column titles; and the line of a region. */
void report_table_head(FILE *stream);
void report_table_region(FILE *stream, const struct node *node, const char *name, size_t length);
/* The last line of a table that omits names because they are too long. */
void report_table_too_long(FILE *stream, uint64_t count);
