/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * channel: the connection to the kernel.
 *
 * Reads requests straight into the journal's scratch area, calls the handler of their opcode, and
 * sends its reply.  (The descriptor is the root record's.)
 *
 *   - The channel replies to INIT itself, and saves it, so that a later worker needs none.
 *   - Every reply commits the transaction, with the reply as its outcome, before it is sent: so a
 *     change and its reply are one step.  A reply that goes with a change must not be longer than
 *     JOURNAL_OUTCOME_MAX.  If the transaction cannot be committed, it is aborted, and the error is
 *     the reply.
 *   - The kernel never resends a FORGET.  So its entries are carried out from the scratch area and
 *     counted in the same transactions; thus each happens exactly once.
 *   - A request may be replied to later.  Its copy is then in the structure that waits, where its
 *     INTERRUPT finds it.
 *
 * A request in which two workers died by their own fault gets EIO.  The first steps of a new
 * worker, and their order, are those of process/recovery.
 *
 * No memory is allocated for a request, except for one that is retried.  Never: knows what a request means.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "fuse/wire.h"
#include "volume/room.h"
#include "volume/txn.h"

struct channel;

/* A request of the kernel. */
struct fuse_request {
        struct channel *channel;
        void *userdata;  /* the channel's */
        uint64_t unique; /* as received; see fuse_request_key() */
        uint64_t node;   /* node id that the request is about */
        uint32_t uid, gid;
        int32_t pid;
        uint64_t at; /* clock_ns() when it was read; 0: not known */
        bool answered;
        bool deferred;
        bool retried; /* it was handled before, and there was no space */
        /* It clears the set-user-id bits of its file; see killpriv.h. */
        bool kills_setid;
        /* The message, while the handler runs; NULL in a request that was deferred. */
        const struct wire_request *in;
};

/* The unique without the kernel's mark for resent requests: the same after a restart. */
static inline uint64_t fuse_request_key(const struct fuse_request *req) {
        return req->unique & ~WIRE_UNIQUE_RESENT;
}

/*
 * Handlers by opcode; NULL and larger opcodes get ENOSYS.  INIT, DESTROY, FORGET, BATCH_FORGET and
 * INTERRUPT are handled by the channel itself.  A handler must reply, or defer the request.
 */
typedef void (*channel_handler_fn)(struct fuse_request *req);
/* The kernel drops `count` lookups of a node.  Called in a transaction that the channel commits. */
typedef void (*channel_forget_fn)(void *userdata, uint64_t nodeid, uint64_t count);

struct channel_operations {
        channel_handler_fn handlers[WIRE_OPCODES];
        channel_forget_fn forget;
};

/* Takes over root->fuse_fd, and the saved INIT if there is one.  operations and txn stay the
 * caller's and must outlive the channel.  0, -ENOMEM. */
int channel_new(struct channel **out, struct txn *txn, const struct channel_operations *operations,
                void *userdata);
struct channel *channel_free(struct channel *channel);

/* For a worker that replaces another one: finishes the FORGET that the dead worker had read. */
void channel_finish_forget(struct channel *channel);

/*
 * Reads and handles one request.  1: done; 0: there was none (the descriptor is non-blocking);
 * -ENODEV: unmounted; -EOPNOTSUPP: passthrough=on is not possible (logged); other negative errno:
 * the connection is broken.
 */
int channel_dispatch(struct channel *channel);

/*
 * Commits the transaction, even with an error, and then sends the reply.  error: 0 or negative
 * errno. iov[0] is the channel's, for the header; the others are the body.  See reply.h for replies
 * of each form.
 */
void channel_reply(struct fuse_request *req, int error, struct iovec *iov, int count);

/* A request that is replied to later; embedded in the structure that waits. */
struct deferred_request {
        struct fuse_request req;
        /* Called once if the request's caller was interrupted; NULL: it cannot be interrupted. */
        void (*interrupted)(struct deferred_request *deferred);
        struct deferred_request *next;
};

/* May call interrupted() at once, so call it last. */
void channel_defer(struct deferred_request *deferred, struct fuse_request *req,
                   void (*interrupted)(struct deferred_request *deferred));
/* Ends the deferral, and returns the request, to be replied to. */
struct fuse_request channel_undefer(struct deferred_request *deferred);

/*
 * Before a request gets ENOSPC: aborts the transaction, and handles the request once more when all
 * that waits has been taken in (volume/room.h).  False: it has been retried already, or cannot be;
 * nothing was done.  channel_can_retry() is the question alone; afterwards only lack of memory can
 * still prevent it.
 */
void channel_set_room(struct channel *channel, struct room *room);
bool channel_can_retry(const struct fuse_request *req);
bool channel_retry(struct fuse_request *req);

/* Whether INIT is done. */
bool channel_is_ready(const struct channel *channel);
/* Whether there are extended attributes, and we have to clear set-user-id bits. */
bool channel_has_xattr(const struct channel *channel);
/* Whether there are access lists. */
bool channel_has_acl(const struct channel *channel);

/* The transaction that replies commit. */
struct txn *channel_txn(const struct channel *channel);

/* For struct volume_kernel; userdata: the channel.  Returns a backing id above 0, or negative
 * errno.  Closing ignores ids that the kernel does not know. */
int channel_backing_open(void *userdata, uint32_t node, int fd);
void channel_backing_close(void *userdata, int id);
