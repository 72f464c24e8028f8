/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * invalidation: tells the kernel of changes that it did not ask for.
 *
 * A command removes or resizes a region without the kernel's knowledge.  The kernel must drop what
 * it has cached before the command is replied to.  Invalidations are records of the journal,
 * written in the transaction that makes the change, so that a new worker sends them again.  After
 * the commit they are given to the teller, which sends them to the kernel.  Those of one request go
 * one after the other, those of different requests at the same time, so that a request waits for
 * its own only.
 *
 * The reply to a request can be tied to the last invalidation that it wrote.  It is sent when the
 * kernel has taken that one.  If the worker dies before, the request is resent, and
 * invalidations_resume() tells the new worker how far the request had come.
 *
 * The end of freed memory is one of these records as well, so that the reply to whoever removed a
 * large region can wait for it in the same way.
 *
 * Owns the invalidation records.  Never: sends from the loop's thread, replies by itself, knows the
 * way to the kernel.
 */

#include "base/loop.h"
#include "volume/txn.h"

enum invalidation_kind {
        INVALIDATION_ENTRY,  /* a name was removed, or now belongs to another node */
        INVALIDATION_INODE,  /* size, times or owner changed */
        INVALIDATION_MEMORY, /* nothing is told: memory is being freed, and the reply waits */
        INVALIDATION_TOLD,   /* the kernel has been told; the reply waits for the resent request */
};

enum invalidations_state {
        INVALIDATIONS_NONE,    /* there is no record of it: the request is new */
        INVALIDATIONS_WAITING, /* carried out; the reply waits until the kernel has been told */
        INVALIDATIONS_DONE,    /* carried out, and the kernel has been told: reply now */
};

struct invalidations;

/* told: the kernel has been told; false: that was given up, see notifier.h. */
typedef void (*invalidation_told_fn)(void *userdata, bool told);

/*
 * Tells the kernel.  0, and fn is called later, on the loop; or negative errno.  Both members are
 * NULL if no kernel has anything cached.
 */
struct invalidation_teller {
        int (*entry)(void *userdata, uint64_t dir, const char *name, size_t length,
                     invalidation_told_fn fn, void *fn_userdata);
        int (*inode)(void *userdata, uint64_t node, invalidation_told_fn fn, void *fn_userdata);
        void *userdata;
};

/*
 * Replies to a request whose invalidations were sent, and commits the transaction.  False: the
 * request is not known here (it will be resent).
 */
typedef bool (*invalidations_reply_fn)(void *userdata, uint64_t unique, int result);

/* txn and loop stay the caller's and must outlive it.  0, -ENOMEM. */
int invalidations_new(struct invalidations **out, struct txn *txn, struct loop *loop);
struct invalidations *invalidations_free(struct invalidations *invalidations);
void invalidations_set_teller(struct invalidations *invalidations,
                              const struct invalidation_teller *teller);
/* after: calls fn when the memory that is released in the current turn has been freed; 0 or negative
 * errno. */
void invalidations_set_memory(struct invalidations *invalidations,
                              int (*after)(void *userdata, invalidation_told_fn fn,
                                           void *fn_userdata),
                              void *userdata);
void invalidations_set_reply(struct invalidations *invalidations, invalidations_reply_fn reply,
                             void *userdata);
/* Sends again what the worker before did not finish.  0, -ENOMEM. */
int invalidations_take_up(struct invalidations *invalidations);

/* Part of the current transaction.  0, -ENOMEM (the table is full). */
int invalidation_entry(struct invalidations *invalidations, uint32_t dir, const char *name,
                       size_t length);
int invalidation_inode(struct invalidations *invalidations, uint32_t node);
/* Memory that this transaction releases is freed later, by a job. */
int invalidation_memory(struct invalidations *invalidations);

/* The last invalidation of a request; its reply waits for it. */
struct invalidation_mark {
        uint32_t id; /* 0: none yet */
        uint64_t order;
        uint64_t chain; /* the order of the request's first, plus 1; 0: none yet */
};
/* Begins a request, or continues one from its mark; and returns the current mark. */
void invalidations_begin(struct invalidations *invalidations, struct invalidation_mark mark);
struct invalidation_mark invalidations_mark(const struct invalidations *invalidations);
/*
 * Ties the reply to the last invalidation since invalidations_begin().  result: as write(2) returns
 * it.  False: there is none that has not been sent, so reply at once.
 */
bool invalidations_reply_later(struct invalidations *invalidations, uint64_t unique, int result);
/* How far a request had come.  INVALIDATIONS_DONE also sets *result, and frees the record. */
enum invalidations_state invalidations_resume(struct invalidations *invalidations, uint64_t unique,
                                              int *result);

/* A callback, embedded in the caller's structure, which must live until fn is called. */
struct invalidations_waiter {
        void (*fn)(void *userdata);
        void *userdata;
        struct invalidations_waiter *prev, *next;
};
/* Calls fn on the loop, later, when the kernel has been told of all that this request wrote.  "This
 * request" is the one that began last.  Before the first one, it is all that
 * invalidations_take_up() found. */
void invalidations_after(struct invalidations *invalidations, struct invalidations_waiter *waiter,
                         void (*fn)(void *userdata), void *userdata);
