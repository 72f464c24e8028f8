/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * lifetime: what becomes of regions when nobody uses them any more.
 *
 *   ephemeral  loses its names with the last reference to it, anywhere: descriptor or mapping, by
 *              whichever door.  One that was never opened is given some time (grace=).
 *   orphan     a memfd without names and handles that somebody still maps or holds: it counts for
 *              the limit until it is let go of.
 *   growing    a memfd that is written to beyond its end behind our back: looked at soon, and cut
 *              back to the limit.
 *
 * All of it is driven by inotify events on the memfd; when one says that something was closed, a
 * lease probe says whether that was the last.  The event comes shortly before the file is let go
 * of, so that a probe that fails is repeated a few times.  Nothing runs while nothing happens.
 *
 * Owns watches, timers and the lists of regions to look at again; nothing of it needs to outlive
 * the worker.  Never: acts on a region that is in use.
 */

#include "volume/event.h"
#include "base/loop.h"
#include "volume/invalidation.h"
#include "memory/region.h"

struct lifetimes;

struct lifetime_parts {
        struct loop *loop;
        struct tree *tree;
        struct regions *regions;
        struct invalidations *invalidations;
        void (*settle)(void *userdata); /* after a commit: see fs_settle() */
        void *userdata;
};

int lifetimes_new(struct lifetimes **out, const struct lifetime_parts *parts);
struct lifetimes *lifetimes_free(struct lifetimes *lifetimes);
/* When everything is there: takes up what the worker before was watching. */
void lifetimes_start(struct lifetimes *lifetimes);

/* In the transaction that made the region.  0, -ENOSPC (ephemeral, and no watch to be had). */
int lifetime_created(struct lifetimes *lifetimes, struct node *node);
/* In the transaction that opens it, through the mount or the socket. */
void lifetime_opened(struct lifetimes *lifetimes, struct node *node, bool writable);
/* In the transaction that closes a handle; the node may be freed by it. */
void lifetime_closed(struct lifetimes *lifetimes, struct node *node);
/* Whether a region without names and handles can be given up now; if not, that is seen to later. */
bool lifetime_abandon(struct lifetimes *lifetimes, struct node *node);
