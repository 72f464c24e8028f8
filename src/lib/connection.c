/* SPDX-License-Identifier: MIT */
#include "connection.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "error.h"

#define DEFAULT_MOUNT "/mnt/mem"

enum { ROOT_INODE = 1 };

/* The target of the directory's .ctl/socket, to be freed, or NULL. */
static char *socket_of(const char *directory) {
        char link[PATH_MAX], target[PATH_MAX];
        ssize_t n;

        snprintf(link, sizeof(link), "%s/.ctl/socket", directory);
        n = readlink(link, target, sizeof(target) - 1);
        if (n <= 0)
                return NULL;
        target[n] = '\0';
        return strdup(target);
}

/*
 * The directory's path below the root of its file system, as "" or "a/b/", to be freed.  NULL if
 * the root cannot be seen: then names on the socket differ from those that are visible here.
 */
static char *prefix_of(const char *directory) {
        char path[PATH_MAX];
        struct stat st, above;
        size_t length = strlen(directory), root = length;

        snprintf(path, sizeof(path), "%s", directory);
        if (stat(path, &st) < 0)
                return NULL;
        while (st.st_ino != ROOT_INODE) {
                char *slash = strrchr(path, '/');

                if (!slash || slash == path)
                        return NULL;
                *slash = '\0';
                if (stat(path, &above) < 0 || above.st_dev != st.st_dev)
                        return NULL;
                st = above;
                root = strlen(path);
        }
        snprintf(path, sizeof(path), "%s%s", root < length ? directory + root + 1 : "",
                 root < length ? "/" : "");
        return strdup(path);
}

static int connect_directory(struct iomem_connection *connection, const char *where) {
        char control[PATH_MAX];

        snprintf(control, sizeof(control), "%s/.ctl/create", where);
        if (access(control, F_OK) < 0)
                return error_set(-ENODEV, "%s: no iomemfs is mounted there", where);
        connection->directory = realpath(where, NULL);
        if (!connection->directory)
                return error_about(-errno, where);
        connection->prefix = prefix_of(connection->directory);
        if (connection->prefix)
                connection->socket_path = socket_of(connection->directory);
        if (connection->socket_path && exchange_open(connection) < 0) {
                free(connection->socket_path);
                connection->socket_path = NULL;
        }
        return 0;
}

static int connect_socket(struct iomem_connection *connection, const char *where) {
        connection->socket_path = strdup(where);
        connection->prefix = strdup("");
        if (!connection->socket_path || !connection->prefix)
                return error_about(-ENOMEM, where);
        return exchange_open(connection);
}

static int connect_where(struct iomem_connection *connection, const char *where) {
        struct stat st;

        if (stat(where, &st) < 0)
                return error_about(-errno, where);
        if (S_ISDIR(st.st_mode))
                return connect_directory(connection, where);
        if (S_ISSOCK(st.st_mode))
                return connect_socket(connection, where);
        return error_set(-ENOTSOCK, "%s: neither a mount point nor a socket", where);
}

int iomem_connect(struct iomem_connection **out, const char *where) {
        struct iomem_connection *connection;
        int r;

        *out = NULL;
        if (!where)
                where = getenv("IOMEMFS");
        if (!where || !where[0])
                where = DEFAULT_MOUNT;
        connection = calloc(1, sizeof(*connection));
        if (!connection)
                return error_about(-ENOMEM, where);
        pthread_mutex_init(&connection->lock, NULL);
        connection->fd = connection->received_fd = -1;
        r = connect_where(connection, where);
        if (r < 0) {
                iomem_disconnect(connection);
                return r;
        }
        *out = connection;
        return 0;
}

void iomem_disconnect(struct iomem_connection *connection) {
        if (!connection)
                return;
        exchange_close(connection);
        pthread_mutex_destroy(&connection->lock);
        free(connection->socket_path);
        free(connection->prefix);
        free(connection->directory);
        free(connection->buffer);
        free(connection);
}
