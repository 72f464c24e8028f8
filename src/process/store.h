/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * store: lets the mount and all regions outlive the death of every process of the daemon.
 *
 * A service manager (systemd, FileDescriptorStoreMax=) keeps descriptors for a service, and passes
 * them to its next main process.  We give it the connection to the kernel, the records, the socket,
 * and the private tmpfs of each limit, in which files that programs made have their names.  The
 * memory of other regions needs none: each has a backing id from its creation on, and the
 * connection, which has the ids, keeps the memfds behind them.  The records have the file handles
 * by which those are opened again.  So a region is stored in the transaction
 * that makes it, and gives back its memory when its id is closed.
 *
 * Owns nothing.  Never: decides when to start anew.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "records/journal.h"

/* The descriptors that the service manager has kept; -1 for none. */
struct stored {
        int fuse, records, socket;
        struct stored_tmpfs {
                uint32_t limit;
                int fd;
        } * tmpfs; /* to be freed by stored_close(), or by store_revive() */
        size_t n_tmpfs;
};

/* Whether there is a service manager that may keep descriptors; and whether we could continue with
 * what it keeps: files must be opened by their handles, which some containers forbid. */
bool store_exists(void);
bool store_works(void);
/* Takes what it has kept from the environment; the descriptors are the caller's. */
void store_take(struct stored *out);
/* Whether the mount can be continued with that: the connection still lives. */
bool stored_is_alive(const struct stored *stored);
void stored_close(struct stored *stored);

/* Gives the descriptors of the journal to the service manager, and waits until it has them. */
void store_put(struct journal *journal);
/* Gives it the private tmpfs of one more limit; -1: lets it drop that one. */
void store_put_tmpfs(uint32_t limit, int fd);
/* Lets the service manager drop them. */
void store_clear(struct journal *journal);

/*
 * Makes the records of a daemon that has died whole valid for this process: puts the descriptors
 * into them.  Connections to the socket end.  May be interrupted by a death at any instruction, and
 * is then begun again by the next process.  0 or negative errno.
 */
int store_revive(struct journal *journal, struct stored *stored);
