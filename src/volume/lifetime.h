/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * lifetime: decides what happens to regions that nobody uses any more.
 *
 *   ephemeral  loses its names when its last descriptor or mapping, anywhere, is gone.  One that
 *              was never opened is given some time (grace=).
 *   left       a region whose owner has ended (owner.h): as an ephemeral one that was used.
 *   orphan     a memfd without names and handles that some process still maps or holds.  It counts
 *              for the limit until that process lets go of it.
 *   growing    a memfd that is written to beyond its end without our knowing: it is checked soon,
 *              and cut back to the limit.
 *
 * Events of the kernel drive all this: inotify's on each memfd, and fanotify's on a store as a
 * whole.  When an event says that something was closed, a lease probe tells whether that was the last user.  The event comes shortly before the kernel
 * releases the file, so a probe that fails is repeated a few times.  While no event comes, nothing
 * runs.
 *
 * Each region is handled in small transactions of its own, a few in each turn of the loop.  A
 * region with many names loses them one by one.  Regions that may have to be checked have a record
 * in TABLE_WATCHED.  Where all of these have to be checked (in a new worker, after lost events, when
 * the grace of some has ended), that goes on beside the requests.  Other files are never visited.
 *
 * Owns those records, the fanotify group, watches, timers and the lists of regions to check.  Only
 * records and group outlive the worker.  Never: acts on a region that is in use.
 */

#include "base/loop.h"
#include "memory/region.h"
#include "tree/tree.h"
#include "volume/txn.h"

struct lifetimes;

/* Functions of the owner of the lifetimes.  Each runs in a transaction that is committed
 * afterwards. */
struct lifetime_acts {
        /* Removes one name of a region that nobody uses.  0 or negative errno. */
        int (*remove_name)(void *userdata, struct node *node);
        /* The region's size has changed without a request.  0 or negative errno. */
        int (*changed)(void *userdata, struct node *node);
        /* Whether enough work is under way, so that the rest waits a little. */
        bool (*is_busy)(void *userdata);
        void *userdata;
};

/* acts is copied; all others stay the caller's and must outlive it.  0 or negative errno. */
int lifetimes_new(struct lifetimes **out, struct loop *loop, struct txn *txn, struct tree *tree,
                  struct regions *regions, const struct lifetime_acts *acts);
struct lifetimes *lifetimes_free(struct lifetimes *lifetimes);
/* Continues with the regions that the worker before was watching, in small steps. */
void lifetimes_take_up(struct lifetimes *lifetimes);

/* Whether regions wait to be checked now. */
bool lifetimes_are_busy(const struct lifetimes *lifetimes);

/* Call it in the transaction that made the region.  0, -ENOSPC (ephemeral, and no watch is
 * left). */
int lifetime_created(struct lifetimes *lifetimes, struct node *node);
/* Call it in the transaction that opens the region, through the mount or the socket. */
void lifetime_opened(struct lifetimes *lifetimes, struct node *node, bool writable);
/* Call it in the transaction that closes a handle. */
void lifetime_closed(struct lifetimes *lifetimes, struct node *node);
/* Call it in the transaction that marks the region NODE_OWNER_ENDED, or that gives such a region its first
 * name. */
void lifetime_owner_ended(struct lifetimes *lifetimes, struct node *node);
/* Whether a region without names and handles can be released now.  If not, lifetime will do it
 * later. */
bool lifetime_release(struct lifetimes *lifetimes, struct node *node);
