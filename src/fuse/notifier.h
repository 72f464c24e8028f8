/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * notifier: tells the kernel of changes, by processes of its own.
 *
 * The kernel takes a notification under locks.  A process that waits for a reply of ours, or for a
 * page that never comes, may hold them, and waiting for them cannot be interrupted.  So neither the
 * loop nor a thread of the worker may send one: a thread that waited there would keep a killed
 * worker from ending, and the next one from starting.  Small processes send them, which have only
 * /dev/fuse and one end of a socket pair.  The other end is in the table that keeper and worker
 * share; when the next worker closes it, the process ends as soon as it can.
 *
 * There is one such process, and a few more while it waits.  A process that has waited for too long
 * is stuck: its notification is given up, and so is any later one for the same node.  When all
 * processes are stuck, every notification is given up at once.  In place of a notification that was
 * given up, the kernel is told to look up all names anew (FUSE_NOTIFY_INC_EPOCH, Linux 6.16, which
 * takes no locks).  An older kernel may show an outdated name or outdated attributes.  So a user
 * who blocks the kernel never delays other users' commands, and delays their own only for a moment.
 *
 * Owns the processes and the notifications that wait.  Never: knows the reason of a notification.
 * All functions are called on the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/loop.h"

struct notifier;

/* told: the kernel has been told; false: the notification was given up. */
typedef void (*notifier_fn)(void *userdata, bool told);

/* fuse_fd stays the caller's, and must stay open.  0 or negative errno. */
int notifier_new(struct notifier **out, struct loop *loop, int fuse_fd);
/* Drops notifications that were not sent, without calling fn.  NULL is allowed; returns NULL. */
struct notifier *notifier_free(struct notifier *notifier);

/*
 * Report that a name of a directory is gone or belongs to another node; and that a node's
 * attributes and pages have changed.  fn is called once, later, on the loop.  0, -ENOMEM.
 */
int notifier_tell_entry(struct notifier *notifier, uint64_t dir, const char *name, size_t length,
                        notifier_fn fn, void *userdata);
int notifier_tell_inode(struct notifier *notifier, uint64_t node, notifier_fn fn, void *userdata);

/* Has the kernel write to us what was stored through mappings into pages from an offset on, and drop
 * these pages.  fn is called after the last WRITE was handled; as above. */
int notifier_write_back(struct notifier *notifier, uint64_t node, int64_t offset, notifier_fn fn,
                        void *userdata);

/* The number of processes that are stuck now; and of notifications given up so far. */
unsigned int notifier_stuck(const struct notifier *notifier);
uint64_t notifier_given_up(const struct notifier *notifier);
