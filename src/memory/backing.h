/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * backing: the files that the memory of regions comes from: memfds, and files of a private tmpfs.
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
 * Makes a memfd of size bytes that can be sealed and executed.  Its descriptor is a reopened one
 * (see region.h), and gets the given number (see descriptor.h).  0, or -ENOSPC when the process or
 * the system has no more, -ENOMEM, -EFBIG.
 */
int backing_memfd(int number, uint64_t size);

/*
 * Makes a private tmpfs that holds at most `limit` bytes.  As for memfds, each read
 * moves a file's time of access.  Needs CAP_SYS_ADMIN.  Descriptor, -EPERM
 * and other errors of fsmount(2).  tmpfs takes a limit of 0 for no limit; so its real limit is one
 * page more, and a file of its own takes that page.
 */
int backing_tmpfs(uint64_t limit);
/* Whether this process may make one. */
bool backing_tmpfs_works(void);
/* Changes the limit, in bytes.  0, or -ENOSPC if more is in use. */
int backing_tmpfs_limit(int tmpfs, uint64_t limit);
/* Bytes in use. */
uint64_t backing_tmpfs_used(int tmpfs);

/* A fresh open of the file that fd refers to; both are the caller's.  -ENOSPC (no descriptor left)
 * and errors of open(2). */
int backing_reopen(int fd, int flags);
/*
 * Whether anybody else has the file open or mapped.  fd must be a reopened descriptor.  The caller
 * must ignore SIGIO.
 */
bool backing_has_other_users(int fd);

/*
 * A memfd's handle, and a new descriptor (O_RDWR) of the memfd that has it.  They need
 * CAP_DAC_READ_SEARCH in the initial user namespace.  0 or the descriptor; -ESTALE: nobody has the file any more.
 */
int backing_handle(int fd, struct file_handle_words *out);
int backing_open_handle(const struct file_handle_words *handle);
/* Whether that works here: some containers forbid it. */
bool backing_handles_work(void);
