/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * headroom: how much memory may still be taken.
 *
 * What the machine has available (/proc/meminfo), or less: pages are charged to the memory cgroup
 * of the process that touches them first, so the limits of that group and of all groups above it
 * count as well.  Of version 2 these are memory.max and memory.high (beyond which nobody
 * is killed, but everybody in the group is slowed down to next to nothing), of version 1
 * memory.limit_in_bytes.  Page cache and reclaimable slabs of a group are available: the kernel
 * takes them before it runs out.  A margin is left to the rest of the machine and of each group;
 * it is four times as large where the death of one process is the death of the whole group
 * (memory.oom.group).
 *
 * Owns nothing.  Never: allocates on the kernel's behalf, fails: a limit that cannot be read is
 * none.
 */

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where a memory cgroup is. */
struct headroom_group {
        char path[PATH_MAX];  /* its directory; "" if there is none to be seen */
        size_t mount_length;  /* bytes of path up to which it is the mount point of the hierarchy */
        unsigned int version; /* 1 or 2 */
        const char *root;     /* put in front of all paths, "" but in tests */
};

/* The group of a process or thread; pid 0: of this process.  One that cannot be seen is "". */
void headroom_find_group(struct headroom_group *out, const char *root, pid_t pid);
/* Moves this process into the group.  0, -ENOENT (there is none), -EACCES, -EBUSY, … */
int headroom_join(const struct headroom_group *group);
/* Bytes that may be taken; UINT64_MAX if nothing is known. */
uint64_t headroom_available(const struct headroom_group *group);
