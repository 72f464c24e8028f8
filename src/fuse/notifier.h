/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * notifier: tells the kernel of changes, by processes of its own.
 *
 * The kernel takes a notification under locks that somebody may hold who waits for a reply of ours,
 * or for a page that never comes; and the wait for them cannot be interrupted.  So neither the loop
 * nor a thread of the worker may send one: a thread of a killed worker that waited there would keep
 * it from being gone, and with it the next worker.  Notifications are sent by small processes with
 * nothing but /dev/fuse and one end of a socket pair.  The other end is in the table that keeper
 * and worker share; when the next worker closes it, the process ends as soon as it can.
 *
 * There is one such process, and a few more while it waits.  One that has waited for too long is
 * stuck: what it was to tell is given up, as is everything more about the same node.  When all of
 * them are stuck, everything is given up at once.  Instead the kernel is told to look up all names
 * anew (FUSE_NOTIFY_INC_EPOCH, Linux 6.16, which takes no locks); an older kernel may show a name
 * or attributes that are no longer true.  So whoever holds up the kernel never holds up other
 * people's commands, and his own only for a moment.
 *
 * Owns the processes, and what is still to be told.  Never: knows why it tells.  All functions are
 * called on the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/loop.h"

struct notifier;

/* The kernel has been told; or, if `told` is false, not in so many words. */
typedef void (*notifier_fn)(void *userdata, bool told);

/* fuse_fd stays the caller's.  0 or negative errno. */
int notifier_new(struct notifier **out, struct loop *loop, int fuse_fd);
/* What has not been told is dropped without a word.  NULL is allowed; returns NULL. */
struct notifier *notifier_free(struct notifier *notifier);

/*
 * A name of a directory is gone or is another's; a node's attributes and pages have changed.  fn is
 * called once, later, on the loop.  0, -ENOMEM.
 */
int notifier_tell_entry(struct notifier *notifier, uint64_t dir, const char *name, size_t length,
                        notifier_fn fn, void *userdata);
int notifier_tell_inode(struct notifier *notifier, uint64_t node, notifier_fn fn, void *userdata);

/* How many processes are stuck; how many notifications were given up so far. */
unsigned int notifier_stuck(const struct notifier *notifier);
uint64_t notifier_given_up(const struct notifier *notifier);
