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
 * Whatever is found is dealt with in small transactions of its own, a few in a turn of the loop: a
 * region with many names loses them one by one, and where all regions have to be looked at (by a
 * new worker, when events were lost, when time is up for some) that goes on beside the requests.
 *
 * Owns watches, timers and the lists of regions to look at; nothing of it needs to outlive the
 * worker.  Never: acts on a region that is in use.
 */

#include "base/loop.h"
#include "memory/region.h"
#include "tree/tree.h"
#include "volume/txn.h"

struct lifetimes;

/* What the owner of the lifetimes does, within a transaction that is committed then. */
struct lifetime_acts {
        /* Takes one of its names from a region that nobody uses.  0 or negative errno. */
        int (*remove_name)(void *userdata, struct node *node);
        /* Its size has changed without a request. */
        int (*changed)(void *userdata, struct node *node);
        /* Whether there is enough under way: what is left to be done waits a little. */
        bool (*is_busy)(void *userdata);
        void *userdata;
};

int lifetimes_new(struct lifetimes **out, struct loop *loop, struct txn *txn, struct tree *tree,
                  struct regions *regions, const struct lifetime_acts *acts);
struct lifetimes *lifetimes_free(struct lifetimes *lifetimes);
/* Takes up what the worker before was watching, in pieces. */
void lifetimes_take_up(struct lifetimes *lifetimes);

/* In the transaction that made the region.  0, -ENOSPC (ephemeral, and no watch to be had). */
int lifetime_created(struct lifetimes *lifetimes, struct node *node);
/* In the transaction that opens it, through the mount or the socket. */
void lifetime_opened(struct lifetimes *lifetimes, struct node *node, bool writable);
/* In the transaction that closes a handle. */
void lifetime_closed(struct lifetimes *lifetimes, const struct node *node);
/* Whether a region without names and handles can be given up now; if not, that is seen to later. */
bool lifetime_release(struct lifetimes *lifetimes, struct node *node);
