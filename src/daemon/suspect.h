/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * suspect: which request did a worker die in?
 *
 * A worker says in the root record what it is working on.  When it dies by its own fault, the
 * keeper writes that down; a request that has cost two workers is not tried again.  A worker that
 * somebody killed (SIGKILL: people, or the kernel for want of memory) proves nothing.
 *
 * Never: logged in the arena's transactions; these fields must tell the truth about a worker that
 * did not get as far as a commit.
 */

#include <stdbool.h>
#include "layout.h"

/* Keys that are no uniques of the kernel: lines of the socket's clients, by the client's id. */
#define SUSPECT_CLIENT (UINT64_C(1) << 62)

/* What `crash-opcode`, which is for tests, takes for lines of the socket. */
enum { SUSPECT_OPCODE_CLIENT = 1000 };

/* key: the request's unique, or as above; never 0. */
void suspect_enter(struct root *root, uint64_t key, uint32_t opcode);
void suspect_leave(struct root *root);

/* By the keeper: whatever the dead worker was in gets the blame.  Whether it was in anything. */
bool suspect_blame(struct root *root);

/* Whether it has cost two workers; says so in the log and counts it. */
bool suspect_is_poison(struct root *root, uint64_t key, uint32_t opcode);
/* The key is going to mean another request. */
void suspect_absolve(struct root *root, uint64_t key);
