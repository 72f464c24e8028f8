/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * outbox: sends the reply of a connection, and makes the rest of a listing while it is sent.
 *
 * The pieces of a listing are made in turns (turns.h), a few of one connection in each, and only
 * after the pieces before were sent.  So a listing that is not read costs nothing more.
 *
 * Owns the listing that is being sent.  Never: reads a request.
 */

#include "control/listing.h"
#include "socket/client.h"

enum { OUTBOX_LISTING_MAX = 16 * 1024 }; /* bytes of a listing that are kept unread at most */

struct outbox {
        struct listings *listings;
        struct txn *txn;
        struct client *record;
        void (*go_on)(struct outbox *outbox); /* called after something was sent in a turn */
        bool mute;                            /* nobody reads any more */
        struct turns_job turn;
};

/* listings, txn and record stay the caller's and must outlive the outbox. */
void outbox_init(struct outbox *outbox, struct listings *listings, struct txn *txn,
                 struct client *record, void (*go_on)(struct outbox *outbox));
/* Stops waiting for a turn; the record keeps its listing. */
void outbox_clear(struct outbox *outbox);
/* Drops the listing, if there is one; the caller commits. */
void outbox_drop_listing(struct outbox *outbox);
/* Sends as much as possible.  True: all was sent, or nobody reads it. */
bool outbox_flush(struct outbox *outbox);
/* Whether the next piece waits for its turn. */
bool outbox_waits(const struct outbox *outbox);

/* The bytes that a reply adds to those that its user has not read. */
uint64_t outbox_charge(const struct answer *answer);
