/* SPDX-License-Identifier: MIT */
#include "process/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "memory/backing.h"
#include "memory/descriptor.h"
#include "memory/limit.h"

enum {
        FIRST_PASSED = 3,      /* as SD_LISTEN_FDS_START */
        BARRIER_MS = 3 * 1000, /* the service manager may be busy for so long */
};

static const char name_fuse[] = "iomemfs-fuse", name_records[] = "iomemfs-records",
                  name_socket[] = "iomemfs-socket";
#define NAME_TMPFS "iomemfs-tmpfs-%" PRIu32 /* with the id of the limit */

bool store_exists(void) {
        return getenv("NOTIFY_SOCKET") != NULL;
}

bool store_works(void) {
        return store_exists() && backing_handles_work();
}

/* Taking */

/* There is no memory for it: the regions in it are lost. */
static bool stored_add_tmpfs(struct stored *stored, uint32_t limit, int fd) {
        size_t n = stored->n_tmpfs + 1;
        struct stored_tmpfs *grown = realloc(stored->tmpfs, n * sizeof(*grown));

        if (!grown)
                return false;
        grown[stored->n_tmpfs] = (struct stored_tmpfs){limit, fd};
        stored->tmpfs = grown;
        stored->n_tmpfs = n;
        return true;
}

static void stored_set(struct stored *stored, const char *name, int fd) {
        int *place = strcmp(name, name_fuse) == 0      ? &stored->fuse
                     : strcmp(name, name_records) == 0 ? &stored->records
                     : strcmp(name, name_socket) == 0  ? &stored->socket
                                                       : NULL;
        uint32_t limit;

        fcntl(fd, F_SETFD, FD_CLOEXEC);
        if (place && *place < 0)
                *place = fd;
        else if (place || sscanf(name, NAME_TMPFS, &limit) != 1 ||
                 !stored_add_tmpfs(stored, limit, fd))
                close(fd);
}

void store_take(struct stored *out) {
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
        char *names = getenv("LISTEN_FDNAMES"), *name;
        int n = pid && count && atol(pid) == getpid() ? atoi(count) : 0;

        *out = (struct stored){-1, -1, -1, NULL, 0};
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
        const int fds[] = {stored->fuse, stored->records, stored->socket};

        /* The service manager has it as well, and nobody shall take it for one that is served. */
        if (stored->socket >= 0)
                shutdown(stored->socket, SHUT_RDWR);
        for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        for (size_t i = 0; i < stored->n_tmpfs; i++)
                close(stored->tmpfs[i].fd);
        free(stored->tmpfs);
        *stored = (struct stored){-1, -1, -1, NULL, 0};
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

static int put_tmpfs(uint32_t limit, int fd) {
        char name[64];

        snprintf(name, sizeof(name), NAME_TMPFS, limit);
        return put(fd, name);
}

void store_put_tmpfs(uint32_t limit, int fd) {
        int r;

        if (fd < 0) {
                log_notify_service("FDSTOREREMOVE=1\nFDNAME=" NAME_TMPFS, limit);
                return;
        }
        r = put_tmpfs(limit, fd);
        /* It finds the service by its sender, who must not have died. */
        if (r == 0)
                r = put_await();
        if (r < 0)
                log_line(LOG_WARNING, "the service manager does not keep a limit's tmpfs: %s",
                         strerror(-r));
}

static int put_limits(struct journal *journal) {
        int r = 0;

        for (uint32_t i = 1; r == 0 && i <= journal_high(journal, TABLE_LIMIT); i++) {
                const struct limit *limit = limit_get(journal, i);

                if (limit)
                        r = put_tmpfs(i, limit->tmpfs_fd);
        }
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
                r = put_limits(journal);
        if (r == 0)
                r = put_await();
        if (r < 0)
                log_line(LOG_WARNING, "the service manager does not keep our descriptors: %s",
                         strerror(-r));
}

void store_clear(struct journal *journal) {
        const char *const names[] = {name_fuse, name_records, name_socket};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                log_notify_service("FDSTOREREMOVE=1\nFDNAME=%s", names[i]);
        for (uint32_t i = 1; i <= journal_high(journal, TABLE_LIMIT); i++)
                if (limit_get(journal, i))
                        store_put_tmpfs(i, -1);
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

/* Gives each limit its tmpfs, and closes those that belong to none. */
static void revive_limits(struct journal *journal, struct stored *stored) {
        for (uint32_t i = 1; i <= journal_high(journal, TABLE_LIMIT); i++) {
                struct limit *limit = limit_get(journal, i);

                if (!limit)
                        continue;
                limit->tmpfs_fd = -1;
                limit->watched = 0; /* the group that was told has ended */
        }
        for (size_t i = 0; i < stored->n_tmpfs; i++) {
                struct limit *limit = limit_get(journal, stored->tmpfs[i].limit);

                if (limit && limit->tmpfs_fd < 0)
                        limit->tmpfs_fd = stored->tmpfs[i].fd;
                else
                        close(stored->tmpfs[i].fd);
        }
        free(stored->tmpfs);
        stored->tmpfs = NULL;
        stored->n_tmpfs = 0;
}

/* Opens the node's file with the number that it had.  0 or negative errno. */
static int revive_region(struct node *node) {
        int r = backing_open_handle(&node->handle);

        if (r >= 0)
                r = descriptor_move(r, node->fd);
        if (r < 0)
                node->fd = -1;
        return r;
}

/* Files of a private tmpfs have names there; other regions have a descriptor. */
static void revive_regions(struct journal *journal) {
        unsigned int lost = 0;
        int reason = 0, r;

        for (uint32_t i = 1; i <= journal_high(journal, TABLE_DESCRIPTOR); i++) {
                const struct descriptor *record = journal_get(journal, TABLE_DESCRIPTOR, i);
                struct node *node =
                        record->id == i ? journal_get(journal, TABLE_NODE, record->node) : NULL;

                if (!node || node->id != record->node || node->fd != descriptor_number(journal, i))
                        continue;
                r = revive_region(node);
                if (r == 0)
                        continue;
                reason = r;
                lost++;
        }
        if (lost > 0)
                log_line(LOG_ERR, "%u regions cannot be opened again and are lost; the last: %s",
                         lost, strerror(-reason));
}

int store_revive(struct journal *journal, struct stored *stored) {
        struct root *root = journal_root(journal);
        ssize_t length = readlink("/proc/self/exe", root->settings.program, PATH_MAX - 1);

        if (length < 0)
                return -errno;
        root->settings.program[length] = '\0';
        root->fuse_fd = stored->fuse;
        root->listen_fd = stored->socket;
        root->closes_fd = -1;
        revive_limits(journal, stored);
        root->accepting = 0;
        root->wakeup.fd = -1;
        root->wakeup.held = 0;
        root->log_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        log_setup(root->log_fd, root->settings.foreground, root->settings.verbose);
        revive_regions(journal);
        root->counters.revivals++;
        return revive_clients(journal);
}
