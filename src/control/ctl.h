/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ctl: the files of .ctl.
 *
 * Every directory has one.  A file of it is addressed by (kind, directory); open ones are handle
 * records of the journal, whose text (a listing, or the last error) is in a memfd, so that a reader
 * goes on where it was when the worker has been restarted.
 *
 * Owns the handle records.  Never: knows FUSE; fs.c translates.
 */

#include <sys/stat.h>
#include "control/command.h"

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
        _CTL_N,
};

struct ctl;

int ctl_new(struct ctl **out, struct volume *volume);
struct ctl *ctl_free(struct ctl *ctl);

/* Name of a kind ("create", …), and the kind of a name in the .ctl of dir, CTL_NONE if there is
 * no such file there. */
const char *ctl_name(enum ctl_kind kind);
enum ctl_kind ctl_lookup(const struct ctl *ctl, const struct node *dir, const char *name,
                         size_t length);
/* Type, permissions, owner, times, size 0; st_ino is left to the caller. */
void ctl_stat(const struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct stat *st);

/* A handle record.  0, -ENFILE (table full), -EACCES (admin, for others), -ENXIO (.ctl itself and
 * the socket, which cannot be opened). */
int ctl_open(struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct caller *caller,
             uint32_t *handle);
void ctl_close(struct ctl *ctl, uint32_t handle);

/*
 * Reads like pread(2): a listing as it was when the handle last read from offset 0; the text of the
 * last failed write, or else the usage, which begin wherever the reader happens to be.  Count, or
 * negative errno: -EMFILE if the user has too many listings open.
 */
ssize_t ctl_read(struct ctl *ctl, uint32_t handle, struct caller *caller, char *buffer, size_t size,
                 uint64_t offset);
/* The target of .ctl/socket; "" if there is none. */
const char *ctl_socket_path(const struct ctl *ctl);

/*
 * Runs the commands of one write(2), the request `unique`.  `size`, or negative errno; the text is
 * kept for reading.  Each line is a transaction of its own, and all but the last of those that
 * succeed are committed: the last one goes with the reply.  -EINPROGRESS: a region is being
 * populated, which is committed; the result is told later by ctl_set_reply()'s function, which
 * commits.  A write that is resent after a crash goes on where it was.
 */
ssize_t ctl_write(struct ctl *ctl, uint32_t handle, struct caller *caller, uint64_t unique,
                  const char *buffer, size_t size);
typedef void (*ctl_reply_fn)(void *userdata, uint64_t unique, int result);
void ctl_set_reply(struct ctl *ctl, ctl_reply_fn reply, void *userdata);
/* The one who waits for a write has been interrupted: it ends soon, with -EINTR. */
void ctl_cancel(struct ctl *ctl, uint64_t unique);

/* Whether there is an event to read; if not, key is told by ctl_wake() when there is. */
bool ctl_poll(struct ctl *ctl, uint32_t handle, uint64_t key);
void ctl_wake(struct ctl *ctl, void (*wake)(void *userdata, uint64_t key), void *userdata);
