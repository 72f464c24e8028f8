/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * handles: open files of .ctl, their owners, and how many a user may have.
 *
 * A handle has the identity of the user who opened it: user, group, supplementary groups, and
 * whether uid 0 had its power.  Everything done through it is done with the opener's rights, and
 * only the opener may write.
 *
 * All users share the handles, and the text records for listings and groups.  A user may have a
 * quarter of what all users together have left, so that one user, or a group of users, cannot take
 * all of them.  A reserve is kept for root with its power.
 *
 * Owns the handle records and, on the heap, the number that each user has.  Never: reads a listing
 * or an event.
 */

#include "records/chain.h"
#include "volume/access.h"
#include "volume/txn.h"

enum {
        HANDLES_MAX = 48 * 1024,          /* of all users except root, of 64 Ki */
        HANDLES_RECORDS_MAX = 256 * 1024, /* text records of all users except root: 64 MiB */
        HANDLES_GROUPS_MAX = 4096, /* further groups are ignored, which only takes rights away */
};

struct handles;

/* Counts the existing handles, and registers as a member of the transaction until it is freed.  0,
 * -ENOMEM. */
int handles_new(struct handles **out, struct txn *txn);
struct handles *handles_free(struct handles *handles);

/* The live handle with that id, or NULL. */
struct handle *handles_get(const struct handles *handles, uint32_t id);

/* Makes a handle of the opener, whose identity must be complete (caller_resolve()).  0, -ENFILE
 * (the user's share is used up), -ENOMEM. */
int handles_add(struct handles *handles, const struct caller *opener, struct handle **out);
/* The same for a handle that nobody opens; it counts as a text record. */
int handles_add_kept(struct handles *handles, const struct caller *owner, struct handle **out);
void handles_delete(struct handles *handles, struct handle *handle);

/* chain_store() into a chain of the handle; -ENOMEM also if the user's share is used up. */
int handles_store(struct handles *handles, const struct handle *handle, uint32_t *head,
                  const void *bytes, size_t length);

/* The opener; free it with caller_clear().  pid: the process that acts for the opener, 0 for
 * none. */
struct caller handles_opener(const struct handles *handles, const struct handle *handle, pid_t pid);
/* Whether a writer is the opener, judged by user and group, which are all that a request has. */
bool handle_is_of(const struct handle *handle, const struct caller *caller);

/* Whether the caller is root with its power, or the user who mounted. */
bool handles_is_admin(const struct handles *handles, struct caller *caller);

/* The number of open handles of all users, and of one user. */
uint32_t handles_used(const struct handles *handles);
uint32_t handles_used_by(const struct handles *handles, uid_t uid);
