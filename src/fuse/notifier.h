/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * notifier: the process that gives the kernel its notifications.
 *
 * The kernel takes a notification under locks that somebody may hold who waits for an answer of
 * ours, and the wait for them cannot be interrupted.  A thread of the worker that waits there keeps
 * a killed worker from being gone, and with it the next worker, and with that the answer: for ever.
 * So it is a process of its own, with nothing but /dev/fuse and its end of a socket pair.  The
 * worker's end is in the table that keeper and worker share; when the next worker closes it, the
 * notifier ends as soon as it can.
 *
 * Owns nothing in the worker but the descriptor.  Never: knows why it tells.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts one.  The descriptor to tell it through, or negative errno. */
int notifier_start(int fuse_fd);

/*
 * Tells, and waits until it is told; by any thread but the one that answers requests.  If there is
 * no notifier (any more) the calling thread does it itself.  Errors are passed over: that the
 * kernel does not know the thing is as good.
 */
void notifier_tell_entry(int notifier, int fuse_fd, uint64_t parent, const char *name,
                         size_t length);
void notifier_tell_inode(int notifier, int fuse_fd, uint64_t node);
