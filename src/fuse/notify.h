/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * notify: messages to the kernel that answer nothing.
 *
 * By any process that has the descriptor, and any thread but the one that answers requests: the
 * kernel takes these messages under locks whose holder may wait for an answer of ours.
 *
 * All return 0, -ENOENT (the kernel does not know the thing: fine), other negative errno.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A name is gone, or is another's now. */
int notify_entry(int fuse_fd, uint64_t dir, const char *name, size_t length);
/* Attributes have changed, and cached pages too if `pages`. */
int notify_inode(int fuse_fd, uint64_t node, bool pages);
/* Wakes poll(2) on a file, by what its POLL brought for that; by any thread. */
int notify_poll(int fuse_fd, uint64_t kh);
/* Has the kernel look up all names anew, and takes no lock for it (Linux 6.16); by any thread. */
int notify_epoch(int fuse_fd);
/* Has the kernel send again what was read and not answered; by any thread. */
int notify_resend(int fuse_fd);
