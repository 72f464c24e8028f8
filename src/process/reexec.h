/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reexec: the program anew, with the records and all descriptors of this process.
 *
 * What runs then is a keeper with a clean memory, see keeper.h.
 *
 * Owns nothing.  Never: decides when.
 */

#include "records/journal.h"

/*
 * Executes the program at path as the keeper of this journal, every descriptor kept.  Returns only
 * on failure: negative errno.
 */
int reexec(struct journal *journal, const char *path);
