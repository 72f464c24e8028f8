/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * broker: the connections of the socket.
 *
 * A client is a record of the arena.  What it sends is received into the record; a line that has
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

#include "command.h"
#include "loop.h"

struct broker;

struct broker_parts {
        struct loop *loop;
        struct commander *commander;
        /* After a commit: sends notices, and closes what was given up. */
        void (*settle)(void *userdata);
        void *settle_userdata;
};

/* Serves the records' clients and, if there is one, the listening socket of the root record. */
int broker_new(struct broker **out, const struct broker_parts *parts);
struct broker *broker_free(struct broker *broker);

/*
 * For a worker that takes over, before it closes what no record names: gives a record to a
 * connection that its predecessor took and died before it wrote it down.
 */
void broker_adopt(struct arena *arena);
