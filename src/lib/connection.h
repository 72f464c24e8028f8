/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * connection: the way to an iomemfs: its socket, or the files of its .ctl if there is no socket or
 * it cannot be reached (for example in a container that has only the mount).
 *
 * Owns the socket's descriptor.  It connects again if the connection was lost, or if it belongs to
 * the parent process since a fork(2).
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "iomem.h"

struct iomem_connection {
        pthread_mutex_t lock; /* held during a request */
        char *socket_path;    /* NULL: requests go by files */
        char *prefix;         /* the directory's path, before names on the socket; "" or "a/b/" */
        char *directory;      /* in front of names of files; NULL: only the socket is known */

        int fd;    /* -1: not connected */
        pid_t pid; /* process that connected */
        uint64_t tag;
        char *buffer; /* bytes that were received but not used yet */
        size_t used, size;
        int received_fd; /* descriptor that came with the bytes in buffer, -1 for none */
};

/* A parsed reply. */
struct reply {
        char *text; /* text after `ok`; terminated, to be freed */
        size_t length;
        int fd; /* -1 for none */
};

/* By the socket: exchange.c.  line: a request without tag and newline. */
enum {
        ASK_FOR_FD = 1,     /* the reply has a descriptor */
        ASK_REPEATABLE = 2, /* may be sent again if the connection breaks */
};
/* Sends a request and waits for the reply.  0, or the daemon's negative errno with its text.  The
 * caller must hold the lock, and frees out->text and closes out->fd. */
int exchange_ask(struct iomem_connection *connection, const char *line, unsigned int how,
                 struct reply *out);
int exchange_open(struct iomem_connection *connection);
void exchange_close(struct iomem_connection *connection);

/* By files: files.c.  Arguments as in iomem.h. */
/* mode: -1 for 0666 without the umask.  options: further words of the command. */
int files_create(struct iomem_connection *connection, const char *name, uint64_t size, int mode,
                 const char *options, int access);
int files_open(struct iomem_connection *connection, const char *name, int access);
/* directory: NULL for the connection's.  file: of .ctl. */
int files_command(struct iomem_connection *connection, const char *directory, const char *file,
                  const char *line);
int files_stat(struct iomem_connection *connection, const char *name, struct iomem_stat *out);
int files_list(struct iomem_connection *connection, const char *directory, bool all,
               iomem_list_fn fn, void *userdata);
int files_space(struct iomem_connection *connection, const char *directory, iomem_space_fn fn,
                void *userdata);
int files_wait(struct iomem_connection *connection, const char *name, int timeout_ms);
