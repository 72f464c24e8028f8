/* SPDX-License-Identifier: MIT */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include "error.h"
#include "json.h"
#include "name.h"

enum { WAIT_FIRST_MS = 1, WAIT_LONGEST_MS = 50, WAIT_WITH_EVENTS_MS = 500, DRAIN_MAX = 1000 };
enum { OWNER_RW = 0600, CREATE_ATTEMPTS = 100 };
enum { STAT_TEXT_MAX = 4 * 4096 + 2048 }; /* JSON of a region whose name has only escapes */

static int open_below(const struct iomem_connection *connection, const char *name, int flags) {
        char path[2 * PATH_MAX];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", connection->directory, name);
        fd = open(path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The text of the last error can be read from the same file of .ctl. */
static int command_error(int fd, int error, const char *file) {
        char text[512];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

        if (n <= 0)
                return error_about(error, file);
        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return error_set(error, "%s", text);
}

int files_command(struct iomem_connection *connection, const char *directory, const char *file,
                  const char *line) {
        size_t length = strlen(line);
        char path[PATH_MAX];
        int fd, r = 0;

        snprintf(path, sizeof(path), "%s%s.ctl/%s", directory ? directory : "",
                 directory ? "/" : "", file);
        fd = open_below(connection, path, O_RDWR);
        if (fd < 0)
                return error_about(fd, directory ? directory : path);
        if (write(fd, line, length) != (ssize_t)length)
                r = command_error(fd, -errno, path);
        close(fd);
        return r;
}

int files_open(struct iomem_connection *connection, const char *name, int access) {
        int fd = open_below(connection, name, access == IOMEM_WRITE ? O_RDWR : O_RDONLY);

        return fd < 0 ? error_about(fd, name) : fd;
}

/* A mode without write permission for the owner can be set only after the region was opened. */
static int open_made(struct iomem_connection *connection, const char *name, int mode, int access) {
        int fd = files_open(connection, name, access);

        if (fd >= 0 && mode >= 0 && (mode & OWNER_RW) != OWNER_RW && fchmod(fd, (mode_t)mode) < 0) {
                int r = error_about(-errno, name);

                close(fd);
                return r;
        }
        return fd;
}

/*
 * Creates a region and opens it.  Between these steps another process may open an ephemeral region
 * and close it again: as its last user, it removes the region.  Then it is created once more.
 */
int files_create(struct iomem_connection *connection, const char *name, uint64_t size, int mode,
                 const char *options, int access) {
        char escaped[NAME_ESCAPED_MAX], line[NAME_ESCAPED_MAX + 128], text[32] = "";
        int attempts = strstr(options, " ephemeral") ? CREATE_ATTEMPTS : 1, r;

        if (mode >= 0)
                snprintf(text, sizeof(text), " mode=%o", (unsigned int)mode | OWNER_RW);
        name_escape(escaped, "", name);
        snprintf(line, sizeof(line), "%s %llu%s%s\n", escaped, (unsigned long long)size, text,
                 options);
        do {
                r = files_command(connection, NULL, "create", line);
                if (r < 0)
                        return r;
                r = open_made(connection, name, mode, access);
        } while (r == -ENOENT && --attempts > 0);
        return r;
}

/* Reads a file to its end; *out is to be freed. */
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

/* Reads a listing of the directory; *out is to be freed. */
static int read_listing(const struct iomem_connection *connection, const char *directory,
                        const char *file, char **out, size_t *length) {
        char path[PATH_MAX];
        int fd, r;

        snprintf(path, sizeof(path), "%s%s.ctl/%s", directory ? directory : "",
                 directory ? "/" : "", file);
        fd = open_below(connection, path, O_RDONLY);
        if (fd < 0)
                return error_about(fd, directory ? directory : path);
        r = read_all(fd, out, length);
        close(fd);
        return r < 0 ? error_about(r, path) : 0;
}

int files_list(struct iomem_connection *connection, const char *directory, bool all,
               iomem_list_fn fn, void *userdata) {
        size_t length = 0;
        char *text = NULL;
        int r = read_listing(connection, directory, "regions.json", &text, &length);

        if (r < 0)
                return r;
        r = json_regions(text, length, all, fn, userdata);
        free(text);
        return r == -EBADMSG ? error_about(r, "regions.json") : r;
}

int files_space(struct iomem_connection *connection, const char *directory, iomem_space_fn fn,
                void *userdata) {
        size_t length = 0;
        char *text = NULL;
        int r = read_listing(connection, directory, "limits.json", &text, &length);

        if (r < 0)
                return r;
        r = json_spaces(text, length, fn, userdata);
        free(text);
        return r == -EBADMSG ? error_about(r, "limits.json") : r;
}

struct search {
        const char *name;
        struct iomem_stat *out;
};

static int search_visit(void *userdata, const char *name, const struct iomem_stat *region) {
        struct search *search = userdata;

        if (strcmp(name, search->name) != 0)
                return 0;
        *search->out = *region;
        return 1;
}

/* For mounts without extended attributes: reads the same values from the list. */
static int stat_from_list(struct iomem_connection *connection, const char *name,
                          struct iomem_stat *out) {
        const char *slash = strrchr(name, '/');
        struct search search = {slash ? slash + 1 : name, out};
        char *directory = slash ? strndup(name, (size_t)(slash - name)) : NULL;
        int r;

        if (slash && !directory)
                return error_about(-ENOMEM, name);
        r = files_list(connection, directory, false, search_visit, &search);
        free(directory);
        if (r == 0)
                return error_about(-ENOENT, name);
        return r < 0 ? r : 0;
}

int files_stat(struct iomem_connection *connection, const char *name, struct iomem_stat *out) {
        char path[2 * PATH_MAX], text[STAT_TEXT_MAX];
        ssize_t n;
        int r;

        snprintf(path, sizeof(path), "%s/%s", connection->directory, name);
        n = lgetxattr(path, "user.iomemfs", text, sizeof(text));
        if (n < 0 && errno != EOPNOTSUPP && errno != ENODATA && errno != ERANGE)
                return error_about(-errno, name);
        if (n < 0)
                return stat_from_list(connection, name, out);
        r = json_region(text, (size_t)n, out);
        return r < 0 ? error_about(r, name) : 0;
}

static uint64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* 1: the name exists; 0: not yet; or a negative errno. */
static int is_there(const struct iomem_connection *connection, const char *name) {
        char path[2 * PATH_MAX];
        struct stat st;

        snprintf(path, sizeof(path), "%s/%s", connection->directory, name);
        if (lstat(path, &st) == 0)
                return S_ISDIR(st.st_mode) ? error_about(-EISDIR, name) : 1;
        return errno == ENOENT ? 0 : error_about(-errno, name);
}

/* Events of the directory in which the name will be, or NULL. */
static struct iomem_events *events_beside(struct iomem_connection *connection, const char *name) {
        struct iomem_events *events = NULL;
        const char *slash = strrchr(name, '/');
        char directory[PATH_MAX];

        snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - name) : 0, name);
        if (iomem_events_open(&events, connection, slash ? directory : NULL) < 0)
                return NULL;
        return events;
}

