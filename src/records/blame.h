/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * suspect: which request did a worker die in?
 *
 * A worker says in the root record what it is working on.  When it dies by its own fault, the
 * keeper writes that down; a request that has cost two workers is not tried again.  A worker that
 * somebody killed (SIGKILL: people, or the kernel for want of memory) proves nothing.
 *
 * Never: logged in the journal's transactions; these fields must tell the truth about a worker that
 * did not get as far as a commit.
 */

#include <stdbool.h>
#include "records/layout.h"

/* Keys that are no uniques of the kernel: lines of the socket's clients, by the client's id. */
#define BLAME_CLIENT (UINT64_C(1) << 62)

/* What `crash-opcode`, which is for tests, takes for lines of the socket. */
enum { BLAME_OPCODE_CLIENT = 1000 };

/* key: the request's unique, or as above; never 0. */
void blame_enter(struct root *root, uint64_t key, uint32_t opcode);
void blame_leave(struct root *root);

/* By the keeper: whatever the dead worker was in gets the blame.  Whether it was in anything. */
bool blame_assign(struct root *root);

/* Whether it has cost two workers; says so in the log and counts it. */
bool blame_is_poison(struct root *root, uint64_t key, uint32_t opcode);
/* The key is going to mean another request. */
void blame_absolve(struct root *root, uint64_t key);
