/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * inotify: reports that a file was closed or written to, by inotify(7) on its descriptor.
 *
 * A watch is on the memfd or file itself, not on a path.  So it sees every way of access: FUSE
 * passthrough, an exported descriptor, and a mapping, whose end counts as a close.  Watches belong
 * to this worker; the next worker adds its own.  A watch keeps the memory of a file alive after its
 * last descriptor is closed: remove the watch before closing the descriptor.
 *
 * Owns the inotify descriptor and the watches.  Never: decides what follows from an event.  Used by
 * the thread of the loop only.
 */

#include <stdint.h>
#include "base/loop.h"

struct inotify;

/* key: as given to inotify_watch(); 0: events were lost, so check every file. */
typedef void (*inotify_fn)(void *userdata, uint32_t key);

/* mask: bits of inotify_add_watch(2), the same for all watches.  0 or negative errno. */
int inotify_new(struct inotify **out, struct loop *loop, uint32_t mask, inotify_fn fn,
                void *userdata);
struct inotify *inotify_free(struct inotify *inotify);

/* Watches the file that fd refers to; fd stays the caller's.  Does nothing if the key is watched
 * already. key: above 0.  0, -ENOSPC (the user is at fs.inotify.max_user_watches), -ENOMEM. */
int inotify_watch(struct inotify *inotify, int fd, uint32_t key);
void inotify_unwatch(struct inotify *inotify, uint32_t key);
