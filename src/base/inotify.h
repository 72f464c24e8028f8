/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * watch: tells when somebody lets go of a file, or writes to it: inotify(7) on descriptors.
 *
 * Watches work on the memfd or file itself, so that they see what happens through whichever door:
 * FUSE passthrough, a exported descriptor, a mapping (whose end is a close, too).  They belong to this
 * worker; the next one makes them anew.  A watch keeps the memory of a file that was given up from
 * being freed: remove it before the descriptor is closed.
 *
 * Owns the inotify descriptor and the watches.  Never: decides what follows from an event.
 */

#include <stdint.h>
#include "base/loop.h"

struct watch;

/* key: the one that watch_add() got; 0: events were lost, look at everything. */
typedef void (*watch_fn)(void *userdata, uint32_t key);

/* mask: of inotify_add_watch(2), for all watches. */
int watch_new(struct watch **out, struct loop *loop, uint32_t mask, watch_fn fn, void *userdata);
struct watch *watch_free(struct watch *watch);

/* Watches what fd refers to; again for the same key does nothing.  0, -ENOSPC (no more watches for
 * this user: fs.inotify.max_user_watches), -ENOMEM. */
int watch_add(struct watch *watch, int fd, uint32_t key);
void watch_remove(struct watch *watch, uint32_t key);
