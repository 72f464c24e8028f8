/* SPDX-License-Identifier: MIT */
#include "socket/outbox.h"

#include <errno.h>
#include <stddef.h>

enum {
        PIECE_SIZE = 4096,
        PIECES_PER_TURN = 3, /* of one listing; a rest and one page are kept besides */
};

static void outbox_in_turn(struct turns_job *turn);

void outbox_init(struct outbox *outbox, struct listings *listings, struct txn *txn,
                 struct client *record, void (*go_on)(struct outbox *outbox)) {
        *outbox = (struct outbox){
                .listings = listings,
                .txn = txn,
                .record = record,
                .go_on = go_on,
                .turn = {.uid = record->uid, .run = outbox_in_turn},
        };
}

void outbox_clear(struct outbox *outbox) {
        listing_cancel_turn(outbox->listings, &outbox->turn);
}

void outbox_drop_listing(struct outbox *outbox) {
        if (outbox->record->listing == 0)
                return;
        listing_close(outbox->listings, outbox->record->listing);
        JOURNAL_SET(txn_journal(outbox->txn), outbox->record->listing, 0);
}

bool outbox_waits(const struct outbox *outbox) {
        return outbox->turn.waits;
}

/* Sends what is there.  False: the rest has to wait. */
static bool outbox_send(struct outbox *outbox) {
        struct client *record = outbox->record;
        int r;

        while (!outbox->mute && record->out_sent < record->out_length) {
                r = client_send(outbox->txn, record);
                if (r == -EAGAIN)
                        return false;
                outbox->mute |= r < 0;
        }
        return true;
}

/* Ends a reply in the middle: nothing can follow it on this connection. */
static void outbox_break_off(struct outbox *outbox) {
        outbox_drop_listing(outbox);
        JOURNAL_SET(txn_journal(outbox->txn), outbox->record->closing, 1);
}

bool outbox_flush(struct outbox *outbox) {
        struct client *record = outbox->record;

        if (!outbox_send(outbox))
                return false;
        if (record->listing && !outbox->mute &&
            listing_wait_turn(outbox->listings, &outbox->turn) == 0)
                return false;
        if (record->listing)
                outbox_break_off(outbox);
        client_answered(outbox->txn, record);
        return true;
}

/* Makes the next piece.  False: there is none in this turn, or none at all. */
static bool outbox_next_piece(struct outbox *outbox) {
        struct client *record = outbox->record;
        char piece[PIECE_SIZE];
        ssize_t n = listing_continue(outbox->listings, record->listing, piece, sizeof(piece));
        int r = 0;

        if (n > 0)
                r = client_append(outbox->txn, record, piece, (size_t)n);
        else if (n == 0)
                outbox_drop_listing(outbox);
        else if (n != -EINPROGRESS)
                r = (int)n;
        if (r == 0)
                r = txn_commit(outbox->txn);
        if (r == 0)
                return n > 0;
        txn_abort(outbox->txn);
        outbox_break_off(outbox);
        txn_commit_anyway(outbox->txn);
        return false;
}

static void outbox_in_turn(struct turns_job *turn) {
        struct outbox *outbox = (struct outbox *)((char *)turn - offsetof(struct outbox, turn));
        int n = 0;

        while (n < PIECES_PER_TURN && outbox_next_piece(outbox) && outbox_send(outbox))
                n++;
        outbox->go_on(outbox);
}

uint64_t outbox_charge(const struct answer *answer) {
        if (answer->text_fd < 0)
                return 0;
        return answer->listing ? OUTBOX_LISTING_MAX : answer->length;
}
