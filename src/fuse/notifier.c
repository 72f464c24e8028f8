/* SPDX-License-Identifier: MIT */
#include "fuse/notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fuse/notify.h"
#include "records/layout.h"

struct message {
        uint64_t node;
        uint32_t is_entry;
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1];
};

static void message_tell(const struct message *message, int fuse_fd) {
        if (message->is_entry)
                notify_entry(fuse_fd, message->node, message->name, message->length);
        else
                notify_inode(fuse_fd, message->node, true);
}

/* Leaves open nothing but two descriptors; nobody waits for the end of our standard error. */
static void close_others(int one, int other) {
        int low = one < other ? one : other, high = one < other ? other : one;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
                dup2(null, fd);
        if (low > STDERR_FILENO + 1)
                close_range(STDERR_FILENO + 1, (unsigned int)low - 1, 0);
        if (high > low + 1)
                close_range((unsigned int)low + 1, (unsigned int)high - 1, 0);
        close_range((unsigned int)high + 1, ~0U, 0);
}

static _Noreturn void notifier_process(int socket_fd, int fuse_fd) {
        struct message message;

        prctl(PR_SET_NAME, "iomemfs-notify");
        close_others(socket_fd, fuse_fd);
        while (recv(socket_fd, &message, sizeof(message), 0) == sizeof(message)) {
                message_tell(&message, fuse_fd);
                if (send(socket_fd, "", 1, MSG_NOSIGNAL) != 1)
                        break;
        }
        _exit(0);
}

int notifier_start(int fuse_fd) {
        int fds[2];
        pid_t pid;
        int r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        pid = fork();
        r = -errno;
        if (pid == 0)
                notifier_process(fds[1], fuse_fd);
        close(fds[1]);
        if (pid > 0)
                return fds[0];
        close(fds[0]);
        return r;
}

static void notifier_tell(int notifier, int fuse_fd, const struct message *message) {
        char done;
        ssize_t n = -1;

        if (notifier >= 0 &&
            send(notifier, message, sizeof(*message), MSG_NOSIGNAL) == sizeof(*message))
                do
                        n = recv(notifier, &done, 1, 0);
                while (n < 0 && errno == EINTR);
        if (n != 1)
                message_tell(message, fuse_fd);
}

void notifier_tell_entry(int notifier, int fuse_fd, uint64_t parent, const char *name,
                         size_t length) {
        struct message message = {
                .node = parent,
                .is_entry = 1,
                .length = (uint32_t)length,
        };

        memcpy(message.name, name, length);
        notifier_tell(notifier, fuse_fd, &message);
}

void notifier_tell_inode(int notifier, int fuse_fd, uint64_t node) {
        notifier_tell(notifier, fuse_fd, &(struct message){.node = node});
}
