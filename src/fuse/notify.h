/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * notify: messages to the kernel that are no replies.
 *
 * Any process that has the descriptor may send them, and any thread except the one that replies to
 * requests.  The kernel takes these messages under locks, and their holder may wait for a reply of
 * ours.
 *
 * All return 0, -ENOENT (the kernel does not know the node or name, which is no error), or another
 * negative errno.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A name is gone, or now belongs to another node. */
int notify_entry(int fuse_fd, uint64_t dir, const char *name, size_t length);
/* Attributes have changed, and so have cached pages from an offset on.  The kernel first writes back
 * what was stored into these pages through mappings.  A negative offset leaves the pages alone. */
int notify_inode(int fuse_fd, uint64_t node, int64_t offset);
/* Wakes poll(2) on a file.  kh: from its POLL request.  Any thread may call it. */
int notify_poll(int fuse_fd, uint64_t kh);
/* Makes the kernel look up all names anew, without taking locks (Linux 6.16).  Any thread may call
 * it. */
int notify_epoch(int fuse_fd);
/* Makes the kernel resend requests that were read but not replied to.  Any thread may call it. */
int notify_resend(int fuse_fd);
