/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * outbox: sends the answer of a connection, and makes the rest of a listing while it is sent.
 *
 * A listing's pieces are made in turns (turns.h), a few of one connection in each, and only when
 * the ones before are out: one that is not read costs nothing more.
 *
 * Owns the listing that is under way.  Never: reads a request.
 */

#include "control/listing.h"
#include "socket/client.h"

enum { OUTBOX_LISTING_MAX = 16 * 1024 }; /* bytes of a listing that it keeps unread at most */

struct outbox {
        struct listings *listings;
        struct txn *txn;
        struct client *record;
        void (*go_on)(struct outbox *outbox); /* something was sent in a turn */
        bool mute;                            /* nobody reads any more */
        struct turns_job turn;
};

void outbox_init(struct outbox *outbox, struct listings *listings, struct txn *txn,
                 struct client *record, void (*go_on)(struct outbox *outbox));
/* Ends what waits; the record keeps its listing. */
void outbox_clear(struct outbox *outbox);
/* Gives up the listing, if there is one; the caller commits. */
void outbox_drop_listing(struct outbox *outbox);
/* Sends what can be sent.  True: all of it is out, or nobody wants it. */
bool outbox_flush(struct outbox *outbox);
/* Whether the next piece waits for its turn. */
bool outbox_waits(const struct outbox *outbox);

/* What an answer counts for among those that its user has not read, bytes. */
uint64_t outbox_charge(const struct answer *answer);
