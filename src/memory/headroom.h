/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * headroom: how much memory may still be taken.
 *
 * That is what the machine has available (/proc/meminfo), or less.  Pages are charged to the memory
 * cgroup of the process that touches them first, so the limits of that group and of all groups
 * above it count as well.  In version 2 these are memory.max and memory.high (beyond which nobody
 * is killed, but the whole group is slowed down almost to a stop), in version 1
 * memory.limit_in_bytes.  A group's page cache and reclaimable slabs count as available: the kernel
 * takes them before it runs out.  A margin is left to the rest of the machine and to each group.
 * It is four times as large where the kernel would kill the whole group instead of one process
 * (memory.oom.group).
 *
 * Owns nothing.  Never: allocates for a region, fails: a limit that cannot be read counts as no
 * limit.
 */

#include <stdint.h>
#include <sys/types.h>
#include "base/cgroup.h"

/* Finds the group of a process or thread; pid 0: of this process.  path is "" if it cannot be
 * seen. */
void headroom_find_group(struct cgroup *out, const char *root, pid_t pid);
/* Moves this process into the group.  0, -ENOENT (there is none), -EACCES, -EBUSY, … */
int headroom_join(const struct cgroup *group);
/* Bytes that may be taken; UINT64_MAX if nothing is known. */
uint64_t headroom_available(const struct cgroup *group);
