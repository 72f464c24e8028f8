/* SPDX-License-Identifier: MIT */
#include "process/mount_namespace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "process/mount_table.h"

/* The mount namespace of a process; 0: we may not look. */
static uint64_t namespace_of(const char *pid) {
        char path[PATH_MAX];
        struct stat st;

        snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
        return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* A mount that both processes have: everybody may look at that, and ids are unique. */
static bool shares_a_mount_with_first(void) {
        struct mount_table *ours = mount_table_open("self"), *first = mount_table_open("1");
        const struct mount_line *line = ours ? mount_table_next(ours) : NULL, *other;
        bool found = !line || !first;

        while (!found && (other = mount_table_next(first)))
                found = other->id == line->id;
        mount_table_close(ours);
        mount_table_close(first);
        return found;
}

static bool namespace_is_private(void) {
        uint64_t first = namespace_of("1");

        return first ? first != namespace_of("self") : !shares_a_mount_with_first();
}

/* What is kept. */

enum { NEEDS_MAX = 64 };

struct needs {
        char *paths[NEEDS_MAX];
        size_t n;
};

static void needs_add(struct needs *needs, const char *path) {
        char *copy = needs->n < NEEDS_MAX ? realpath(path, NULL) : NULL;

        if (copy)
                needs->paths[needs->n++] = copy;
}

static void needs_add_directory_of(struct needs *needs, const char *path) {
        char copy[PATH_MAX];
        char *slash;

        snprintf(copy, sizeof(copy), "%s", path);
        slash = strrchr(copy, '/');
        if (copy[0] != '/' || !slash)
                return;
        slash[slash == copy] = '\0';
        needs_add(needs, copy);
}

/* The program and its libraries, which an upgrade or a keeper's death loads again. */
static void needs_add_code(struct needs *needs) {
        FILE *maps = fopen("/proc/self/maps", "re");
        char *line = NULL, *path, last[PATH_MAX] = "";
        size_t size = 0;

        while (maps && getline(&line, &size, maps) > 0) {
                line[strcspn(line, "\n")] = '\0';
                path = strchr(line, '/');
                if (!path || strcmp(path, last) == 0)
                        continue;
                snprintf(last, sizeof(last), "%s", path);
                needs_add(needs, path);
        }
        free(line);
        if (maps)
                fclose(maps);
}

static void needs_find(struct needs *needs, const char *socket) {
        const char *notify = getenv("NOTIFY_SOCKET");

        needs_add(needs, "/proc");
        needs_add(needs, "/sys/fs/cgroup");
        needs_add(needs, "/dev");
        needs_add(needs, "/dev/null");
        needs_add(needs, "/dev/cpu_dma_latency");
        needs_add(needs, "/dev/log");
        needs_add_directory_of(needs, socket);
        needs_add_directory_of(needs, notify ? notify : "");
        needs_add_code(needs);
}

static void needs_free(struct needs *needs) {
        while (needs->n > 0)
                free(needs->paths[--needs->n]);
}

static bool is_above(const char *directory, const char *path) {
        size_t length = strlen(directory);

        if (length == 1)
                return true;
        return strncmp(directory, path, length) == 0 &&
               (path[length] == '\0' || path[length] == '/');
}

static bool needs_have(const struct needs *needs, const struct mount_line *line) {
        if (strcmp(line->path, "/") == 0 || strncmp(line->type, "cgroup", 6) == 0)
                return true;
        for (size_t i = 0; i < needs->n; i++)
                if (is_above(line->path, needs->paths[i]))
                        return true;
        return false;
}

/* The copy. */

/* Keeps our changes from being made in the namespace that the mounts were copied from. */
static int copy_isolate(void) {
        struct mount_table *table;
        const struct mount_line *line;
        int r = 0;

        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
                return 0;
        /* Our root is no mount point, so name each mount. */
        table = mount_table_open("self");
        if (!table)
                return -EIO;
        while (r == 0 && (line = mount_table_next(table)))
                if (mount(NULL, line->path, NULL, MS_PRIVATE, NULL) < 0 && errno != ENOENT)
                        r = -errno;
        mount_table_close(table);
        return r;
}

/* The mount points to detach, in the order of the table: what is mounted on others comes after
 * them. */
static size_t copy_list(char ***out, const struct needs *needs, uint32_t device) {
        struct mount_table *table = mount_table_open("self");
        const struct mount_line *line;
        char **paths = NULL, **more;
        size_t n = 0;

        while (table && (line = mount_table_next(table))) {
                bool own = device != 0 && line->device == device;

                if (!own && needs_have(needs, line))
                        continue;
                more = realloc(paths, (n + 1) * sizeof(*paths));
                if (!more)
                        break;
                paths = more;
                paths[n] = strdup(line->path);
                n += paths[n] != NULL;
        }
        mount_table_close(table);
        *out = paths;
        return n;
}

static void copy_detach(const struct needs *needs, uint32_t device) {
        char **paths;
        size_t n = copy_list(&paths, needs, device);

        /* Some cannot be detached alone, where a user namespace has locked them to others. */
        while (n-- > 0) {
                (void)umount2(paths[n], MNT_DETACH | UMOUNT_NOFOLLOW);
                free(paths[n]);
        }
        free(paths);
}

uint64_t mount_namespace_leave(uint32_t device, const char *socket) {
        struct needs needs = {.n = 0};
        uint64_t home;
        int r;

        if (!namespace_is_private())
                return 0;
        home = namespace_of("self");
        needs_find(&needs, socket);
        r = unshare(CLONE_NEWNS) < 0 ? -errno : 0;
        if (r < 0) {
                log_line(LOG_WARNING,
                         "cannot leave the private mount namespace: %s; it lasts until the unmount",
                         strerror(-r));
                needs_free(&needs);
                return 0;
        }
        r = copy_isolate();
        if (r == 0)
                copy_detach(&needs, device);
        else
                log_line(LOG_WARNING,
                         "cannot detach the mounts of the private mount namespace: %s; "
                         "they last until the unmount",
                         strerror(-r));
        needs_free(&needs);
        return home;
}

/* The way back. */

/* A descriptor of the namespace; -ESRCH. */
static int namespace_find(uint64_t home) {
        char path[PATH_MAX];
        struct dirent *entry;
        DIR *proc = opendir("/proc");
        int fd = -ESRCH;

        while (proc && fd < 0 && (entry = readdir(proc))) {
                if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name) ||
                    namespace_of(entry->d_name) != home)
                        continue;
                snprintf(path, sizeof(path), "/proc/%s/ns/mnt", entry->d_name);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        fd = -ESRCH;
        }
        if (proc)
                closedir(proc);
        return fd;
}

static _Noreturn void child_run(int fd, int (*fn)(void *userdata), void *userdata) {
        int r = setns(fd, CLONE_NEWNS) < 0 ? -errno : 0;

        _exit(r == 0 ? -fn(userdata) : -r);
}

int mount_namespace_run(uint64_t home, int (*fn)(void *userdata), void *userdata) {
        int fd = namespace_find(home), status;
        pid_t pid;

        if (fd < 0)
                return fd;
        pid = fork();
        if (pid == 0)
                child_run(fd, fn, userdata);
        close(fd);
        if (pid < 0)
                return -errno;
        while (waitpid(pid, &status, 0) < 0) {
                if (errno != EINTR)
                        return -errno;
        }
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}
