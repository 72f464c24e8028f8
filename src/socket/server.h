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
#include "control/listing.h"

struct server;

/*
 * Serves the records' clients and, if there is one, the listening socket of the root record.  The
 * volume outlives it.
 */
int server_new(struct server **out, struct volume *volume, struct listings *listings);
struct server *server_free(struct server *server);
