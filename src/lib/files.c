/* SPDX-License-Identifier: MIT */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "error.h"
#include "json.h"
#include "name.h"

enum { WAIT_FIRST_MS = 1, WAIT_LONGEST_MS = 50 };

static int open_below(const struct iomem *connection, const char *name, int flags) {
        char path[2 * PATH_MAX];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", connection->directory, name);
        fd = open(path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The text of the last error of a file of .ctl can be read back from it. */
static int command_error(int fd, int error, const char *file) {
        char text[512];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

        if (n <= 0)
                return error_about(error, file);
        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return error_set(error, "%s", text);
}

int files_command(struct iomem *connection, const char *file, const char *line) {
        size_t length = strlen(line);
        char path[64];
        int fd, r = 0;

        snprintf(path, sizeof(path), ".ctl/%s", file);
        fd = open_below(connection, path, O_RDWR);
        if (fd < 0)
                return error_about(fd, path);
        if (write(fd, line, length) != (ssize_t)length)
                r = command_error(fd, -errno, path);
        close(fd);
        return r;
}

int files_open(struct iomem *connection, const char *name, int access) {
        int fd = open_below(connection, name, access == IOMEM_WRITE ? O_RDWR : O_RDONLY);

        return fd < 0 ? error_about(fd, name) : fd;
}

int files_create(struct iomem *connection, const char *name, uint64_t size, const char *options) {
        char escaped[NAME_ESCAPED_MAX], line[NAME_ESCAPED_MAX + 128];
        int r;

        name_escape(escaped, "", name);
        snprintf(line, sizeof(line), "%s %llu%s\n", escaped, (unsigned long long)size, options);
        r = files_command(connection, "create", line);
        return r < 0 ? r : files_open(connection, name, IOMEM_WRITE);
}

/* Reads a file to its end; to be freed. */
static int read_all(int fd, char **out, size_t *length) {
        size_t size = 0, used = 0;
        char *text = NULL;
        ssize_t n = 1;

        while (n > 0) {
                if (size - used < 4096) {
                        char *grown = realloc(text, size = 2 * size + 65536);

                        if (!grown) {
                                free(text);
                                return -ENOMEM;
                        }
                        text = grown;
                }
                n = read(fd, text + used, size - used);
                if (n > 0)
                        used += (size_t)n;
                else if (n < 0 && errno == EINTR)
                        n = 1;
        }
        if (n < 0) {
                int r = -errno;

                free(text);
                return r;
        }
        *out = text;
        *length = used;
        return 0;
}

int files_list(struct iomem *connection, const char *directory, bool all,
               int (*fn)(void *userdata, const struct iomem_stat *region), void *userdata) {
        char path[PATH_MAX], *text = NULL;
        size_t length = 0;
        int fd, r;

        snprintf(path, sizeof(path), "%s%s.ctl/regions.json", directory ? directory : "",
                 directory ? "/" : "");
        fd = open_below(connection, path, O_RDONLY);
        if (fd < 0)
                return error_about(fd, directory ? directory : path);
        r = read_all(fd, &text, &length);
        close(fd);
        if (r < 0)
                return error_about(r, path);
        r = json_regions(text, length, all, fn, userdata);
        free(text);
        return r == -EBADMSG ? error_about(r, path) : r;
}

struct search {
        const char *name;
        struct iomem_stat *out;
};

static int search_visit(void *userdata, const struct iomem_stat *region) {
        struct search *search = userdata;

        if (strcmp(region->name, search->name) != 0)
                return 0;
        *search->out = *region;
        return 1;
}

int files_stat(struct iomem *connection, const char *name, struct iomem_stat *out) {
        struct search search = {name, out};
        int r = files_list(connection, NULL, false, search_visit, &search);

        if (r == 0)
                return error_about(-ENOENT, name);
        return r < 0 ? r : 0;
}

static uint64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Nothing tells of changes that others make, so this looks again and again. */
int files_wait(struct iomem *connection, const char *name, int timeout_ms) {
        uint64_t start = now_ms();
        int pause = WAIT_FIRST_MS;

        for (;;) {
                struct timespec time = {.tv_nsec = pause * 1000000L};
                char path[2 * PATH_MAX];

                snprintf(path, sizeof(path), "%s/%s", connection->directory, name);
                if (access(path, F_OK) == 0)
                        return 0;
                if (errno != ENOENT)
                        return error_about(-errno, name);
                if (timeout_ms >= 0 && now_ms() - start >= (uint64_t)timeout_ms)
                        return error_set(-ETIMEDOUT, "%s: did not appear in time", name);
                nanosleep(&time, NULL);
                if (pause < WAIT_LONGEST_MS)
                        pause *= 2;
        }
}
