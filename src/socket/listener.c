/* SPDX-License-Identifier: MIT */
#include "socket/listener.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "base/peer.h"
#include "socket/disposal.h"

enum {
        /* Small, so that unread replies are stored in the client's record and counted there, not by
         * the kernel.  The kernel doubles it. */
        LISTENER_SEND_BUFFER = 16 * 1024,
        LISTENER_BACKLOG = 4096,
        LISTENER_PATIENCE = 500, /* times that a path is found in use before it is given up */
        LISTENER_LOOK_NS = 10 * 1000 * 1000, /* between them */
        OVERFLOW_ID = 65534, /* the id that the kernel shows for ids outside of our namespace */
};

static int address_set(struct sockaddr_un *address, const char *path) {
        *address = (struct sockaddr_un){.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof(address->sun_path))
                return -ENAMETOOLONG;
        memcpy(address->sun_path, path, strlen(path) + 1);
        return 0;
}

static int socket_new(int flags) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

        return fd < 0 ? -errno : fd;
}

/* Whether another process listens there. */
static bool socket_is_live(const struct sockaddr_un *address) {
        int fd = socket_new(SOCK_NONBLOCK), r;

        if (fd < 0)
                return false;
        r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
        close(fd);
        return r == 0 || r == -EAGAIN; /* EAGAIN: it lives, and its queue is full */
}

/* A name beside path that nobody can foresee.  -ENAMETOOLONG: there is no room for it. */
static int address_set_temporary(struct sockaddr_un *address, const char *path) {
        char name[PATH_MAX];
        uint32_t random;

        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        snprintf(name, sizeof(name), "%s.%08x", path, (unsigned int)random);
        return address_set(address, name);
}

/*
 * bind(2) must set the mode already.  The directory may be one that other users can write to; so a
 * later chmod(2) of the path could hit another file.
 */
static int socket_bind_open(int fd, const struct sockaddr_un *address) {
        mode_t mask = umask(0111);
        int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

        umask(mask);
        return r;
}

/* 0 if the path is free, or has the socket of a dead process; otherwise -EADDRINUSE. */
static int path_check(const char *path, const struct sockaddr_un *address) {
        struct stat st;

        for (int looks = 0; looks < LISTENER_PATIENCE; looks++) {
                if (lstat(path, &st) < 0)
                        return 0;
                if (!S_ISSOCK(st.st_mode))
                        return -EADDRINUSE;
                if (!socket_is_live(address))
                        return 0;
                nanosleep(&(struct timespec){.tv_nsec = LISTENER_LOOK_NS}, NULL);
        }
        return -EADDRINUSE;
}

/* Binds to a temporary name and renames it into place, so that there is always a listener. */
static int socket_bind(int fd, const char *path) {
        struct sockaddr_un address, temporary;
        int r;

        r = address_set(&address, path);
        if (r == 0)
                r = path_check(path, &address);
        if (r < 0)
                return r;
        r = address_set_temporary(&temporary, path);
        if (r == -ENAMETOOLONG) {
                /* Bind in place, with a short gap. */
                temporary = address;
                unlink(path);
        } else if (r < 0) {
                return r;
        }
        r = socket_bind_open(fd, &temporary);
        if (r < 0)
                return r;
        /* Before any client can connect. */
        disposal_refuse_rights(fd);
        if (listen(fd, LISTENER_BACKLOG) < 0 || rename(temporary.sun_path, path) < 0) {
                r = -errno;
                unlink(temporary.sun_path);
        }
        return r;
}

static void directory_make(const char *path) {
        char *copy = strdup(path);

        if (copy)
                mkdir(dirname(copy), 0755); /* if it fails, bind(2) reports the error */
        free(copy);
}

int listener_open(const char *path, bool make_directory, struct file_identity *file) {
        struct stat st;
        int fd, r;

        fd = socket_new(SOCK_NONBLOCK);
        if (fd < 0)
                return fd;
        if (make_directory)
                directory_make(path);
        r = socket_bind(fd, path);
        if (r == 0 && lstat(path, &st) < 0)
                r = -errno;
        if (r < 0) {
                close(fd);
                return r;
        }
        *file = (struct file_identity){st.st_dev, st.st_ino};
        return fd;
}

void listener_remove(const char *path, const struct file_identity *file) {
        struct stat st;

        if (path[0] && lstat(path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
                unlink(path);
}

/* Whether our namespace has every id of the machine, as the initial one does. */
static bool ids_are_complete(void) {
        static enum { UNKNOWN, COMPLETE, PARTIAL } ids; /* the map of a process is set only once */
        unsigned long inside, outside, count;
        FILE *map;

        if (ids != UNKNOWN)
                return ids == COMPLETE;
        map = fopen("/proc/self/uid_map", "re");
        if (!map) /* a kernel without user namespaces */
                return true;
        ids = fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3 && inside == 0 &&
                              count == UINT32_MAX
                      ? COMPLETE
                      : PARTIAL;
        fclose(map);
        return ids == COMPLETE;
}

int listener_identify(int fd, struct caller *out) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        *out = (struct caller){0};
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        if (credentials.uid == OVERFLOW_ID && !ids_are_complete())
                return -EOWNERDEAD;
        out->uid = credentials.uid;
        out->gid = credentials.gid;
        out->pid = credentials.pid;
        /* In this order, because the pid may have become another process's. */
        out->powerless =
                credentials.uid == 0 && !(caller_has_power(credentials.pid) && peer_lives(fd));
        return 0;
}

int listener_accept(int listen_fd) {
        int size = LISTENER_SEND_BUFFER, fd;

        fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
                return -errno;
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        return fd;
}

/* All groups outside of our namespace have the same id, so none of them may count. */
static void drop_nameless(struct caller *caller) {
        size_t n = 0;

        if (ids_are_complete())
                return;
        for (size_t i = 0; i < caller->n_groups; i++)
                if (caller->groups[i] != OVERFLOW_ID)
                        caller->groups[n++] = caller->groups[i];
        caller->n_groups = n;
        if (caller->gid == OVERFLOW_ID)
                caller->gid = (gid_t)-1;
}

int listener_groups(int fd, struct caller *caller) {
        socklen_t size = 0;

        int r = 0;

        caller->has_groups = true;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) < 0)
                r = -errno;
        if (r == -ERANGE) {
                caller->groups = malloc(size);
                if (!caller->groups)
                        return -ENOMEM;
                r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, caller->groups, &size) < 0 ? -errno
                                                                                         : 0;
                caller->n_groups = r == 0 ? size / sizeof(gid_t) : 0;
        }
        drop_nameless(caller);
        return r;
}

bool listener_is_own(int fd, int listen_fd) {
        struct sockaddr_un ours, theirs;
        socklen_t size = sizeof(ours), their_size = sizeof(theirs);
        int listening = 0, type = 0;
        socklen_t int_size = sizeof(int);

        if (listen_fd < 0 || getsockname(listen_fd, (struct sockaddr *)&ours, &size) < 0 ||
            getsockname(fd, (struct sockaddr *)&theirs, &their_size) < 0)
                return false;
        if (size != their_size || size <= offsetof(struct sockaddr_un, sun_path) ||
            memcmp(&ours, &theirs, size) != 0)
                return false;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_size) < 0 || type != SOCK_STREAM)
                return false;
        return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &int_size) == 0 && !listening;
}
