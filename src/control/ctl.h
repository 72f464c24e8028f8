/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ctl: the files of .ctl.
 *
 * Every directory has one, under the name that the mount option ctl= gives it, or none has.  A file
 * of it is identified by (kind, directory).  Open ones are handle records of the journal
 * (handles.h), so that a reader continues at the same place after a restart of the worker.  Files
 * are read and written with the rights of the user who opened them.
 *
 * Owns the readers that wait for events, and the memory for rendering listings.  Never: knows FUSE;
 * fs.c translates.
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
        CTL_LIMIT,
        CTL_REGIONS,
        CTL_REGIONS_JSON,
        CTL_LIMITS_JSON,
        CTL_EVENTS,
        CTL_STATS,
        CTL_SOCKET, /* symbolic link */
        CTL_ADMIN,  /* remount and upgrade; for the mount's owner, in the root directory only */
        CTL_ERROR,  /* the last error of the user who reads it */
        _CTL_N,
};

struct ctl;
struct listings;

/* volume stays the caller's and must outlive ctl.  0 or negative errno. */
int ctl_new(struct ctl **out, struct volume *volume);
struct ctl *ctl_free(struct ctl *ctl);

/* The name of a kind ("create", …); and the kind of a name in the .ctl of dir, CTL_NONE if there is
 * no such file there. */
const char *ctl_name(enum ctl_kind kind);
enum ctl_kind ctl_lookup(const struct ctl *ctl, const struct node *dir, const char *name,
                         size_t length);
/* Type, permissions, owner, times, size 0; the caller sets st_ino. */
void ctl_stat(const struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct stat *st);

/* For the socket. */
struct listings *ctl_listings(const struct ctl *ctl);

/* Whether .ctl has this name. */
bool ctl_is_name(const struct ctl *ctl, const char *name);

/*
 * Makes a handle record.  writes: opened for writing.  0, -ENFILE (the user's share is used up, see
 * handles.h), -EACCES (admin, for others; or a file that can only be read), -ENXIO (.ctl itself and
 * the socket cannot be opened), -ENOMEM.
 */
int ctl_open(struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct caller *caller,
             bool writes, uint32_t *handle);
void ctl_close(struct ctl *ctl, uint32_t handle);

/*
 * Reads like pread(2).  A listing: see listing_read().  A command file: the text of the last failed
 * write, or else the usage; it begins at the reader's offset, whatever that is.  Events: the offset
 * is ignored.  Returns the count, or negative errno.  -EAGAIN: there is no event; ctl_await()
 * reports the next one.  -EINPROGRESS: not finished in this turn; call it again with `again` when a
 * job given to ctl_wait_turn() runs.
 */
ssize_t ctl_read(struct ctl *ctl, uint32_t handle, char *buffer, size_t size, uint64_t offset,
                 bool again);
int ctl_wait_turn(struct ctl *ctl, struct turns_job *job);
void ctl_cancel_turn(struct ctl *ctl, struct turns_job *job);
/* The target of .ctl/socket; "" if there is none. */
const char *ctl_socket_path(const struct ctl *ctl);

/*
 * Runs the commands of one write(2), the request `unique`.  Returns `size`, or negative errno; the
 * text is kept for reading.  -EPERM if another user than the opener writes.  Each line is a
 * transaction of its own.  Those that succeed are committed, except the last one, which is
 * committed with the reply.  -EINPROGRESS: a region is being populated, and that state is
 * committed; the function of ctl_set_reply() gets the result later, and commits.  A write that is
 * resent after a crash continues where it was; and so does one that got -ENOSPC and was not the
 * `last` try, of which no error is kept.
 */
ssize_t ctl_write(struct ctl *ctl, uint32_t handle, struct caller *caller, uint64_t unique,
                  const char *buffer, size_t size, bool last);
typedef void (*ctl_reply_fn)(void *userdata, uint64_t unique, int result);
void ctl_set_reply(struct ctl *ctl, ctl_reply_fn reply, void *userdata);
/* The caller of a write got a signal.  If it ends the caller, now or later, the write ends soon, with
 * -EINTR; any other signal has no effect. */
void ctl_signalled(struct ctl *ctl, uint64_t unique);

/*
 * For readers that wait for events.  ctl_tell() checks which of them have something to read, a few
 * in a turn of the loop.  It calls wake() with the key of a poll(2), 0 for none, and with the list
 * of ctl_await().
 */
typedef void (*ctl_wake_fn)(void *userdata, uint64_t key, void *readers);
void ctl_set_wake(struct ctl *ctl, ctl_wake_fn wake, void *userdata);
/* For TXN_AFTER_EVENTS. */
void ctl_tell(struct ctl *ctl);
/* Whether there is an event to read.  If not, wake() gets the key when there is. */
bool ctl_poll(struct ctl *ctl, uint32_t handle, uint64_t key);
/* Makes wake() be called with *readers, a list of the caller's that is kept with the handle.  NULL:
 * out of memory. */
void **ctl_await(struct ctl *ctl, uint32_t handle);
/* That list, NULL if there is none. */
void **ctl_readers(struct ctl *ctl, uint32_t handle);
