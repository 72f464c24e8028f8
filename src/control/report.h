/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * report: parts of a region's description that all listings share.
 *
 * Owns nothing.  Never: changes a record, walks, checks rights.
 */

#include <stdio.h>
#include <time.h>
#include "records/layout.h"

/* Writes options of create, and seals, as `a,b`, or if quoted as `"a", "b"`. */
void report_flags(FILE *stream, const struct node *node, bool quoted);
void report_seals(FILE *stream, const struct node *node, bool quoted);
/* Length of the creator's command; the record has no NUL if it is full. */
size_t report_creator_length(const struct node *node);
/* Time of creation, UTC. */
struct tm report_birth(const struct node *node);
