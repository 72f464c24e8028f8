/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mount: attaches the file system to the tree, and takes it off.
 *
 * Never: stays in the memory of the daemon: what it leaves behind is a descriptor and a mount.
 */

#include <stdint.h>
#include "process/options.h"

/* The program's exit statuses: those of mount(8), which hands them on. */
enum mount_status {
        MOUNT_OK = 0,
        MOUNT_USAGE = 1,
        MOUNT_SYSTEM = 2,
        MOUNT_FAILED = 32,
};

/* Makes the mount point's path absolute and checks that it is a directory.  0, or negative errno
 * after one line on stderr. */
int mount_check(struct options *options);
/* Whether what is mounted on this absolute path, and hides all else there, is an iomemfs. */
bool mount_is_iomemfs(const char *path);
/* Mounts, directly or by fusermount3.  A non-blocking descriptor of /dev/fuse, or negative errno
 * after one line on stderr. */
int mount_attach(const struct options *options);
/* The device of the mount that was just made, by which it is known for as long as it lives: the
 * minor number, 0 if it cannot be told. */
uint32_t mount_device(const char *mountpoint, int fuse_fd);
/*
 * Detaches lazily, directly or by fusermount3; closes fuse_fd first.  Only our own mount: -ENOENT,
 * and nothing is detached, if what is on top at the mount point is not the mount of that device.
 */
int mount_detach(const char *mountpoint, int fuse_fd, uint32_t device);
/* `mount -o remount`: changes the limits of the live instance.  An exit status of mount(8). */
int mount_remount(const struct options *options);
/* `--upgrade DIR`.  An exit status. */
int mount_upgrade(const struct options *options);
