/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fanotify: reports each close of a file in whole file systems, by fanotify(7).
 *
 * One mark is for all files of a file system, and takes no memory for each.  It sees every way of
 * access, FUSE passthrough included; the end of a mapping counts as a close.  Events are for names
 * in a directory.  Opens by O_PATH are not seen.  The descriptor of a group outlives the process
 * that made it, if another process has it, and so do its marks; events that nobody has read stay in
 * the group.
 *
 * Owns the loop's source.  Never: decides what follows from an event, closes the group.
 */

#include "base/loop.h"

struct fanotify;

/* name: of the file that was closed by another process; NULL: events were lost. */
typedef void (*fanotify_fn)(void *userdata, const char *name);

/* A descriptor of a new group, or negative errno.  Needs CAP_SYS_ADMIN. */
int fanotify_group(void);
/* Reports closes in the file system of directory dir_fd to the group.  0 or negative errno. */
int fanotify_watch(int group_fd, int dir_fd);

/* Reads the group's events on the loop.  group_fd stays the caller's.  0 or negative errno. */
int fanotify_new(struct fanotify **out, struct loop *loop, int group_fd, fanotify_fn fn,
                 void *userdata);
struct fanotify *fanotify_free(struct fanotify *fanotify);
