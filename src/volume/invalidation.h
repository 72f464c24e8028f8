/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * invalidation: tells the kernel of changes that it did not ask for.
 *
 * A command removes or resizes a region behind the kernel's back; what it has cached must go
 * before the command is answered.  Invalidations are records of the journal, written in the
 * transaction that makes the change, so that a worker that takes over tells them again.  After the
 * commit they are handed to whoever tells the kernel: those of one request one after the other, those
 * of different requests side by side, so that a request waits for its own only.
 *
 * The reply to a request can be tied to the last invalidation that it wrote.  It is sent when that
 * has been told, by whichever worker: if one dies in between, the request is resent, and
 * invalidations_resume() says how far it got.
 *
 * Owns the invalidation records.  Never: sends from the loop's thread, or replies by itself, or
 * knows how the kernel is told.
 */

#include "base/loop.h"
#include "volume/txn.h"

enum invalidation_kind {
        INVALIDATION_ENTRY, /* a name was removed, or is another's now */
        INVALIDATION_INODE, /* size, times or owner changed */
        INVALIDATION_TOLD,  /* the kernel knows; the reply waits for the resent request */
};

enum invalidations_state {
        INVALIDATIONS_NONE,    /* a request that has not been seen */
        INVALIDATIONS_WAITING, /* carried out; replied to when the kernel has been told */
        INVALIDATIONS_DONE,    /* carried out and told: reply now */
};

struct invalidations;

/* The kernel has been told; or, if `told` is false, that has been given up: see notifier.h. */
typedef void (*invalidation_told_fn)(void *userdata, bool told);

/*
 * How the kernel is told: 0, and fn is called later, on the loop; or negative errno.  Both NULL:
 * there is no kernel that knows anything.
 */
struct invalidation_teller {
        int (*entry)(void *userdata, uint64_t dir, const char *name, size_t length,
                     invalidation_told_fn fn, void *fn_userdata);
        int (*inode)(void *userdata, uint64_t node, invalidation_told_fn fn, void *fn_userdata);
        void *userdata;
};

/*
 * Replies to a request whose invalidations have been told, which commits the transaction.  False if
 * the request is not at hand (it will be resent).
 */
typedef bool (*invalidations_reply_fn)(void *userdata, uint64_t unique, int result);

int invalidations_new(struct invalidations **out, struct txn *txn, struct loop *loop);
struct invalidations *invalidations_free(struct invalidations *invalidations);
void invalidations_set_teller(struct invalidations *invalidations,
                              const struct invalidation_teller *teller);
void invalidations_set_reply(struct invalidations *invalidations, invalidations_reply_fn reply,
                             void *userdata);
/* In a worker that comes after another: what that one left untold is told.  0, -ENOMEM. */
int invalidations_take_up(struct invalidations *invalidations);

/* Within the transaction.  0, -ENOMEM (the table is full). */
int invalidation_entry(struct invalidations *invalidations, uint32_t dir, const char *name,
                       size_t length);
int invalidation_inode(struct invalidations *invalidations, uint32_t node);

/* The last invalidation of a request, which its reply waits for. */
struct invalidation_mark {
        uint32_t id; /* 0: none yet */
        uint64_t order;
        uint64_t chain; /* the order of the request's first, plus 1; 0: none yet */
};
/* A request begins, or goes on from a mark; and where it is. */
void invalidations_begin(struct invalidations *invalidations, struct invalidation_mark mark);
struct invalidation_mark invalidations_mark(const struct invalidations *invalidations);
/*
 * Ties the reply (what write(2) returns) to the last invalidation since invalidations_begin().
 * False if there is none that has not been told: reply at once.
 */
bool invalidations_reply_later(struct invalidations *invalidations, uint64_t unique, int result);
/* How far a request got before; with INVALIDATIONS_DONE the result, and the record is given back. */
enum invalidations_state invalidations_resume(struct invalidations *invalidations, uint64_t unique,
                                              int *result);

/* Who waits for invalidations: a part of whoever it is, who lives until fn is called. */
struct invalidations_waiter {
        void (*fn)(void *userdata);
        void *userdata;
        struct invalidations_waiter *prev, *next;
};
/* Calls fn on the loop, later, when all that this request has written down has been told: the one
 * that began last, or, before any has begun, all that invalidations_take_up() found. */
void invalidations_after(struct invalidations *invalidations, struct invalidations_waiter *waiter,
                         void (*fn)(void *userdata), void *userdata);
