/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * owner_look: who owns a region that somebody makes, and whether that owner has ended.
 *
 *   process    the caller's process, known by its leader's id and start time.
 *   container  the PID namespace of that process, if it is not ours.  It ends with its first process,
 *              by whose id and start time it is known, and by its inode number.
 *   service    the control group of that process: in the hierarchy of version 2, or in systemd's own
 *              where that one has it in the root.  It is known by its path and by the inode number of
 *              its directory, and has ended when no process is in it or below.
 *
 * Ids of processes are used again, start times and the inode numbers of groups are not.  Where
 * something cannot be read, the owner counts as alive.
 *
 * Owns nothing.  Never: touches a record.
 */

#include <limits.h>
#include "volume/access.h"

struct owner_key {
        uint32_t kind; /* NODE_OWNER_PROCESS, _SERVICE or _CONTAINER */
        uint32_t version;
        int32_t pid;
        uint64_t start;
        uint64_t inode;
};

bool owner_key_equal(const struct owner_key *a, const struct owner_key *b);

/* The owner of what the caller makes; path: of a group in its hierarchy, else "".  0; -EINVAL: it
 * cannot be seen, or the process is in the root group only, or in no other PID namespace.  To be called
 * on the loop's thread only. */
int owner_identify(struct owner_key *out, char path[PATH_MAX], const struct caller *caller,
                   uint32_t kind);

/* Whether the owner has ended.  Takes as long as a group has members and groups below, up to a limit:
 * not for the loop's thread, except for processes and containers. */
bool owner_look(const struct owner_key *key, const char *path);

/*
 * A descriptor (close-on-exec) with which epoll(7) tells that the owner may have ended, by *events.
 * -ESRCH: it has ended.  -EOPNOTSUPP: the kernel has nothing to wait for, so call owner_look() now and
 * then; errors of open(2).
 */
int owner_open(const struct owner_key *key, const char *path, uint32_t *events);
/* Whether it has, after such an event. */
bool owner_is_told(const struct owner_key *key, int fd);
