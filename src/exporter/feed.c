/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/event_json.h"
#include "exporter/exporter.h"

/*
 * feed: a reader of .ctl/events for one connection.  It has a thread of its own, which waits here.
 * A comment is sent now and then, so that a browser that has gone is noticed.
 */

enum { BUFFER = 64 * 1024, LOOK_MS = 500, COMMENT_MS = 10 * 1000 };

struct feed {
        const struct exporter *exporter;
        int fd;
        int quiet_ms;
        char in[BUFFER]; /* lines that were read */
        size_t used;
        char *out; /* what is to be sent, or NULL */
        size_t out_size, sent;
        bool begun;
};

int feed_open(struct feed **out, const struct exporter *exporter, const char *mount) {
        struct feed *feed = calloc(1, sizeof(*feed));
        char path[PATH_MAX + 32];

        if (!feed)
                return -ENOMEM;
        snprintf(path, sizeof(path), "%s/.ctl/events", mount);
        feed->exporter = exporter;
        feed->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (feed->fd < 0) {
                int r = -errno;

                free(feed);
                return r;
        }
        *out = feed;
        return 0;
}

void feed_free(struct feed *feed) {
        if (!feed)
                return;
        close(feed->fd);
        free(feed->out);
        free(feed);
}

/* Makes all complete lines into messages.  False: there was no memory. */
static bool feed_convert(struct feed *feed) {
        char *line = feed->in, *end;
        FILE *out = open_memstream(&feed->out, &feed->out_size);

        if (!out)
                return false;
        while ((end = memchr(line, '\n', feed->used - (size_t)(line - feed->in)))) {
                *end = '\0';
                fputs("data: ", out);
                event_json(out, line);
                fputc('\n', out);
                line = end + 1;
        }
        feed->used -= (size_t)(line - feed->in);
        memmove(feed->in, line, feed->used);
        feed->sent = 0;
        return fclose(out) == 0;
}

static void feed_comment(struct feed *feed) {
        feed->out = strdup(": still here\n\n");
        feed->out_size = feed->out ? strlen(feed->out) : 0;
        feed->sent = 0;
        feed->quiet_ms = 0;
}

/* Waits until there is something to send.  False: it is over. */
static bool feed_await(struct feed *feed) {
        struct pollfd poll_fd = {.fd = feed->fd, .events = POLLIN};
        ssize_t n;
        int r;

        if (__atomic_load_n(&feed->exporter->stopping, __ATOMIC_RELAXED))
                return false;
        if (!feed->begun || feed->quiet_ms >= COMMENT_MS) {
                feed->begun = true; /* at once, so that the browser knows that it is connected */
                feed_comment(feed);
                return feed->out != NULL;
        }
        r = poll(&poll_fd, 1, LOOK_MS);
        if (r == 0)
                feed->quiet_ms += LOOK_MS;
        if (r <= 0)
                return r == 0 || errno == EINTR;
        n = read(feed->fd, feed->in + feed->used, BUFFER - feed->used);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR;
        feed->used += (size_t)n;
        feed->quiet_ms = 0;
        return n > 0 && feed_convert(feed);
}

long feed_read(struct feed *feed, char *buffer, size_t size) {
        size_t left;

        while (!feed->out || feed->sent == feed->out_size) {
                free(feed->out);
                feed->out = NULL;
                feed->out_size = feed->sent = 0;
                if (!feed_await(feed))
                        return -1;
        }
        left = feed->out_size - feed->sent;
        if (size > left)
                size = left;
        memcpy(buffer, feed->out + feed->sent, size);
        feed->sent += size;
        return (long)size;
}
