/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * channel: the connection to the kernel, under libfuse.
 *
 * Owns the libfuse session of this worker (not the mount, and not the descriptor: that is the
 * root record's).  It reads each request itself, straight into the journal's scratch area, and hands
 * it to libfuse; libfuse's replies come back through fuse_custom_io.writev.  There
 *
 *   - the first reply, INIT's, gets what libfuse 3.14 has no name for: passthrough;
 *   - every reply commits the journal's transaction, with the reply as its outcome, before it is
 *     sent: that is how a change and its answer are one step.  A reply that goes with a change must
 *     not be longer than JOURNAL_OUTCOME_MAX.
 *
 * After a restart it gives libfuse the saved INIT and swallows the answer.  Then it sends the last
 * outcome again, before anything can overwrite it: the kernel takes it if it was never sent, and
 * knows no such request otherwise.  Then it has the kernel resend what is unanswered: those are
 * requests that have not happened.  One that was being handled when two workers died by their own
 * fault is answered EIO.  FORGETs, which nobody resends, are carried out by the channel itself,
 * from the scratch area and counted in the same transactions, so that each happens exactly once.
 *
 * Never: knows what a request means.
 */

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include "records/layout.h"

struct channel;

/* The kernel drops count lookups of a node; within a transaction, which the channel commits. */
typedef void (*channel_forget_fn)(void *userdata, uint64_t nodeid, uint64_t count);

/*
 * Makes the session over root->fuse_fd.  In a worker that is not the first, replays INIT.  Of ops,
 * init, forget and forget_multi are not used: the channel's own take their place.  One channel a
 * process.
 */
int channel_new(struct channel **out, struct journal *journal, const struct fuse_lowlevel_ops *ops,
                channel_forget_fn forget, void *userdata);
struct channel *channel_free(struct channel *channel);

/*
 * Answers FUSE_STATX, which libfuse does not know before 3.18, and without which there is no time
 * of birth: attributes, btime, and how long the kernel may keep them, seconds.  0 or negative errno.
 */
typedef int (*channel_statx_fn)(void *userdata, uint64_t nodeid, struct stat *st,
                                struct timespec *btime, double *timeout);
void channel_set_statx(struct channel *channel, channel_statx_fn statx);

/*
 * In a worker that comes after another: tells the last outcome again, finishes an interrupted
 * FORGET, and asks for the unanswered requests: once all is ready to serve.
 */
int channel_resume(struct channel *channel);

/*
 * Reads and handles one request.  1: done; 0: there was none (the descriptor is non-blocking);
 * -ENODEV: unmounted; -EOPNOTSUPP: passthrough=on cannot be had (said in the log); other negative
 * errno: the connection is broken.
 */
int channel_dispatch(struct channel *channel);

/* Whether INIT is through, and whether the kernel granted passthrough. */
bool channel_is_ready(const struct channel *channel);
bool channel_has_passthrough(const struct channel *channel);
/*
 * Whether extended attributes are answered, and set-user-id bits are ours to take; if so, whether
 * the request that is being handled takes them.  See killpriv.h.
 */
bool channel_has_xattr(const struct channel *channel);
bool channel_kills_privilege(const struct channel *channel);
/* The unique of the request that is being handled, without the kernel's mark for resent ones. */
uint64_t channel_current(const struct channel *channel);
/* The same for one that is answered later. */
uint64_t channel_unique(uint64_t unique);

/* A backing id for the file, above 0; or negative errno. */
int channel_backing_open(struct channel *channel, int fd);
/*
 * Within a transaction; carried out after its commit, so that no record ever names a closed id.
 * Ids that the kernel does not know are passed over.
 */
void channel_backing_close(struct channel *channel, int id);
/* Carries out what a commit by others than the channel has left to do. */
void channel_settle(struct channel *channel);

/*
 * Replies to OPEN and CREATE through the region's backing id, or through the page cache if
 * backing is 0.  entry is NULL for OPEN.  Errors are those of fuse_reply_open().
 */
int channel_reply_open(fuse_req_t req, const struct fuse_entry_param *entry,
                       const struct fuse_file_info *fi, int backing);

/*
 * Notifications, by any thread but the one that answers requests (they may wait for it).
 * 0, -ENOENT (the kernel does not know the thing: fine), other negative errno.
 */
int channel_invalidate_entry(int fuse_fd, uint64_t parent, const char *name, size_t length);
/* Attributes, and cached pages too if `pages`. */
int channel_invalidate_inode(int fuse_fd, uint64_t node, bool pages);
/* What the POLL request that is being handled brought for that. */
uint64_t channel_poll_key(const struct channel *channel);
/* Wakes poll(2) on a file, by any thread. */
int channel_wake_poll(int fuse_fd, uint64_t kh);
