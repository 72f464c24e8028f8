/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * owner_watch: learns that owners have ended.
 *
 * The kernel tells it of most by a descriptor for each owner, however many regions that one has: a pidfd,
 * or the cgroup.events of a group of version 2.  Descriptors are limited, and users share them: a user
 * may have a quarter of what all together have left.  All other owners are looked at in turns, some
 * hundreds a second, by the queue for jobs that take long.  These are groups of version 1, groups that
 * the daemon itself is in, and processes and containers for which no descriptor is left.  The
 * descriptors of groups are read once a second, because the kernel does not tell of a group that is
 * removed within 10 ms of its last change.  While there are only processes and containers, and each has
 * a descriptor, nothing runs.
 *
 * Owns the descriptors, and the list of owners that are being looked at.  None of them needs to outlive
 * the worker.  Never: changes a record.
 */

#include "base/job_queue.h"
#include "base/loop.h"
#include "records/layout.h"
#include "volume/owner_look.h"

struct owner_watches;

/* Called when an owner has ended, outside of all transactions; may be called again for the same one. */
typedef void (*owner_ended_fn)(void *userdata, uint32_t owner);

/* queue: NULL: looks are made at once.  0 or negative errno. */
int owner_watches_new(struct owner_watches **out, struct loop *loop, struct journal *journal,
                      struct job_queue *queue, owner_ended_fn ended, void *userdata);
struct owner_watches *owner_watches_free(struct owner_watches *watches);

/* The owner's record was made, or deleted and perhaps used again for another owner.  Never calls
 * ended(). */
void owner_watch_update(struct owner_watches *watches, uint32_t owner);
/* The owner has ended. */
void owner_watch_remove(struct owner_watches *watches, uint32_t owner);
/* Begins with all owners that have a record, in small steps. */
void owner_watches_take_up(struct owner_watches *watches);

/* The key of a record, and the path of a group, to be freed by the caller; NULL: out of memory. */
struct owner_key owner_record_key(const struct owner *owner);
char *owner_record_path(const struct journal *journal, const struct owner *owner);
