/* SPDX-License-Identifier: MIT */
#include "socket/disposal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

enum { PATIENCE_S = 1, CHUNK = 16 * 1024 };

bool disposal_refuse_rights(int listen_fd) {
        const char *testing = getenv("IOMEMFS_TESTING"), *older = getenv("IOMEMFS_TEST_PASSRIGHTS");
        int off = 0;

        /* For tests: behave as on a kernel that cannot refuse descriptors. */
        if (testing && older && strcmp(older, "no") == 0)
                return false;
        return setsockopt(listen_fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) == 0;
}

static bool refuses_rights(int fd) {
        socklen_t size = sizeof(int);
        int passes = 1;

        return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &size) == 0 && !passes;
}

/* Looks at bytes; returns how many can be read, or -EBADMSG if the next one has descriptors. */
static ssize_t peek(int fd, char *buffer, size_t size) {
        struct iovec iov = {.iov_base = buffer, .iov_len = size};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);

        if (n < 0)
                return -errno;
        /* There was no room for control data, and descriptors are the only kind that there can
         * be. */
        return message.msg_flags & MSG_CTRUNC ? -EBADMSG : n;
}

ssize_t disposal_receive(int fd, char *buffer, size_t size) {
        ssize_t n;

        if (!refuses_rights(fd)) {
                n = peek(fd, buffer, size);
                if (n <= 0)
                        return n;
                size = (size_t)n; /* read only the bytes that were looked at */
        }
        n = recv(fd, buffer, size, MSG_DONTWAIT);
        return n < 0 ? -errno : n;
}

/* Reads messages without descriptors.  True: nothing is left. */
static bool drain(int fd) {
        char chunk[CHUNK];
        ssize_t n;

        do
                n = peek(fd, chunk, sizeof(chunk));
        while (n > 0 && recv(fd, chunk, (size_t)n, MSG_DONTWAIT) > 0);
        return n != -EBADMSG;
}

/* May only call functions that are safe after a fork of a process with threads. */
static _Noreturn void disposal_process(int fd) {
        char chunk[CHUNK];
        sigset_t none;

        close_range(0, (unsigned int)fd - 1, 0);
        close_range((unsigned int)fd + 1, ~0U, 0);
        signal(SIGALRM, SIG_DFL);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(PATIENCE_S);
        /* No room is given for descriptors, so they are not installed and their files not flushed.
         * A client's FUSE file could make that flush last for ever. */
        while (recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT) > 0)
                ;
        _exit(0);
}

static void disposal_reap(struct disposal *disposal) {
        for (unsigned int i = 0; i < DISPOSAL_MAX; i++)
                if (disposal->running[i].pid > 0 &&
                    waitpid(disposal->running[i].pid, NULL, WNOHANG) != 0)
                        disposal->running[i].pid = 0;
}

/* A free slot, or else that of the oldest process, which is ended. */
static unsigned int disposal_slot(struct disposal *disposal) {
        for (unsigned int i = 0; i < DISPOSAL_MAX; i++)
                if (disposal->running[i].pid == 0)
                        return i;
        disposal->next = (disposal->next + 1) % DISPOSAL_MAX;
        kill(disposal->running[disposal->next].pid, SIGKILL);
        return disposal->next;
}

static unsigned int disposal_count(const struct disposal *disposal, uid_t uid) {
        unsigned int n = 0;

        for (unsigned int i = 0; i < DISPOSAL_MAX; i++)
                n += disposal->running[i].pid > 0 && disposal->running[i].uid == uid;
        return n;
}

int disposal_prepare_close(struct disposal *disposal, int fd, uid_t uid, bool must) {
        unsigned int slot;
        pid_t pid;

        disposal_reap(disposal);
        if (refuses_rights(fd))
                return 0;
        /* From here on the client's sends fail. */
        shutdown(fd, SHUT_RD);
        if (drain(fd))
                return 0;
        if (!must && disposal_count(disposal, uid) >= DISPOSAL_EACH)
                return -EAGAIN;
        slot = disposal_slot(disposal);
        pid = fork();
        if (pid == 0)
                disposal_process(fd);
        if (pid < 0) {
                log_line(LOG_WARNING, "cannot dispose of a client's descriptors: %m");
                return -EAGAIN;
        }
        disposal->running[slot].pid = pid;
        disposal->running[slot].uid = uid;
        return 0;
}

void disposal_close(struct disposal *disposal, int fd, uid_t uid) {
        disposal_prepare_close(disposal, fd, uid, true);
        close(fd);
}

void disposal_end(struct disposal *disposal) {
        for (unsigned int i = 0; i < DISPOSAL_MAX; i++)
                if (disposal->running[i].pid > 0)
                        kill(disposal->running[i].pid, SIGKILL);
        disposal_reap(disposal);
}
