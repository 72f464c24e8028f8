/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * txn: the transaction, with all that belongs to it besides the records.
 *
 * One is open at any time.  It ends with txn_commit(), with txn_commit_reply(), or with txn_abort(),
 * which puts the records back and closes the descriptors that were opened in it; then the next one
 * has begun.  Whoever has state beside the records (a limit that the kernel keeps, watches, work to
 * be begun) is a member and is told how each transaction ended.
 *
 * What may be done only once the change stands is registered in the transaction: descriptors with
 * txn_close_later(), all else with txn_after_commit().  It is carried out at the end of the commit,
 * after the reply has been sent, in the order of enum txn_after, and descriptors last; an abort
 * forgets it.  What must not be lost by a death in between is in records as well.
 *
 * A transaction is bounded.  txn_is_nearly_full() tells whoever walks many records to commit as it
 * goes.  One that has no room, or whose memory was refused (txn_fail()), is aborted by the commit,
 * and the request fails with the error.
 *
 * Owns the lists of descriptors.  Never: knows what a record means.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "records/layout.h"

struct txn;

/* Work after a commit, in the order in which it is done. */
enum txn_after {
        TXN_AFTER_BACKING,       /* backing ids that no record names any more are closed */
        TXN_AFTER_INVALIDATIONS, /* the kernel is told of what it did not ask for */
        TXN_AFTER_WORK,          /* work that takes long begins */
        TXN_AFTER_LIFETIMES,     /* regions that may have lost their last user are looked at */
        TXN_AFTER_EVENTS,        /* who waits for events is answered */
        TXN_AFTER_NAMES,         /* who waits for a name is looked at */
        _TXN_AFTER_N,
};

typedef void (*txn_fn)(void *userdata);
/* Closes a descriptor of a region that was given up; blocks: bytes allocated, as last known. */
typedef void (*txn_close_fn)(void *userdata, int fd, uint64_t blocks);
/* Sends a reply; what became of it is not the transaction's concern. */
typedef void (*txn_send_fn)(void *userdata, const struct iovec *iov, int n_iov);

/* 0, -ENOMEM. */
int txn_new(struct txn **out, struct journal *journal);
struct txn *txn_free(struct txn *txn);
struct journal *txn_journal(const struct txn *txn);

/* Who does the work of a kind; may commit transactions of its own, and leaves none unfinished. */
void txn_set_after(struct txn *txn, enum txn_after kind, txn_fn fn, void *userdata);
/* Who closes descriptors; close(2) if nobody was named. */
void txn_set_close(struct txn *txn, txn_close_fn fn, void *userdata);
/* A member: told after each commit, and after each rollback of the records.  They are few. */
void txn_add_member(struct txn *txn, txn_fn commit, txn_fn abort, void *userdata);
void txn_remove_member(struct txn *txn, const void *userdata);

/* A descriptor that was opened in this transaction: an abort closes it.  Takes it at once: returns
 * it, or -ENOMEM and has closed it. */
int txn_own_fd(struct txn *txn, int fd);
/* Whoever owns it takes it back: it is no record's, and lives on whatever the end. */
void txn_disown_fd(struct txn *txn, int fd);
void txn_after_commit(struct txn *txn, enum txn_after kind);
/* -1 is passed over. */
void txn_close_later(struct txn *txn, int fd, uint64_t blocks);

/* What was done so far is not to be committed, for want of something. */
void txn_fail(struct txn *txn, int error);
bool txn_is_nearly_full(const struct txn *txn);
/* 0, or the error that a commit would end with.  Asked before what cannot be taken back: after a 0
 * the commit succeeds, if only little follows. */
int txn_check(struct txn *txn);

/* 0, or the error for which it was aborted. */
int txn_commit(struct txn *txn);
/*
 * What is in the transaction will be committed, whatever was said of it: for the end of something,
 * which nobody can refuse, and which takes little.  A descriptor that could not be remembered stays
 * open until the next worker closes it.
 */
void txn_insist(struct txn *txn);
void txn_commit_anyway(struct txn *txn);
/*
 * The reply is the outcome of the transaction, if that changes anything, under key.  It is sent
 * when it stands.  0, or the error for which all was aborted; nothing has been sent then.
 */
int txn_commit_reply(struct txn *txn, uint64_t key, const struct iovec *iov, int n_iov,
                     txn_send_fn send, void *userdata);
void txn_abort(struct txn *txn);
