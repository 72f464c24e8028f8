/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * owner: regions whose names go when their owner has ended.
 *
 * An owner is a process, a control group or a PID namespace (owner_look.h).  Each has one record, with a
 * list of its regions.  When it has ended (owner_watch.h), the regions are taken from it, a few in each
 * transaction, and from then on each of them loses its names like an ephemeral region that was used:
 * with the last reference (lifetime.h).  An owner that has ended never comes back: a process that enters
 * the same group later is of a new owner.
 *
 * The record goes with the last region, or at the end of the owner.  So there are about as many records
 * as processes at most, whose number the kernel limits.
 *
 * Owns the records of owners and of what they own.  Never: removes a name.
 */

#include "base/job_queue.h"
#include "volume/access.h"
#include "volume/txn.h"

struct owners;

struct owner_acts {
        /* The region's owner has ended.  Runs in a transaction that is committed afterwards. */
        void (*ended)(void *userdata, struct node *node);
        void *userdata;
};

/* queue: for looks that take long, may be NULL.  acts is copied; all others stay the caller's and must
 * outlive it.  0 or negative errno. */
int owners_new(struct owners **out, struct loop *loop, struct txn *txn, struct job_queue *queue,
               const struct owner_acts *acts);
struct owners *owners_free(struct owners *owners);
/* Goes on where the worker before was, in small steps. */
void owners_take_up(struct owners *owners);

/* Gives a new region, whose flags name the kind of owner, to the caller's.  0, -EINVAL (there is no such
 * owner, or it cannot be seen), -ENOSPC (no record left). */
int owner_add(struct owners *owners, struct node *node, const struct caller *caller);
/* The region is being released. */
void owner_remove(struct owners *owners, struct node *node);
