/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * client: the record of one connection.
 *
 * layout.h describes its members.  Functions that end a state commit; those that are a part of
 * carrying out a line do not.
 *
 * Owns the record's descriptors.  Never: waits, counts.
 */

#include <sys/types.h>
#include "volume/access.h"
#include "socket/request.h"

/* Sends an error to a connection that has no record, if that is possible at once. */
void client_say(int fd, int error, const char *text);

/* Makes the record of a new connection and takes over fd.  NULL if there is no room; fd then stays
 * the caller's. */
struct client *client_new(struct txn *txn, int fd, const struct caller *caller);
/* Ends the connection, and commits. */
void client_delete(struct txn *txn, struct client *client);

/* For a new worker: finds the end of the bytes that its predecessor received but did not count. */
void client_recount(struct client *client);

/* Removes the first line, of `length` bytes, from the input, and ends its wait if it had one. */
void client_take_line(struct txn *txn, struct client *client, size_t length);
/* Records the reply with its descriptors.  last: the connection ends after it. */
void client_set_answer(struct txn *txn, struct client *client, struct answer *answer, bool last);
/* Appends to a reply that is in a file.  0, -ENOSPC. */
int client_append(struct txn *txn, struct client *client, const char *bytes, size_t n);
/* Sends a piece of the reply; the first byte carries the descriptor.  0, or negative errno. */
int client_send(struct txn *txn, struct client *client);
/* To be called when the reply was sent, or nobody reads it any more. */
void client_answered(struct txn *txn, struct client *client);
/* The process at the other end; free it with caller_clear(). */
void client_caller(const struct client *record, struct caller *out);
