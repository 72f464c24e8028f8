/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * client: the record of one connection.
 *
 * See layout.h for what is in it.  Functions that end a state commit it; those that are a part of
 * carrying out a line do not.
 *
 * Owns the record's descriptors.  Never: waits, counts.
 */

#include <sys/types.h>
#include "volume/access.h"
#include "socket/request.h"

/* Tells a connection that has no record an error, if that can be done at once. */
void client_say(int fd, int error, const char *text);

/* Writes a new connection down; takes fd.  NULL, and fd left alone, if there is no room. */
struct client *client_new(struct txn *txn, int fd, const struct caller *caller);
/* Ends the connection. */
void client_delete(struct txn *txn, struct client *client);

/* In a new worker: finds the end of what its predecessor received and did not count. */
void client_recount(struct client *client);

/* Takes the first line, of `length` bytes, off the input, and ends the wait that it was. */
void client_take_line(struct txn *txn, struct client *client, size_t length);
/* Writes the answer down, with its descriptors.  last: the connection ends with it. */
void client_set_answer(struct txn *txn, struct client *client, struct answer *answer, bool last);
/* Adds to an answer that has a file.  0, -ENOSPC. */
int client_append(struct txn *txn, struct client *client, const char *bytes, size_t n);
/* Sends a piece of the answer; its start takes the descriptor along.  0, or negative errno. */
int client_send(struct txn *txn, struct client *client);
/* The answer is out, or nobody wants it. */
void client_answered(struct txn *txn, struct client *client);
/* Who is at its other end; to be cleared with caller_clear(). */
void client_caller(const struct client *record, struct caller *out);
