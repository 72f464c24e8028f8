/* SPDX-License-Identifier: MIT */
#include "process/store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "memory/backing.h"
#include "records/layout.h"

enum {
        FIRST_PASSED = 3,      /* as SD_LISTEN_FDS_START */
        BARRIER_MS = 3 * 1000, /* the service manager may be busy for so long */
};

static const char name_fuse[] = "iomemfs-fuse", name_records[] = "iomemfs-records",
                  name_socket[] = "iomemfs-socket", name_tmpfs[] = "iomemfs-tmpfs";

bool store_exists(void) {
        return getenv("NOTIFY_SOCKET") != NULL;
}

/* Taking */

static void stored_set(struct stored *stored, const char *name, int fd) {
        int *place = strcmp(name, name_fuse) == 0      ? &stored->fuse
                     : strcmp(name, name_records) == 0 ? &stored->records
                     : strcmp(name, name_socket) == 0  ? &stored->socket
                     : strcmp(name, name_tmpfs) == 0   ? &stored->tmpfs
                                                       : NULL;

        fcntl(fd, F_SETFD, FD_CLOEXEC);
        if (place && *place < 0)
                *place = fd;
        else
                close(fd);
}

void store_take(struct stored *out) {
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
        char *names = getenv("LISTEN_FDNAMES"), *name;
        int n = pid && count && atol(pid) == getpid() ? atoi(count) : 0;

        *out = (struct stored){-1, -1, -1, -1};
        for (int i = 0; i < n && names; i++) {
                name = strsep(&names, ":");
                stored_set(out, name, FIRST_PASSED + i);
        }
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
}

bool stored_is_alive(const struct stored *stored) {
        struct pollfd connection = {.fd = stored->fuse, .events = POLLIN};

        if (stored->fuse < 0 || stored->records < 0)
                return false;
        return poll(&connection, 1, 0) >= 0 && !(connection.revents & (POLLERR | POLLHUP));
}

void stored_close(struct stored *stored) {
        const int fds[] = {stored->fuse, stored->records, stored->socket, stored->tmpfs};

        /* The service manager has it as well, and nobody shall take it for one that is served. */
        if (stored->socket >= 0)
                shutdown(stored->socket, SHUT_RDWR);
        for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        *stored = (struct stored){-1, -1, -1, -1};
}

/* Giving */

static int put(int fd, const char *name) {
        char text[128];

        if (fd < 0)
                return 0;
        /* FDPOLL=0: it shall keep them whatever state they are in. */
        snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
        return log_notify_fd(fd, text);
}

/* Waits until the service manager has handled all that was sent before, as sd_notify_barrier(3). */
static int put_await(void) {
        struct pollfd end = {.events = 0};
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        r = log_notify_fd(fds[1], "BARRIER=1");
        close(fds[1]);
        end.fd = fds[0];
        if (r == 0)
                r = poll(&end, 1, BARRIER_MS) > 0 ? 0 : -ETIMEDOUT;
        close(fds[0]);
        return r;
}

void store_put(struct journal *journal) {
        const struct root *root = journal_root(journal);
        int r;

        r = put(root->fuse_fd, name_fuse);
        if (r == 0)
                r = put(journal_fd(journal), name_records);
        if (r == 0)
                r = put(root->listen_fd, name_socket);
        if (r == 0)
                r = put(root->tmpfs_fd, name_tmpfs);
        if (r == 0)
                r = put_await();
        if (r < 0)
                log_line(LOG_WARNING, "the service manager does not keep our descriptors: %s",
                         strerror(-r));
}

void store_clear(void) {
        const char *const names[] = {name_fuse, name_records, name_socket, name_tmpfs};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                log_notify_service("FDSTOREREMOVE=1\nFDNAME=%s", names[i]);
}

/* Reviving.  No worker lives, so the records are changed without a transaction. */

/* A connection of ours whose other end is closed: the server handles it as any that has ended. */
static int ended_connection(void) {
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        close(fds[1]);
        return fds[0];
}

/* Lines that were not carried out are dropped: whoever sent them sees the connection end. */
static int revive_client(struct client *client) {
        int fd = ended_connection();

        if (fd < 0)
                return fd;
        client->fd = fd;
        client->reply_fd = client->text_fd = -1;
        client->waiting = 0;
        client->deadline = 0;
        client->in_length = 0;
        client->out_length = client->out_sent = 0;
        memset(client->in, 0, sizeof(client->in));
        return 0;
}

static int revive_clients(struct journal *journal) {
        int r = 0;

        for (uint32_t i = 1; r == 0 && i <= journal_high(journal, TABLE_CLIENT); i++) {
                struct client *client = journal_get(journal, TABLE_CLIENT, i);

                if (client->id == i)
                        r = revive_client(client);
        }
        return r;
}

static void revive_regions(struct journal *journal) {
        const struct root *root = journal_root(journal);
        /* Handles are opened by a descriptor of a file, and that of a mount is none. */
        int tmpfs = openat(root->tmpfs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        unsigned int lost = 0;

        for (uint32_t i = 1; i <= journal_high(journal, TABLE_NODE); i++) {
                struct node *node = journal_get(journal, TABLE_NODE, i);

                if (node->id != i || !node_is_region(node) || node->fd < 0)
                        continue;
                node->fd = backing_open_handle(node->backing == BACKING_TMPFS ? tmpfs : -1,
                                               &node->handle);
                if (node->fd >= 0)
                        continue;
                node->fd = -1;
                lost++;
        }
        if (tmpfs >= 0)
                close(tmpfs);
        if (lost > 0)
                log_line(LOG_ERR, "%u regions were not kept: their memory is lost", lost);
}

int store_revive(struct journal *journal, const struct stored *stored) {
        struct root *root = journal_root(journal);
        ssize_t length = readlink("/proc/self/exe", root->settings.program, PATH_MAX - 1);

        if (length < 0)
                return -errno;
        root->settings.program[length] = '\0';
        root->fuse_fd = stored->fuse;
        root->listen_fd = stored->socket;
        root->tmpfs_fd = stored->tmpfs;
        root->accepting = 0;
        root->wakeup.fd = -1;
        root->wakeup.held = 0;
        root->log_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        log_setup(root->log_fd, root->settings.foreground, root->settings.verbose);
        revive_regions(journal);
        root->counters.revivals++;
        return revive_clients(journal);
}
