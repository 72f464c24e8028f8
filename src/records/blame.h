/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * blame: finds the request that a worker died in.
 *
 * The worker writes into the root record which request it is handling.  When it dies by its own
 * fault, the keeper blames that request.  A request that has cost two workers is not tried again.
 * The death of a worker that was killed (SIGKILL, by people or by the OOM killer) proves nothing.
 *
 * Never: uses the journal's transactions; these fields must be right even if the worker died before
 * it committed.
 */

#include <stdbool.h>
#include "records/layout.h"

/* Keys of lines that clients sent to the socket: this bit and the client's id.  No unique of the
 * kernel has it. */
#define BLAME_CLIENT (UINT64_C(1) << 62)

/* For tests: `crash-opcode` with this number means lines of the socket. */
enum { BLAME_OPCODE_CLIENT = 1000 };

/* key: the request's unique, or BLAME_CLIENT and a client's id; never 0. */
void blame_enter(struct root *root, uint64_t key, uint32_t opcode);
void blame_leave(struct root *root);

/* Called by the keeper: blames the request that the dead worker was handling.  False: there was
 * none. */
bool blame_assign(struct root *root);

/* Whether this request has cost two workers.  If so, logs it and counts it. */
bool blame_is_poison(struct root *root, uint64_t key, uint32_t opcode);
/* Clears the key's record: the key will be used for another request. */
void blame_absolve(struct root *root, uint64_t key);
