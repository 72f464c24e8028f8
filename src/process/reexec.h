/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reexec: executes the program again, with the records and all descriptors of this process.
 *
 * The new program is a keeper with a clean memory, see keeper.h.
 *
 * Owns nothing.  Never: decides when.
 */

#include "records/journal.h"

/*
 * Executes the program at path as the keeper of this journal, with every descriptor kept open.
 * Returns only on failure, with a negative errno.
 */
int reexec(struct journal *journal, const char *path);
