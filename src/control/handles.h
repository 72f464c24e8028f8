/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * handles: open files of .ctl, whose they are, and how many one user may have.
 *
 * A handle has the identity of whoever opened it: user, group, supplementary groups, and whether
 * user 0 had its power.  What is done through it is done as the opener, and only the opener may
 * write.
 *
 * Handles, and the text records that listings and groups take, are shared by all users.  A user
 * may have as many as a quarter of what all users together have left; so nobody can take them all,
 * however many names somebody has.  A rest is kept for root with
 * its power.
 *
 * Owns the handle records and, on the heap, the number that each user has.  Never: reads a listing
 * or an event.
 */

#include "control/chain.h"
#include "volume/access.h"
#include "volume/txn.h"

enum {
        HANDLES_MAX = 48 * 1024,          /* of all users but root, of 64 Ki */
        HANDLES_RECORDS_MAX = 256 * 1024, /* text records of all users but root: 64 MiB */
        HANDLES_GROUPS_MAX = 4096,        /* groups that are kept; further ones give no rights */
};

struct handles;

/* Counts what is there, and is a member of the transaction, for as long as that lives.  0, -ENOMEM. */
int handles_new(struct handles **out, struct txn *txn);
struct handles *handles_free(struct handles *handles);

struct handle *handles_get(const struct handles *handles, uint32_t id);

/* A handle of the opener, whose identity is complete (caller_resolve()).  0, -ENFILE (the user's
 * share is used up), -ENOMEM. */
int handles_add(struct handles *handles, const struct caller *opener, struct handle **out);
void handles_delete(struct handles *handles, struct handle *handle);

/* chain_store() into a chain of the handle, within the share of its user: or else -ENOMEM. */
int handles_store(struct handles *handles, const struct handle *handle, uint32_t *head,
                  const void *bytes, size_t length);

/* The opener, for caller_clear(); pid is that of the process that acts for it, 0 for none. */
struct caller handles_opener(const struct handles *handles, const struct handle *handle, pid_t pid);
/* Whether somebody who writes is the opener, as far as a request tells: user and group. */
bool handle_is_of(const struct handle *handle, const struct caller *caller);

/* Root with its power, or who mounted. */
bool handles_is_admin(const struct handles *handles, struct caller *caller);

/* Handles that are open, and those of a user. */
uint32_t handles_used(const struct handles *handles);
uint32_t handles_used_by(const struct handles *handles, uid_t uid);
