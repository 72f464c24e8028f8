/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "connection.h"
#include "error.h"
#include "iomem.h"
#include "name.h"

/*
 * Events are lines of .ctl/events, `SEQUENCE KIND NAME [KEY=VALUE ...]`.  Unknown kinds and keys
 * come from a newer daemon, and are no errors.
 */

enum { BUFFER = 64 * 1024 };
enum { SEALS = IOMEM_SEAL_SHRINK | IOMEM_SEAL_GROW | IOMEM_SEAL_WRITE };

struct iomem_events {
        int fd;
        size_t start, end; /* the part of buffer that was read but not returned yet */
        char buffer[BUFFER];
};

int iomem_events_open(struct iomem_events **out, struct iomem_connection *connection,
                      const char *directory) {
        char path[2 * PATH_MAX];
        struct iomem_events *events;
        int r = directory ? name_check(directory) : 0;

        *out = NULL;
        if (r < 0)
                return r;
        if (!connection->directory)
                return error_set(
                        -EOPNOTSUPP,
                        "events are a file of the mount: connect to that, not to a socket");
        events = malloc(sizeof(*events));
        if (!events)
                return error_about(-ENOMEM, "events");
        snprintf(path, sizeof(path), "%s/%s%s.ctl/events", connection->directory,
                 directory ? directory : "", directory ? "/" : "");
        events->start = events->end = 0;
        events->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (events->fd < 0) {
                r = error_about(-errno, path);
                free(events);
                return r;
        }
        *out = events;
        return 0;
}

void iomem_events_close(struct iomem_events *events) {
        if (!events)
                return;
        close(events->fd);
        free(events);
}

int iomem_events_fd(const struct iomem_events *events) {
        return events->fd;
}

static const char *const kinds[] = {
        [IOMEM_EVENT_CREATE] = "create",   [IOMEM_EVENT_RESIZE] = "resize",
        [IOMEM_EVENT_SEAL] = "seal",       [IOMEM_EVENT_RENAME] = "rename",
        [IOMEM_EVENT_REMOVE] = "remove",   [IOMEM_EVENT_LAST_CLOSE] = "last-close",
        [IOMEM_EVENT_RESTART] = "restart", [IOMEM_EVENT_OVERFLOW] = "overflow",
};

static enum iomem_event_kind parse_kind(const char *word) {
        for (unsigned int i = 1; i < sizeof(kinds) / sizeof(*kinds); i++)
                if (strcmp(word, kinds[i]) == 0)
                        return (enum iomem_event_kind)i;
        return IOMEM_EVENT_OTHER;
}

static void parse_detail(struct iomem_event *out, const char *pair) {
        const char *equals = strchr(pair, '=');
        size_t length = equals ? (size_t)(equals - pair) : 0;
        uint64_t value = equals ? strtoull(equals + 1, NULL, 10) : 0;

        if (length == 4 && memcmp(pair, "size", 4) == 0)
                out->size = value;
        else if (length == 5 && memcmp(pair, "seals", 5) == 0)
                out->seals = (uint32_t)value >> 1 & SEALS; /* the kernel's F_SEAL_SHRINK is 2 */
        else if (length == 3 && memcmp(pair, "uid", 3) == 0)
                out->uid = (uint32_t)value;
        else if (length == 3 && memcmp(pair, "pid", 3) == 0)
                out->pid = (int32_t)value;
        else if (length == 4 && memcmp(pair, "lost", 4) == 0)
                out->lost = value;
}

/* 0, or -EBADMSG if the line is no event. */
static int parse(struct iomem_event *out, char *line) {
        char *rest = NULL, *sequence = strtok_r(line, " ", &rest);
        char *kind = strtok_r(NULL, " ", &rest), *name = strtok_r(NULL, " ", &rest), *pair;

        if (!name)
                return error_set(-EBADMSG, "not an event of iomemfs");
        *out = (struct iomem_event){
                .sequence = strtoull(sequence, NULL, 10),
                .kind = parse_kind(kind),
                .uid = UINT32_MAX,
        };
        if (strcmp(name, "-") != 0) {
                name_unescape(name);
                out->name = name;
        }
        while ((pair = strtok_r(NULL, " ", &rest)))
                parse_detail(out, pair);
        return 0;
}

/* Takes the first complete line off the buffer; NULL if there is none. */
static char *take_line(struct iomem_events *events) {
        char *line = events->buffer + events->start;
        char *end = memchr(line, '\n', events->end - events->start);

        if (!end)
                return NULL;
        *end = '\0';
        events->start = (size_t)(end + 1 - events->buffer);
        return line;
}

/* 0, -EAGAIN if there is nothing to read, or another error. */
static int receive(struct iomem_events *events) {
        ssize_t n;

        memmove(events->buffer, events->buffer + events->start, events->end - events->start);
        events->end -= events->start;
        events->start = 0;
        do
                n = read(events->fd, events->buffer + events->end, BUFFER - events->end);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
                return n < 0 ? -errno : -EBADMSG;
        events->end += (size_t)n;
        return 0;
}

static int64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until it can be read, or until *left milliseconds have passed; *left is 0 then. */
static int await(struct iomem_events *events, int *left) {
        struct pollfd poll_fd = {.fd = events->fd, .events = POLLIN};
        int64_t start = now_ms(), passed;
        int r = poll(&poll_fd, 1, *left);

        if (r < 0 && errno != EINTR)
                return -errno;
        passed = now_ms() - start;
        if (*left >= 0)
                *left = r == 0 || passed >= *left ? 0 : *left - (int)passed;
        return 0;
}

int iomem_events_next(struct iomem_events *events, struct iomem_event *out, int timeout_ms) {
        bool last = false;
        char *line;

        while (!(line = take_line(events))) {
                int r = receive(events);

                if (r == -EAGAIN && last)
                        return error_set(-ETIMEDOUT, "no event in that time");
                if (r == -EAGAIN) {
                        r = await(events, &timeout_ms);
                        last = timeout_ms == 0;
                }
                if (r < 0)
                        return error_about(r, "events");
        }
        return parse(out, line);
}
