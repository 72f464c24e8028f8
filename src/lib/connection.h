/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * connection: where an iomemfs is reached: at its socket, or, if there is none or it is out of
 * reach (in a container that sees the mount only), at the files of its .ctl.
 *
 * Owns the socket's descriptor.  A connection that was lost, or that is another process's since a
 * fork(2), is made anew.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "iomem.h"

struct iomem_connection {
        pthread_mutex_t lock; /* one request at a time */
        char *socket_path;    /* NULL: by files */
        char *prefix;         /* of names on the socket: where the directory is; "" or "a/b/" */
        char *directory;      /* of names as files; NULL: only the socket is known */

        int fd;    /* -1: not connected */
        pid_t pid; /* whose connection it is */
        uint64_t tag;
        char *buffer; /* received, not yet taken */
        size_t used, size;
        int received_fd; /* that came with what is in the buffer, -1 for none */
};

/* An answer, taken apart. */
struct reply {
        char *text; /* what follows `ok`; terminated, to be freed */
        size_t length;
        int fd; /* -1 for none */
};

/* By the socket: exchange.c.  line: a request without tag and newline. */
enum {
        ASK_FOR_FD = 1,     /* the answer brings a descriptor */
        ASK_REPEATABLE = 2, /* may be asked again if the connection breaks */
};
/* 0 or the daemon's negative errno, with its text. */
int exchange_ask(struct iomem_connection *connection, const char *line, unsigned int how,
                 struct reply *out);
int exchange_open(struct iomem_connection *connection);
void exchange_close(struct iomem_connection *connection);

/* By files: files.c.  Arguments as in iomem.h. */
/* mode: -1 for the umask's.  options: words that follow it. */
int files_create(struct iomem_connection *connection, const char *name, uint64_t size, int mode,
                 const char *options);
int files_open(struct iomem_connection *connection, const char *name, int access);
int files_command(struct iomem_connection *connection, const char *file, const char *line);
int files_stat(struct iomem_connection *connection, const char *name, struct iomem_stat *out);
int files_list(struct iomem_connection *connection, const char *directory, bool all,
               iomem_list_fn fn, void *userdata);
int files_wait(struct iomem_connection *connection, const char *name, int timeout_ms);
