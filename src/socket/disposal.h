/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * disposal: ends connections whose clients sent descriptors.
 *
 * A descriptor that waits in a connection's queue is closed by the process that reads the message
 * or closes the connection last.  The sender decides how long that close takes: a TCP socket with
 * SO_LINGER, for example, can take minutes.  Since Linux 6.16 a socket can refuse descriptors
 * (SO_PASSRIGHTS), and this module has nothing to do.  On older kernels the daemon looks at each
 * message before it reads it (MSG_PEEK).  It reads none that has a descriptor, and leaves the
 * connection to a process of its own, which may wait.  That process has only the connection, is not
 * in the daemon's descriptor table, does not install the descriptors that were sent, and ends
 * itself if it takes long.
 *
 * Owns the pids of these processes.  Never: waits for one of them.
 */

#include <stdbool.h>
#include <sys/types.h>

enum {
        DISPOSAL_MAX = 64, /* processes */
        DISPOSAL_EACH = 4, /* of one user */
};

struct disposal {
        struct {
                pid_t pid; /* 0: free */
                uid_t uid;
        } running[DISPOSAL_MAX];
        unsigned int next; /* the slot that is reused next if none is free */
};

/* Makes a socket, and those that it accepts, refuse descriptors.  False: the kernel cannot do
 * that. */
bool disposal_refuse_rights(int listen_fd);

/*
 * Receives bytes of a connection, as recv(2) with MSG_DONTWAIT.  Returns their number, negative
 * errno, or -EBADMSG if descriptors come next; these stay in the queue.
 */
ssize_t disposal_receive(int fd, char *buffer, size_t size);

/*
 * Prepares a connection for its close: after that, close(2) does not wait, and the client cannot
 * send any more.  0, or -EAGAIN: not yet, because this user has enough processes. must: for a
 * connection that cannot wait; the oldest process then makes room.
 */
int disposal_prepare_close(struct disposal *disposal, int fd, uid_t uid, bool must);
/* Prepares and closes a connection that has no record. */
void disposal_close(struct disposal *disposal, int fd, uid_t uid);
/* Ends all processes. */
void disposal_end(struct disposal *disposal);
