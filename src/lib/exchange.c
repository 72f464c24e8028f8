/* SPDX-License-Identifier: MIT */
#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "error.h"
#include "rights.h"

enum { TAG_MAX = 24, PIECE = 64 * 1024 };
enum { ERRNO_END = 256 }; /* above all of Linux */

/* Sending or receiving has failed, so a new connection is needed. */
enum { BROKEN_SENDING = 1, BROKEN_RECEIVING = 2 };

int exchange_open(struct iomem_connection *connection) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        const char *path = connection->socket_path;
        int fd, r;

        if (strlen(path) >= sizeof(address.sun_path))
                return error_about(-ENAMETOOLONG, path);
        memcpy(address.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_about(-errno, path);
        do
                r = connect(fd, (struct sockaddr *)&address, sizeof(address));
        while (r < 0 && errno == EINTR);
        if (r < 0) {
                r = error_about(-errno, path);
                close(fd);
                return r;
        }
        connection->fd = fd;
        connection->pid = getpid();
        connection->used = 0;
        return 0;
}

static void received_fd_drop(struct iomem_connection *connection) {
        if (connection->received_fd >= 0)
                close(connection->received_fd);
        connection->received_fd = -1;
}

void exchange_close(struct iomem_connection *connection) {
        received_fd_drop(connection);
        if (connection->fd >= 0)
                close(connection->fd);
        connection->fd = -1;
        connection->used = 0;
}

/* After fork(2) the socket is the parent's.  Both processes would read each other's replies. */
static int exchange_ready(struct iomem_connection *connection) {
        if (connection->fd >= 0 && connection->pid != getpid())
                exchange_close(connection);
        return connection->fd >= 0 ? 0 : exchange_open(connection);
}

static int exchange_send(struct iomem_connection *connection, const char *line, size_t length) {
        while (length > 0) {
                ssize_t n = send(connection->fd, line, length, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return BROKEN_SENDING;
                line += n;
                length -= (size_t)n;
        }
        return 0;
}

static int buffer_reserve(struct iomem_connection *connection) {
        size_t size = connection->size;
        char *grown;

        if (size - connection->used >= PIECE)
                return 0;
        size = 2 * size + 2 * PIECE;
        grown = realloc(connection->buffer, size);
        if (!grown)
                return -ENOMEM;
        connection->buffer = grown;
        connection->size = size;
        return 0;
}

/* Receives bytes into the buffer, and the descriptor that comes with them. */
static int exchange_receive(struct iomem_connection *connection) {
        ssize_t n;
        int fd;

        if (buffer_reserve(connection) < 0)
                return -ENOMEM;
        n = rights_receive(&fd, connection->fd, connection->buffer + connection->used,
                           connection->size - connection->used - 1);
        if (n <= 0)
                return BROKEN_RECEIVING;
        if (fd >= 0) {
                received_fd_drop(connection);
                connection->received_fd = fd;
        }
        connection->used += (size_t)n;
        return 0;
}

/* Takes the first line (`length` bytes with its newline) off the buffer. */
static void buffer_take(struct iomem_connection *connection, size_t length) {
        connection->used -= length;
        memmove(connection->buffer, connection->buffer + length, connection->used);
}

/*
 * Waits for the line with our tag.  A line with another tag is the reply to an earlier request,
 * which was sent twice because the daemon was restarted meanwhile.  *length: with the newline.
 */
static int exchange_await(struct iomem_connection *connection, const char *tag, size_t *length) {
        for (;;) {
                char *end = connection->used ? memchr(connection->buffer, '\n', connection->used)
                                             : NULL;
                int r;

                if (!end) {
                        r = exchange_receive(connection);
                        if (r != 0)
                                return r;
                        continue;
                }
                *length = (size_t)(end - connection->buffer) + 1;
                if (strncmp(connection->buffer, tag, strlen(tag)) == 0)
                        return 0;
                /* If the daemon refuses the whole connection, its line has no tag. */
                if (connection->buffer[0] != '@')
                        return 0;
                buffer_take(connection, *length);
                received_fd_drop(connection);
        }
}

/* The number of an errno that the daemon names as strerrorname_np(3) does; EIO for unknown names. */
static int errno_of(const char *name) {
        for (int number = 1; number < ERRNO_END; number++) {
                const char *known = strerrorname_np(number);

                if (known && strcmp(name, known) == 0)
                        return number;
        }
        return EIO;
}

/* Parses `ENOENT frames: no such region`. */
static int reply_error(char *text) {
        char *space = strchr(text, ' ');

        if (space)
                *space = '\0';
        return error_set(-errno_of(text), "%s", space ? space + 1 : text);
}

/* Takes the reply, which is the line at the start of the buffer. */
static int reply_parse(struct iomem_connection *connection, const char *tag, size_t length,
                       struct reply *out) {
        char *line = connection->buffer;
        int r;

        line[length - 1] = '\0';
        if (strncmp(line, tag, strlen(tag)) == 0)
                line += strlen(tag);
        if (strncmp(line, "error ", 6) == 0) {
                r = reply_error(line + 6);
        } else if (strncmp(line, "ok", 2) == 0) {
                line += line[2] == ' ' ? 3 : 2;
                out->length = strlen(line);
                out->text = strdup(line);
                out->fd = connection->received_fd;
                connection->received_fd = -1;
                r = out->text ? 0 : error_about(-ENOMEM, "the answer");
        } else {
                r = error_set(-EBADMSG, "%s: not an answer of iomemfs", connection->socket_path);
        }
        buffer_take(connection, length);
        return r;
}

static int exchange_once(struct iomem_connection *connection, const char *tag, const char *line,
                         size_t length, struct reply *out) {
        size_t answer;
        int r;

        r = exchange_ready(connection);
        if (r < 0)
                return r;
        /* A daemon that refuses the connection gives the reason and hangs up.  So read it even if
         * sending fails. */
        r = exchange_send(connection, line, length);
        if (r == 0 || r == BROKEN_SENDING) {
                int sent = r;

                r = exchange_await(connection, tag, &answer);
                if (r == BROKEN_RECEIVING && sent != 0)
                        r = sent;
        }
        if (r != 0) {
                exchange_close(connection);
                return r < 0 ? error_about(r, connection->socket_path) : r;
        }
        return reply_parse(connection, tag, answer, out);
}

int exchange_ask(struct iomem_connection *connection, const char *line, unsigned int how,
                 struct reply *out) {
        char tag[TAG_MAX], *tagged;
        int length, r;

        *out = (struct reply){.fd = -1};
        snprintf(tag, sizeof(tag), "@%llu ", (unsigned long long)++connection->tag);
        length = asprintf(&tagged, "%s%s\n", tag, line);
        if (length < 0)
                return error_about(-ENOMEM, connection->socket_path);
        r = exchange_once(connection, tag, tagged, (size_t)length, out);
        /* A request that was not sent completely was not carried out; one that was may have
         * been. */
        if (r == BROKEN_SENDING || (r == BROKEN_RECEIVING && (how & ASK_REPEATABLE)))
                r = exchange_once(connection, tag, tagged, (size_t)length, out);
        free(tagged);
        if (r > 0)
                r = error_set(-ECONNRESET, "%s: the connection broke", connection->socket_path);
        if (r == 0 && (how & ASK_FOR_FD) && out->fd < 0) {
                free(out->text);
                r = error_set(-EBADMSG, "%s: the answer came without its descriptor",
                              connection->socket_path);
        }
        if (r == 0 && !(how & ASK_FOR_FD) && out->fd >= 0) {
                close(out->fd);
                out->fd = -1;
        }
        return r;
}
