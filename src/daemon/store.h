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
int store_memfd(uint64_t size);

/*
 * A private tmpfs that holds at most `limit` bytes.  Needs CAP_SYS_ADMIN.  Descriptor, -EPERM, …
 * One page more than the limit belongs to a file of its own, because tmpfs takes a limit of 0 for
 * none.
 */
int store_tmpfs(uint64_t limit);
/* Changes the limit.  0, or -ENOSPC if more is in use. */
int store_tmpfs_limit(int tmpfs, uint64_t limit);
/* Bytes in use. */
uint64_t store_tmpfs_used(int tmpfs);
/* An empty unnamed file in it.  Descriptor, or as store_memfd(). */
int store_tmpfs_file(int tmpfs);

/*
 * Closes fd and returns -ENOSPC if fewer than `spare` descriptors are left above it.  Regions leave
 * STORE_SPARE to the daemon itself, which at all times must be able to list what takes them all,
 * to free it, and to be restarted.
 */
enum { STORE_SPARE = 64 };
int store_leave_spare(int fd, unsigned int spare);

/* A fresh open of what fd refers to.  Descriptor, -ENOSPC (out of descriptors), … */
int store_reopen(int fd, int flags);
/*
 * Whether anybody else has the file open or mapped.  fd must be a reopened descriptor, and the
 * caller must ignore SIGIO.
 */
bool store_is_held(int fd);
