/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mount: mounts and unmounts the file system.
 *
 * Never: keeps memory in the daemon; it leaves only a descriptor and a mount.
 */

#include <stdint.h>
#include "process/options.h"

/* The program's exit statuses; mount(8) passes them on. */
enum mount_status {
        MOUNT_OK = 0,
        MOUNT_USAGE = 1,
        MOUNT_SYSTEM = 2,
        MOUNT_FAILED = 32,
};

/* Whether this command makes a mount. */
bool mount_is_new(const struct options *options);
/*
 * Makes the mount point's path absolute and checks that it is a directory.  If a mount is to be
 * made, unmounts what a dead daemon has left there.  0, or negative errno after one line on stderr.
 */
int mount_check(struct options *options);
/* Whether the topmost mount at this absolute path is an iomemfs. */
bool mount_is_iomemfs(const char *path);
/* Mounts, directly or by fusermount3.  Returns a non-blocking descriptor of /dev/fuse, the
 * caller's; or negative errno after one line on stderr. */
int mount_attach(const struct options *options);
/* The device of the mount that was just made: its minor number, which identifies the mount as long
 * as it exists.  0 if it is not known. */
uint32_t mount_device(const char *mountpoint, int fuse_fd);
/*
 * Closes fuse_fd, then unmounts lazily, directly or by fusermount3.  If the topmost mount at the
 * mount point is not the one with that device, it returns -ENOENT and unmounts nothing.
 */
int mount_detach(const char *mountpoint, int fuse_fd, uint32_t device);
/* `mount -o remount`: changes the limits of the running instance.  Returns an exit status of
 * mount(8). */
int mount_remount(const struct options *options);
/* `--upgrade DIR`.  Returns an exit status. */
int mount_upgrade(const struct options *options);