/* Waits until something happened, or until it is time to look again. */
static void wait_a_moment(struct iomem_events *events, int *pause, uint64_t left) {
        int longest = events ? WAIT_WITH_EVENTS_MS : *pause;
        int ms = left < (uint64_t)longest ? (int)left : longest;
        struct iomem_event ignored;

        if (events) {
                int r = iomem_events_next(events, &ignored, ms);

                for (int i = 0; r == 0 && i < DRAIN_MAX; i++)
                        r = iomem_events_next(events, &ignored, 0);
        } else {
                poll(NULL, 0, ms);
                if (*pause < WAIT_LONGEST_MS)
                        *pause *= 2;
        }
}

/* Events report regions only; so looking again finds, for example, that the directory was made. */
int files_wait(struct iomem_connection *connection, const char *name, int timeout_ms) {
        uint64_t end = timeout_ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)timeout_ms;
        struct iomem_events *events = events_beside(connection, name);
        int pause = WAIT_FIRST_MS, r;

        while ((r = is_there(connection, name)) == 0) {
                uint64_t now = now_ms();

                if (now >= end) {
                        r = error_set(-ETIMEDOUT, "%s: did not appear in time", name);
                        break;
                }
                wait_a_moment(events, &pause, end - now);
                if (!events)
                        events = events_beside(connection, name);
        }
        iomem_events_close(events);
        return r < 0 ? r : 0;
}
