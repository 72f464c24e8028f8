/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * layout_steps: takes over the records of earlier releases.
 *
 * Each layout that a release had, except for the present one, has its structures in files of its own
 * (layout_N.h and layout_N.c, made by keep-layout), and a step that turns its records into those of
 * the next one.  docs/design.md says how a step is added.
 *
 * Owns nothing.  Never: changes the records of the present layout.
 */

#include <stdbool.h>

/* Whether this program can take over records of that version: the present one, or one with steps. */
bool layout_is_known(int version);
/* Prints the present version, and all others that are known. */
void layout_print(void);
/* Converts the records in fd to the present layout, if they have an earlier one.  0, -EPROTO (not
 * known), or the errors of journal_convert(); then the records that were valid still are. */
int layout_take_over(int fd);
