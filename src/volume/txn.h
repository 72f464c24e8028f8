/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * txn: a transaction, including the state that is not in records.
 *
 * One transaction is always open.  It ends with txn_commit(), txn_commit_reply() or txn_abort(),
 * and the next one begins at once.  txn_abort() puts the records back and closes the descriptors
 * that were opened in the transaction.  A module with state beside the records (a limit that the
 * kernel keeps, watches, work to be begun) registers as a member and is told how each transaction
 * ended.
 *
 * Work that may be done only after the commit is registered in the transaction: closing of
 * descriptors with txn_close_later(), all other work with txn_after_commit().  It is done at the
 * end of the commit, after the reply was sent, in the order of enum txn_after; descriptors come
 * last.  An abort drops it.  Work that must not be lost when the worker dies is in records as well.
 *
 * A transaction is bounded.  Code that walks many records asks txn_is_nearly_full() and commits as
 * it goes.  A transaction that has grown too large, or that lacked memory (txn_fail()), is aborted
 * by the commit, and the request fails with the error.
 *
 * Owns the lists of descriptors.  Never: knows what a record means.  Used on the loop's thread
 * only.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "records/layout.h"

struct txn;

/* Kinds of work after a commit, in the order in which they run. */
enum txn_after {
        TXN_AFTER_BACKING,       /* closes backing ids that no record refers to any more */
        TXN_AFTER_INVALIDATIONS, /* tells the kernel of changes that it did not ask for */
        TXN_AFTER_WORK,          /* begins work that takes long */
        TXN_AFTER_LIFETIMES,     /* checks regions that may have lost their last user */
        TXN_AFTER_EVENTS,        /* replies to readers that wait for events */
        TXN_AFTER_NAMES,         /* checks waits for a name */
        TXN_AFTER_RECLAIM,       /* gives back the memory of regions that were released */
        _TXN_AFTER_N,
};

typedef void (*txn_fn)(void *userdata);
/* Closes a descriptor of a released region.  blocks: bytes allocated, as last known. */
typedef void (*txn_close_fn)(void *userdata, int fd, uint64_t blocks);
/* Sends a reply.  The transaction does not look at errors of sending. */
typedef void (*txn_send_fn)(void *userdata, const struct iovec *iov, int n_iov);

/* 0, -ENOMEM. */
int txn_new(struct txn **out, struct journal *journal);
struct txn *txn_free(struct txn *txn);
struct journal *txn_journal(const struct txn *txn);

/* Sets the function for a kind of work.  It may commit transactions of its own, and must leave none
 * unfinished. */
void txn_set_after(struct txn *txn, enum txn_after kind, txn_fn fn, void *userdata);
/* Sets the function that closes descriptors; the default is close(2). */
void txn_set_close(struct txn *txn, txn_close_fn fn, void *userdata);
/* Adds a member, which is called after each commit and after each rollback of the records.  There
 * is room for a few only. */
void txn_add_member(struct txn *txn, txn_fn commit, txn_fn abort, void *userdata);
void txn_remove_member(struct txn *txn, const void *userdata);

/* Adds a descriptor that was opened in this transaction: an abort closes it.  Returns fd; or closes
 * it and returns -ENOMEM. */
int txn_own_fd(struct txn *txn, int fd);
void txn_after_commit(struct txn *txn, enum txn_after kind);
/* fd: -1 is ignored. */
void txn_close_later(struct txn *txn, int fd, uint64_t blocks);

/* Makes the commit fail with this error, because something was refused. */
void txn_fail(struct txn *txn, int error);
bool txn_is_nearly_full(const struct txn *txn);
/* 0, or the error with which a commit would fail.  Call it before a step that cannot be undone:
 * after a 0 the commit succeeds, if only little is changed until then. */
int txn_check(struct txn *txn);

/* 0, or the error because of which the transaction was aborted. */
int txn_commit(struct txn *txn);
/*
 * Commits the transaction even after txn_fail().  For the end of something, which cannot be refused
 * and changes little.  A descriptor for whose entry in the list there was no memory stays open
 * until the next worker closes it.
 */
void txn_insist(struct txn *txn);
void txn_commit_anyway(struct txn *txn);
/*
 * Commits with the reply as the outcome under key, if the transaction changed anything, and then
 * sends the reply.  0, or the error because of which the transaction was aborted; nothing was sent
 * then.
 */
int txn_commit_reply(struct txn *txn, uint64_t key, const struct iovec *iov, int n_iov,
                     txn_send_fn send, void *userdata);
void txn_abort(struct txn *txn);
