/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * cgroup: the control group of a process, and its directory.
 *
 * A machine may have several hierarchies: those of version 1, known by a controller or a name such as
 * `name=systemd`, and the one of version 2.  A process has a path in each, relative to the root that
 * our cgroup namespace shows.  The directory is below a mount of the hierarchy.
 *
 * Owns nothing.  Never: changes a group.  Thread-safe.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct cgroup {
        char path[PATH_MAX];  /* its directory; "" if no group can be seen */
        size_t mount_length;  /* bytes of path that are the mount point of the hierarchy */
        unsigned int version; /* 1 or 2 */
        const char *root;     /* prefix of all paths; "" except in tests */
};

/*
 * Reads the path of a process or thread in a hierarchy; pid 0: of this process.  controller: a word of
 * the hierarchy of version 1; NULL: version 2.  False: there is no such hierarchy, or the process
 * cannot be seen.
 */
bool cgroup_read(const char *root, pid_t pid, const char *controller, char path[PATH_MAX]);
/*
 * Finds the directory of the path.  False: no mount shows it (it is of another cgroup namespace); the
 * mount point itself is then the nearest group that can be seen.
 */
bool cgroup_find(struct cgroup *out, const char *root, const char *controller, const char *path);
