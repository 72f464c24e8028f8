/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * backing: the files that the memory of regions comes from: memfds, and unnamed files of a private
 * tmpfs.
 *
 * Knows the flags, the fallbacks and the descriptors of both.  All descriptors are close-on-exec
 * and the caller's.  The private tmpfs is a detached mount: it can only be reached through its
 * descriptor.
 *
 * Owns nothing.  Never: keeps accounts of memory.
 */

#include <stdbool.h>
#include <stdint.h>
#include "records/layout.h"

/*
 * Makes a memfd of size bytes that can be sealed and executed.  The descriptor is a reopened one
 * (see region.h).  Descriptor, or -ENOSPC when the process or the system has no more, -ENOMEM,
 * -EFBIG.
 */
int backing_memfd(uint64_t size);

/*
 * Makes a private tmpfs that holds at most `limit` bytes.  As for memfds, each read
 * moves a file's time of access.  Needs CAP_SYS_ADMIN.  Descriptor, -EPERM
 * and other errors of fsmount(2).  tmpfs takes a limit of 0 for no limit; so its real limit is one
 * page more, and a file of its own takes that page.
 */
int backing_tmpfs(uint64_t limit);
/* Changes the limit, in bytes.  0, or -ENOSPC if more is in use. */
int backing_tmpfs_limit(int tmpfs, uint64_t limit);
/* Bytes in use. */
uint64_t backing_tmpfs_used(int tmpfs);
/* Makes an empty unnamed file in it.  Descriptor, or errors as of backing_memfd(). */
int backing_tmpfs_file(int tmpfs);

/*
 * Returns fd if at least `spare` descriptors are left above it; otherwise closes it and returns
 * -ENOSPC.  Regions leave BACKING_SPARE descriptors to the daemon itself.  With these it can always
 * list the regions that take all others, remove them, and be restarted.  They also leave one in
 * BACKING_SHARE of all to connections of the socket, because the commands come by these.
 */
enum { BACKING_SPARE = 64, BACKING_SHARE = 8 };
int backing_leave_spare(int fd, unsigned int spare);

/* A fresh open of the file that fd refers to; both are the caller's.  -ENOSPC (no descriptor left)
 * and errors of open(2). */
int backing_reopen(int fd, int flags);
/*
 * Whether anybody else has the file open or mapped.  fd must be a reopened descriptor.  The caller
 * must ignore SIGIO.
 */
bool backing_has_other_users(int fd);

/*
 * The file's handle, and a new descriptor (O_RDWR) of the file that has it.  mount_fd: any
 * descriptor of the same mount; -1: it is a memfd.  They need CAP_DAC_READ_SEARCH in the initial
 * user namespace.  0 or the descriptor; -ESTALE: nobody has the file any more.
 */
int backing_handle(int fd, struct file_handle_words *out);
int backing_open_handle(int mount_fd, const struct file_handle_words *handle);
/* Whether that works here: some containers forbid it. */
bool backing_handles_work(void);
