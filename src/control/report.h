/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * report: regions as a table, as JSON, and the metrics.
 *
 * Renders text to a stream.  A listing of a directory's tree shows the regions below it that the
 * caller could have listed with ls -lR: directories that it may not read and search are passed
 * over.  Regions that are being populated, and have no name yet, come last in the table and in an
 * array of their own in JSON.  Names are relative to the directory, escaped as in command.h (table) or as JSON has it.
 *
 * Owns nothing.  Never: changes a record, but for sizes freshly looked up.
 */

#include <stdio.h>
#include "volume/volume.h"

/*
 * Columns of the table: NAME SIZE ALLOCATED HUGE MODE UID GID REFS FLAGS SEALS CREATED PID COMMAND.
 * Users are numbers: looking their names up could block the daemon, or lead back into its own mount.
 * 0 or -ENOMEM, here and below.
 */
int report_table(FILE *stream, struct volume *volume, struct caller *caller, struct node *dir);
int report_json(FILE *stream, struct volume *volume, struct caller *caller, struct node *dir);
/* One region as a JSON object, as in report_json(), without newline. */
int report_region(FILE *stream, struct regions *regions, struct node *node, const char *name);
/* One value of that object as text, lists as `a,b`; what stat(2) tells is left out.  -ENODATA. */
int report_attribute(FILE *stream, struct regions *regions, struct node *node, const char *name);
/* Prometheus text format. */
int report_stats(FILE *stream, struct volume *volume);
