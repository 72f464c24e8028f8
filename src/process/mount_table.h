/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mount_table: the mounts of a mount namespace, as in /proc/PID/mountinfo.
 *
 * Sends no request to any file system.
 *
 * Owns nothing.  Never: mounts or unmounts.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mount_line {
        unsigned long id;   /* unique in the system */
        uint32_t device;    /* the minor number, if the file system has no disk; otherwise 0 */
        const char *path;   /* the mount point */
        const char *type;   /* of the file system */
        unsigned long user; /* uid of the user who mounted it, if it is FUSE */
};

/* Reads one line after the other. */
struct mount_table;
/* pid: "self" or a number.  NULL: it cannot be read. */
struct mount_table *mount_table_open(const char *pid);
/* The next line, valid until the next call; NULL at the end. */
const struct mount_line *mount_table_next(struct mount_table *table);
struct mount_table *mount_table_close(struct mount_table *table);

/* Whether a mount of this device is in our namespace; true if that cannot be found out. */
bool mount_table_has_device(uint32_t device);
