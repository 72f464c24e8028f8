/* SPDX-License-Identifier: MIT */
#include "base/peer.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

bool peer_lives(int connection) {
        socklen_t size = sizeof(int);
        int pidfd;
        bool lives;

        if (getsockopt(connection, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
                return errno == ENOPROTOOPT;
        /* A zombie still has its pid.  EPERM: an ordinary user's daemon asks about another user's
         * process. */
        lives = syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 || errno == EPERM;
        close(pidfd);
        return lives;
}
