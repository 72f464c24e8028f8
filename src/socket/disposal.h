/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * disposal: ends connections whose clients sent descriptors.
 *
 * A descriptor that waits in a connection's queue is closed by whoever takes the message out, or
 * closes the connection last.  That close is as long as the sender likes: of a TCP socket with
 * SO_LINGER, for example.  Since Linux 6.16 a socket can refuse to have descriptors sent to it
 * (SO_PASSRIGHTS), and then there is nothing to do here.  Before, the daemon looks at each message
 * before it takes it (MSG_PEEK), takes none that has a descriptor, and leaves the connection to a
 * process that is there to be kept waiting.  That process has nothing but the connection, is not
 * in the daemon's descriptor table, never installs what it is sent, and ends itself when it takes
 * long.
 *
 * Owns the pids of these processes.  Never: waits for one of them.
 */

#include <stdbool.h>
#include <sys/types.h>

enum {
        DISPOSAL_MAX = 64, /* processes */
        DISPOSAL_EACH = 4, /* of a user */
};

struct disposal {
        struct {
                pid_t pid; /* 0: free */
                uid_t uid;
        } running[DISPOSAL_MAX];
        unsigned int next; /* the slot that is taken next if none is free */
};

/* Makes a socket refuse descriptors, and those that it accepts.  False: the kernel cannot. */
bool disposal_refuse_rights(int listen_fd);

/*
 * Receives bytes of a connection.  As recv(2) with MSG_DONTWAIT, with negative errno, and -EBADMSG
 * if descriptors come next: they are left where they are.
 */
ssize_t disposal_receive(int fd, char *buffer, size_t size);

/*
 * Before a connection is closed: nothing that is in it can keep us waiting then, and nothing more
 * comes.  -EAGAIN: not yet, there are enough processes that are at it for this user.
 * must: for what cannot wait; older processes make room.
 */
int disposal_prepare_close(struct disposal *disposal, int fd, uid_t uid, bool must);
/* The end of all of them. */
void disposal_end(struct disposal *disposal);
