/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * unmount: the program as umount.fuse.iomemfs, which umount(8) calls.
 *
 * It unmounts as umount(8) would, and when the mount is in use says how to find out by whom.
 *
 * Never: sends a request to the file system, which may not reply.
 */

#include <stdbool.h>

/* Whether the program was called as umount.fuse.iomemfs. */
bool unmount_is_helper(const char *argv0);
/* Returns an exit status of mount(8). */
int unmount_run(int argc, char **argv);
