/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * report_table: regions as lines of a table.
 *
 * Columns: NAME SIZE ALLOCATED HUGE MODE UID GID REFS FLAGS SEALS CREATED PID COMMAND.  A column
 * is at least as wide as its usual content; a longer cell moves the rest of its line, as with
 * ps(1), because a table that is written as it is read cannot know what comes.  No cell is empty or
 * has spaces.  Users are numbers: looking their names up could block the daemon, or lead back into
 * its own mount.
 *
 * Owns nothing.  Never: walks.
 */

#include <stdio.h>
#include "records/layout.h"

void report_table_head(FILE *stream);
void report_table_region(FILE *stream, const struct node *node, const char *name, size_t length);
/* The last line of a table from which names are missing because they are too long. */
void report_table_too_long(FILE *stream, uint64_t count);
