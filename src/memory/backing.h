/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * store: where the memory of regions comes from: memfds, and unnamed files of a private tmpfs.
 *
 * Knows the flags, the fallbacks and the descriptors of both.  All descriptors are close-on-exec
 * and the caller's.  The private tmpfs is a detached mount: nobody can reach it but through its
 * descriptor.
 *
 * Owns nothing.  Never: counts.
 */

#include <stdbool.h>
#include <stdint.h>

/*
 * A memfd of size bytes that can be sealed and executed, reopened (see region.h).
 * Descriptor, or -ENOSPC when the process or the system has no more, -ENOMEM, -EFBIG.
 */
int backing_memfd(uint64_t size);

/*
 * A private tmpfs that holds at most `limit` bytes.  Needs CAP_SYS_ADMIN.  Descriptor, -EPERM, …
 * One page more than the limit belongs to a file of its own, because tmpfs takes a limit of 0 for
 * none.
 */
int backing_tmpfs(uint64_t limit);
/* Changes the limit.  0, or -ENOSPC if more is in use. */
int backing_tmpfs_limit(int tmpfs, uint64_t limit);
/* Bytes in use. */
uint64_t backing_tmpfs_used(int tmpfs);
/* An empty unnamed file in it.  Descriptor, or as backing_memfd(). */
int backing_tmpfs_file(int tmpfs);

/*
 * Closes fd and returns -ENOSPC if fewer than `spare` descriptors are left above it.  Regions leave
 * BACKING_SPARE to the daemon itself, which at all times must be able to list what takes them all,
 * to free it, and to be restarted; and besides these one in BACKING_SHARE of all to the connections
 * of the socket, without which nobody could be told.
 */
enum { BACKING_SPARE = 64, BACKING_SHARE = 8 };
int backing_leave_spare(int fd, unsigned int spare);

/* A fresh open of what fd refers to.  Descriptor, -ENOSPC (out of descriptors), … */
int backing_reopen(int fd, int flags);
/*
 * Whether anybody else has the file open or mapped.  fd must be a reopened descriptor, and the
 * caller must ignore SIGIO.
 */
bool backing_has_other_users(int fd);
