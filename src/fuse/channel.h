/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * channel: the connection to the kernel.
 *
 * Reads requests straight into the journal's scratch area, has the handler of their opcode called,
 * and sends what it replies.  (The descriptor is the root record's.)
 *
 *   - INIT is answered by the channel itself, and saved: a worker that comes after another needs
 *     none.
 *   - Every reply commits the transaction, with the reply as its outcome, before it is sent: that is
 *     how a change and its answer are one step.  A reply that goes with a change must not be longer
 *     than JOURNAL_OUTCOME_MAX.  A transaction that cannot be committed is aborted, and its error is
 *     the reply.
 *   - FORGETs, which nobody resends, are carried out from the scratch area and counted in the same
 *     transactions, so that each happens exactly once.
 *   - A request may be answered later.  It is then copied into whatever waits, and its INTERRUPT
 *     finds it there.
 *
 * A request that was being handled when two workers died by their own fault is answered EIO.  What
 * a worker that comes after another does first, and in which order, is process/recovery's.
 *
 * Nothing is allocated for a request.  Never: knows what a request means.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "fuse/wire.h"
#include "volume/txn.h"

struct channel;

/* A request of the kernel. */
struct fuse_request {
        struct channel *channel;
        void *userdata;  /* the channel's */
        uint64_t unique; /* as it came; see fuse_request_key() */
        uint64_t node;   /* that it is about */
        uint32_t uid, gid;
        int32_t pid;
        bool answered;
        bool deferred;
        /* It takes the set-user-id bits from its file; see killpriv.h. */
        bool kills_setid;
        /* The message, while the handler runs; NULL in a request that is answered later. */
        const struct wire_request *in;
};

/* Its number without the kernel's mark for resent ones: the same after a restart. */
static inline uint64_t fuse_request_key(const struct fuse_request *req) {
        return req->unique & ~WIRE_UNIQUE_RESENT;
}

/*
 * Handlers by opcode; NULL and opcodes beyond are answered ENOSYS.  Those of INIT, DESTROY, FORGET,
 * BATCH_FORGET and INTERRUPT are the channel's own.  A handler replies, or defers the request.
 */
typedef void (*channel_handler_fn)(struct fuse_request *req);
/* The kernel drops count lookups of a node; within a transaction, which the channel commits. */
typedef void (*channel_forget_fn)(void *userdata, uint64_t nodeid, uint64_t count);

struct channel_operations {
        channel_handler_fn handlers[WIRE_OPCODES];
        channel_forget_fn forget;
};

/* Takes root->fuse_fd up, and what INIT said to a worker before.  operations and txn outlive the
 * channel. */
int channel_new(struct channel **out, struct txn *txn, const struct channel_operations *operations,
                void *userdata);
struct channel *channel_free(struct channel *channel);

/* In a worker that comes after another: what of a FORGET that one had read is not done yet. */
void channel_finish_forget(struct channel *channel);

/*
 * Reads and handles one request.  1: done; 0: there was none (the descriptor is non-blocking);
 * -ENODEV: unmounted; -EOPNOTSUPP: passthrough=on cannot be had (said in the log); other negative
 * errno: the connection is broken.
 */
int channel_dispatch(struct channel *channel);

/*
 * Sends the reply: error is 0 or negative errno, iov[0] is the channel's, for the header, and the
 * others are the body.  Commits before, errors as well.  See reply.h for replies of each form.
 */
void channel_reply(struct fuse_request *req, int error, struct iovec *iov, int count);

/* A request that is answered later: part of whatever waits. */
struct deferred_request {
        struct fuse_request req;
        /* Whoever waits for the answer was interrupted, which is told once; NULL: it cannot be. */
        void (*interrupted)(struct deferred_request *deferred);
        struct deferred_request *next;
};

/* May call interrupted() at once, so this comes last. */
void channel_defer(struct deferred_request *deferred, struct fuse_request *req,
                   void (*interrupted)(struct deferred_request *deferred));
/* To answer it: the request, which `deferred` has no more part in. */
struct fuse_request channel_undefer(struct deferred_request *deferred);

/* Whether INIT is through, and whether the kernel granted passthrough. */
bool channel_is_ready(const struct channel *channel);
bool channel_has_passthrough(const struct channel *channel);
/* Whether extended attributes are answered, and set-user-id bits are ours to take. */
bool channel_has_xattr(const struct channel *channel);

/* The transaction that replies commit. */
struct txn *channel_txn(const struct channel *channel);

/* For struct volume_kernel; userdata: the channel.  A backing id for the file, above 0, or negative
 * errno; ids that the kernel does not know are passed over. */
int channel_backing_open(void *userdata, int fd);
void channel_backing_close(void *userdata, int id);
