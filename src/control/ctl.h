/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ctl: the files of .ctl.
 *
 * Every directory has one, under the name that the mount option ctl= gives it, or none.  A file
 * of it is addressed by (kind, directory); open ones are handle records of the journal (handles.h),
 * so that a reader goes on where it was when the worker has been restarted.  What is read and
 * written is read and written as whoever opened the file.
 *
 * Owns those who wait for events, and the rooms that listings are made in.  Never: knows FUSE; fs.c
 * translates.
 */

#include <sys/stat.h>
#include "control/command.h"
#include "control/turns.h"

enum ctl_kind {
        CTL_NONE = 0,
        CTL_DIR, /* .ctl itself */
        CTL_CREATE,
        CTL_RESIZE,
        CTL_SEAL,
        CTL_REMOVE,
        CTL_DEFAULT,
        CTL_REGIONS,
        CTL_REGIONS_JSON,
        CTL_EVENTS,
        CTL_STATS,
        CTL_SOCKET, /* symbolic link */
        CTL_ADMIN,  /* remount and upgrade; of the owner of the mount, in the root directory only */
        CTL_ERROR,  /* the last error of who reads it */
        _CTL_N,
};

struct ctl;
struct listings;

int ctl_new(struct ctl **out, struct volume *volume);
struct ctl *ctl_free(struct ctl *ctl);

/* Name of a kind ("create", …), and the kind of a name in the .ctl of dir, CTL_NONE if there is
 * no such file there. */
const char *ctl_name(enum ctl_kind kind);
enum ctl_kind ctl_lookup(const struct ctl *ctl, const struct node *dir, const char *name,
                         size_t length);
/* Type, permissions, owner, times, size 0; st_ino is left to the caller. */
void ctl_stat(const struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct stat *st);

/* For the socket. */
struct listings *ctl_listings(const struct ctl *ctl);

/* Whether the name is that of .ctl here. */
bool ctl_is_name(const struct ctl *ctl, const char *name);

/*
 * A handle record; writes: opened for writing.  0, -ENFILE (the user's share is used up, see
 * handles.h), -EACCES (admin, for others; a file that is for reading), -ENXIO (.ctl itself and the
 * socket, which cannot be opened), -ENOMEM.
 */
int ctl_open(struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct caller *caller,
             bool writes, uint32_t *handle);
void ctl_close(struct ctl *ctl, uint32_t handle);

/*
 * Reads like pread(2).  A listing: see listing_read(); the text of the last failed write, or else
 * the usage, which begin wherever the reader happens to be; events, of which the offset says
 * nothing.  Count, or negative errno.  -EAGAIN: there is no event; ctl_await() tells of the next.
 * -EINPROGRESS: not done in this turn; to be called again, with `again`, when a job given to
 * ctl_wait_turn() is run.
 */
ssize_t ctl_read(struct ctl *ctl, uint32_t handle, char *buffer, size_t size, uint64_t offset,
                 bool again);
int ctl_wait_turn(struct ctl *ctl, struct turns_job *job);
void ctl_cancel_turn(struct ctl *ctl, struct turns_job *job);
/* The target of .ctl/socket; "" if there is none. */
const char *ctl_socket_path(const struct ctl *ctl);

/*
 * Runs the commands of one write(2), the request `unique`.  `size`, or negative errno; the text is
 * kept for reading.  -EPERM if the writer is not who opened the file.  Each line is a transaction
 * of its own, and all but the last of those that succeed are committed: the last one goes with the
 * reply.  -EINPROGRESS: a region is being populated, which is committed; the result is told later
 * by ctl_set_reply()'s function, which commits.  A write that is resent after a crash goes on where
 * it was.
 */
ssize_t ctl_write(struct ctl *ctl, uint32_t handle, struct caller *caller, uint64_t unique,
                  const char *buffer, size_t size);
typedef void (*ctl_reply_fn)(void *userdata, uint64_t unique, int result);
void ctl_set_reply(struct ctl *ctl, ctl_reply_fn reply, void *userdata);
/* The one who waits for a write has been interrupted: it ends soon, with -EINTR. */
void ctl_cancel(struct ctl *ctl, uint64_t unique);

/*
 * Those who wait for events.  ctl_tell() looks who has something to read, a few in a turn of the
 * loop, and calls wake(): with the key of a poll(2), 0 for none, and with what ctl_await() was
 * given.
 */
typedef void (*ctl_wake_fn)(void *userdata, uint64_t key, void *readers);
void ctl_set_wake(struct ctl *ctl, ctl_wake_fn wake, void *userdata);
/* For TXN_AFTER_EVENTS. */
void ctl_tell(struct ctl *ctl);
/* Whether there is an event to read; if not, key is told by wake() when there is. */
bool ctl_poll(struct ctl *ctl, uint32_t handle, uint64_t key);
/* Has wake() called with *readers, a list of the caller's that is kept with the handle.  NULL: out
 * of memory. */
void **ctl_await(struct ctl *ctl, uint32_t handle);
/* That list, NULL if there is none. */
void **ctl_readers(struct ctl *ctl, uint32_t handle);
