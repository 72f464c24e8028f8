/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * server: the connections of the socket.
 *
 * A client is a record of the journal.  What it sends is received into the record; a line that has
 * its end is carried out in one transaction, which takes the line away, makes the change, and
 * writes down the answer; then the answer is sent.  So a worker that takes over goes on where the
 * last one was: no command is lost or done twice, and only an answer that was being sent at that
 * moment may be sent again.
 *
 * A client's next line is looked at only when the answer to the last one is out, and one line in a
 * turn of the loop.  What all connections of a user make the daemon hold is counted and limited.
 *
 * Owns the client records and their descriptors.  Never: blocks, takes descriptors from clients
 * (they are received without room for any, which closes them).
 */

#include "control/command.h"
#include "base/loop.h"

struct server;

struct server_parts {
        struct loop *loop;
        struct commander *commander;
        /* After a commit: sends invalidations, and closes what was given up. */
        void (*settle)(void *userdata);
        void *settle_userdata;
};

/* Serves the records' clients and, if there is one, the listening socket of the root record. */
int server_new(struct server **out, const struct server_parts *parts);
struct server *server_free(struct server *server);

/*
 * For a worker that takes over, before it closes what no record names: gives a record to a
 * connection that its predecessor took and died before it wrote it down.
 */
void server_adopt(struct journal *journal);
