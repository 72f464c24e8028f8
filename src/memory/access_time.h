/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * access_time: the time of access of regions, as the options of the mount have it.
 *
 * The kernel moves that of our backing files at each read, because it knows nothing of the options
 * of our mount.  With noatime only utimensat(2) moves the one that is shown; with relatime a read
 * does that comes after a change, or after a day.  So what is shown is in the node's record.
 *
 * Owns node.atime of regions.  Changes are part of the current transaction.  Never: touches what is
 * in a region.
 */

#include <sys/stat.h>
#include "records/layout.h"

/* st: of the backing file.  Its time of access becomes the one to be shown. */
void access_time_show(struct journal *journal, struct node *node, struct stat *st);
/* Sets the times of the backing file, as futimens(2).  0 or negative errno. */
int access_time_utimens(struct journal *journal, struct node *node, const struct timespec times[2]);
