/* SPDX-License-Identifier: MIT */
#include "iomem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "connection.h"
#include "error.h"
#include "json.h"
#include "name.h"

/* Regions by name, by the socket or by files. */

enum { LINE_MAX_BYTES = NAME_ESCAPED_MAX + 256 };

/* Sends a request under the connection's lock: the verb, the name, and the rest of the line. */
static int ask(struct iomem_connection *connection, unsigned int how, struct reply *reply,
               const char *verb, const char *name, const char *rest) {
        char escaped[NAME_ESCAPED_MAX], line[LINE_MAX_BYTES];
        int r;

        name_escape(escaped, connection->prefix, name);
        snprintf(line, sizeof(line), "%s %s%s", verb, escaped, rest);
        pthread_mutex_lock(&connection->lock);
        r = exchange_ask(connection, line, how, reply);
        pthread_mutex_unlock(&connection->lock);
        return r;
}

/* For replies without text. */
static int ask_plainly(struct iomem_connection *connection, unsigned int how, const char *verb,
                       const char *name, const char *rest) {
        struct reply reply;
        int r = ask(connection, how, &reply, verb, name, rest);

        if (r < 0)
                return r;
        free(reply.text);
        return how & ASK_FOR_FD ? reply.fd : 0;
}

static void append(char *buffer, size_t size, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static void append(char *buffer, size_t size, const char *format, ...) {
        size_t used = strlen(buffer);
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(buffer + used, size - used, format, arguments);
        va_end(arguments);
}

static const struct {
        unsigned int flag;
        const char *word;
} create_options[] = {
        {IOMEM_FIXED, "fixed"},
        {IOMEM_EPHEMERAL, "ephemeral"},
        {IOMEM_POPULATE, "populate"},
        {IOMEM_HUGE, "huge"},
        {IOMEM_OWNER_PROCESS, "owner=process"},
        {IOMEM_OWNER_SERVICE, "owner=service"},
        {IOMEM_OWNER_CONTAINER, "owner=container"},
};

int iomem_create(struct iomem_connection *connection, const char *name, uint64_t size, int mode,
                 unsigned int flags) {
        char options[128] = "", rest[192];
        bool read_only = flags & IOMEM_READ_ONLY;
        int r = name_check(name);

        if (r < 0)
                return r;
        flags &= ~IOMEM_READ_ONLY;
        for (size_t i = 0; i < sizeof(create_options) / sizeof(*create_options); i++)
                if (flags & create_options[i].flag) {
                        append(options, sizeof(options), " %s", create_options[i].word);
                        flags &= ~create_options[i].flag;
                }
        if (flags != 0 || mode > 0777)
                return error_set(-EINVAL, "%s: unknown flags, or a mode above 0777", name);
        if (!connection->socket_path)
                return files_create(connection, name, size, mode, options,
                                    read_only ? IOMEM_READ : IOMEM_WRITE);
        if (read_only)
                append(options, sizeof(options), " ro");
        if (mode >= 0)
                append(options, sizeof(options), " mode=%o", (unsigned int)mode);
        snprintf(rest, sizeof(rest), " %llu%s", (unsigned long long)size, options);
        return ask_plainly(connection, ASK_FOR_FD, "create", name, rest);
}

int iomem_open(struct iomem_connection *connection, const char *name, int access) {
        int r = name_check(name);

        if (r < 0)
                return r;
        if (!connection->socket_path)
                return files_open(connection, name, access);
        return ask_plainly(connection, ASK_FOR_FD | ASK_REPEATABLE,
                           access == IOMEM_WRITE ? "open rw" : "open ro", name, "");
}

/* A command for which .ctl has a file. */
static int command(struct iomem_connection *connection, unsigned int how, const char *verb,
                   const char *name, const char *rest) {
        char escaped[NAME_ESCAPED_MAX], line[LINE_MAX_BYTES];
        int r = name_check(name);

        if (r < 0)
                return r;
        if (connection->socket_path)
                return ask_plainly(connection, how, verb, name, rest);
        name_escape(escaped, "", name);
        snprintf(line, sizeof(line), "%s%s\n", escaped, rest);
        return files_command(connection, NULL, verb, line);
}

int iomem_resize(struct iomem_connection *connection, const char *name, uint64_t size) {
        char rest[32];

        snprintf(rest, sizeof(rest), " %llu", (unsigned long long)size);
        return command(connection, ASK_REPEATABLE, "resize", name, rest);
}

int iomem_resize_unused(struct iomem_connection *connection, const char *name, uint64_t size) {
        char rest[48];

        snprintf(rest, sizeof(rest), " %llu unused", (unsigned long long)size);
        return command(connection, ASK_REPEATABLE, "resize", name, rest);
}

int iomem_seal(struct iomem_connection *connection, const char *name, unsigned int seals) {
        char rest[64] = "";

        if (seals == 0 || seals >> 3 != 0)
                return error_set(-EINVAL, "%s: no seals, or unknown ones", name ? name : "");
        append(rest, sizeof(rest), "%s%s%s", seals & IOMEM_SEAL_SHRINK ? ",shrink" : "",
               seals & IOMEM_SEAL_GROW ? ",grow" : "", seals & IOMEM_SEAL_WRITE ? ",write" : "");
        rest[0] = ' ';
        return command(connection, ASK_REPEATABLE, "seal", name, rest);
}

int iomem_remove(struct iomem_connection *connection, const char *name) {
        return command(connection, 0, "remove", name, "");
}

int iomem_stat(struct iomem_connection *connection, const char *name, struct iomem_stat *out) {
        struct reply reply;
        int r = name_check(name);

        if (r < 0)
                return r;
        if (!connection->socket_path)
                return files_stat(connection, name, out);
        r = ask(connection, ASK_REPEATABLE, &reply, "stat", name, "");
        if (r < 0)
                return r;
        r = json_region(reply.text, reply.length, out);
        free(reply.text);
        return r < 0 ? error_about(r, name) : 0;
}

int iomem_limit(struct iomem_connection *connection, const char *directory, uint64_t size,
                uint64_t inodes) {
        char rest[96] = "";
        int r = name_check(directory);

        if (r < 0)
                return r;
        if (size > 0)
                append(rest, sizeof(rest), " size=%llu", (unsigned long long)size);
        if (inodes > 0)
                append(rest, sizeof(rest), " nr_inodes=%llu", (unsigned long long)inodes);
        if (!rest[0])
                append(rest, sizeof(rest), " none");
        if (connection->socket_path)
                return ask_plainly(connection, ASK_REPEATABLE, "limit", directory, rest);
        append(rest, sizeof(rest), "\n");
        return files_command(connection, directory, "limit", rest + 1);
}

/* The socket's list has names relative to the directory that was listed. */
static int list_ask(struct iomem_connection *connection, const char *verb, const char *directory,
                    struct reply *reply) {
        char path[4096 + 1];
        int r;

        snprintf(path, sizeof(path), "%s%s", connection->prefix, directory ? directory : "");
        if (path[0] && path[strlen(path) - 1] == '/')
                path[strlen(path) - 1] = '\0';
        if (path[0]) {
                char escaped[NAME_ESCAPED_MAX], line[LINE_MAX_BYTES];

                name_escape(escaped, "", path);
                snprintf(line, sizeof(line), "%s %s", verb, escaped);
                pthread_mutex_lock(&connection->lock);
                r = exchange_ask(connection, line, ASK_REPEATABLE, reply);
        } else {
                pthread_mutex_lock(&connection->lock);
                r = exchange_ask(connection, verb, ASK_REPEATABLE, reply);
        }
        pthread_mutex_unlock(&connection->lock);
        return r;
}

int iomem_list(struct iomem_connection *connection, const char *directory, unsigned int flags,
               iomem_list_fn fn, void *userdata) {
        bool all = flags & IOMEM_LIST_POPULATING;
        struct reply reply;
        int r = directory ? name_check(directory) : 0;

        if (r < 0)
                return r;
        if (flags & ~IOMEM_LIST_POPULATING)
                return error_set(-EINVAL, "unknown flags of a list");
        if (!connection->socket_path)
                return files_list(connection, directory, all, fn, userdata);
        r = list_ask(connection, "list", directory, &reply);
        if (r < 0)
                return r;
        r = json_regions(reply.text, reply.length, all, fn, userdata);
        free(reply.text);
        return r == -EBADMSG ? error_about(r, "the list of regions") : r;
}

int iomem_space(struct iomem_connection *connection, const char *directory, iomem_space_fn fn,
                void *userdata) {
        struct reply reply;
        int r = directory ? name_check(directory) : 0;

        if (r < 0)
                return r;
        if (!connection->socket_path)
                return files_space(connection, directory, fn, userdata);
        r = list_ask(connection, "limits", directory, &reply);
        if (r < 0)
                return r;
        r = json_spaces(reply.text, reply.length, fn, userdata);
        free(reply.text);
        return r == -EBADMSG ? error_about(r, "the list of limits") : r;
}

/* Uses a connection of its own, so that other threads need not wait. */
static int wait_by_socket(struct iomem_connection *connection, const char *name, int timeout_ms) {
        struct iomem_connection *own;
        char rest[32] = "";
        int r;

        if (timeout_ms >= 0)
                snprintf(rest, sizeof(rest), " %d.%03d", timeout_ms / 1000, timeout_ms % 1000);
        r = iomem_connect(&own, connection->socket_path);
        if (r < 0)
                return r;
        free(own->prefix);
        own->prefix = strdup(connection->prefix);
        r = own->prefix ? ask_plainly(own, ASK_REPEATABLE, "wait", name, rest)
                        : error_about(-ENOMEM, name);
        iomem_disconnect(own);
        return r;
}

int iomem_wait(struct iomem_connection *connection, const char *name, int timeout_ms) {
        int r = name_check(name);

        if (r < 0)
                return r;
        if (!connection->socket_path)
                return files_wait(connection, name, timeout_ms);
        if (timeout_ms == 0) {
                struct iomem_stat ignored;

                r = iomem_stat(connection, name, &ignored);
                return r == -ENOENT ? error_set(-ETIMEDOUT, "%s: it is not there", name) : r;
        }
        return wait_by_socket(connection, name, timeout_ms);
}
