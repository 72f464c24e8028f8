/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * report: what is said of a region, in words that all listings share.
 *
 * Owns nothing.  Never: changes a record, walks, asks who may know.
 */

#include <stdio.h>
#include <time.h>
#include "records/layout.h"

/* Options of create, and seals: as `a,b`, or, quoted, as `"a", "b"`. */
void report_flags(FILE *stream, const struct node *node, bool quoted);
void report_seals(FILE *stream, const struct node *node, bool quoted);
/* Length of the creator's command, whose record is not terminated if it is full. */
size_t report_creator_length(const struct node *node);
/* Time of birth, UTC. */
struct tm report_birth(const struct node *node);
