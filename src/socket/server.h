/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * server: the connections of the socket.
 *
 * A client is a record of the journal.  Its bytes are received into the record.  When a line is
 * complete, one transaction carries it out, removes it and records the reply; then the reply is
 * sent.  So a new worker continues where the last one was: no command is lost or done twice.  Only
 * a reply that was being sent at that moment may be sent again.
 *
 * A client's next line is handled only after the reply to the last one was sent, and only one line
 * in a turn of the loop.  Everything that the daemon stores for the connections of a user is
 * counted and limited.
 *
 * Owns the client records and their descriptors.  Never: blocks, takes descriptors from clients
 * (disposal.h).
 */

#include "control/command.h"
#include "control/listing.h"

struct server;

/*
 * Serves the clients in the records and, if there is one, the listening socket of the root record.
 * volume and listings stay the caller's and must outlive the server.  0 or negative errno.
 */
int server_new(struct server **out, struct volume *volume, struct listings *listings);
struct server *server_free(struct server *server);
