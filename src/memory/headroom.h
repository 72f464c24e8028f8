/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * memory: how much memory may still be taken.
 *
 * What the machine has available (/proc/meminfo), or less: pages are charged to the memory cgroup
 * of the process that touches them first, so the limits of the daemon's group and of all groups
 * above it count as well.  Of version 2 these are memory.max and memory.high (beyond which nobody
 * is killed, but everybody in the group is slowed down to next to nothing), of version 1
 * memory.limit_in_bytes.  Page cache and reclaimable slabs of a group are available: the kernel
 * takes them before it runs out.  A margin is left to the rest of the machine and of each group.
 *
 * Owns nothing.  Never: allocates on the kernel's behalf, fails: a limit that cannot be read is
 * none.
 */

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

/* Where this process's memory cgroup is. */
struct headroom_group {
        char path[PATH_MAX];  /* its directory; "" if there is none to be seen */
        size_t mount_length;  /* bytes of path up to which it is the mount point of the hierarchy */
        unsigned int version; /* 1 or 2 */
        const char *root;     /* put in front of all paths, "" but in tests */
};

void headroom_find_group(struct headroom_group *out, const char *root);
/* Bytes that may be taken; UINT64_MAX if nothing is known. */
uint64_t headroom_available(const struct headroom_group *group);
