/* SPDX-License-Identifier: MIT */
#include "volume/owner_look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/cgroup.h"
#include "base/process.h"

#ifndef NS_GET_TGID_FROM_PIDNS
#define NS_GET_TGID_FROM_PIDNS _IOR(0xb7, 0x7, int) /* Linux 6.11 */
#endif

enum {
        PARENTS_MAX = 64, /* processes between one of a container and its first */
        OURS_DEPTH = 3,   /* generations of the daemon's processes below the worker */
        GROUPS_MAX = 1024,
        GROUPS_DEPTH = 32,
};

/* The name of the hierarchy of version 1 in which systemd keeps its services. */
#define SYSTEMD "name=systemd"

bool owner_key_equal(const struct owner_key *a, const struct owner_key *b) {
        return a->kind == b->kind && a->version == b->version && a->pid == b->pid &&
               a->start == b->start && a->inode == b->inode;
}

/* Processes and containers */

/* Sets pid and start time.  -EINVAL: the process is gone. */
static int key_set_process(struct owner_key *key, pid_t pid) {
        key->pid = pid;
        key->start = process_start_time(pid);
        return key->start == 0 ? -EINVAL : 0;
}

/* Opens a PID namespace; *inode: its number. */
static int namespace_open(pid_t pid, uint64_t *inode) {
        char path[64];
        struct stat st;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -EINVAL;
        if (fstat(fd, &st) < 0) {
                close(fd);
                return -EINVAL;
        }
        *inode = st.st_ino;
        return fd;
}

static uint64_t namespace_of(pid_t pid) {
        uint64_t inode;
        int fd = namespace_open(pid, &inode);

        if (fd < 0)
                return 0;
        close(fd);
        return inode;
}

/* For kernels without the ioctl: the first process, if it is a parent's parent, and so on. */
static pid_t namespace_first_parent(pid_t pid, uint64_t inode) {
        for (int i = 0; i < PARENTS_MAX && pid > 0 && namespace_of(pid) == inode; i++) {
                if (process_is_first(pid))
                        return pid;
                pid = process_parent(pid);
        }
        return 0;
}

static int identify_container(struct owner_key *out, pid_t pid) {
        int fd = namespace_open(pid, &out->inode), first;

        if (fd < 0)
                return fd;
        first = ioctl(fd, NS_GET_TGID_FROM_PIDNS, 1);
        if (first < 0 && errno == ENOTTY)
                first = namespace_first_parent(pid, out->inode);
        close(fd);
        if (first <= 0 || out->inode == namespace_of(getpid()))
                return -EINVAL;
        if (key_set_process(out, first) < 0 || namespace_of(first) != out->inode)
                return -EINVAL;
        return 0;
}

static bool process_has_ended(const struct owner_key *key) {
        struct pollfd ended = {.fd = process_open(key->pid), .events = POLLIN};
        uint64_t start;
        bool result;

        if (ended.fd < 0)
                return ended.fd == -ESRCH;
        /* Read while the descriptor is open: until the process is reaped its id is not used again. */
        start = process_start_time(key->pid);
        result = (start != 0 && start != key->start) || poll(&ended, 1, 0) > 0;
        close(ended.fd);
        return result;
}

static int process_watch(const struct owner_key *key) {
        int fd = process_open(key->pid);
        uint64_t start;

        if (fd < 0)
                return fd;
        start = process_start_time(key->pid);
        if (start == key->start || start == 0)
                return fd; /* it is readable if the process has just ended */
        close(fd);
        return -ESRCH;
}

/* Groups */

static const char *controller_of(const struct owner_key *key) {
        return key->version == 1 ? SYSTEMD : NULL;
}

/* A service often makes many regions, and to find the mount of a hierarchy takes long. */
static struct {
        char path[PATH_MAX];
        struct cgroup group;
} last_group;

static bool group_stat(const struct cgroup *group, uint64_t *inode) {
        struct stat st;

        if (stat(group->path, &st) < 0)
                return false;
        *inode = st.st_ino;
        return true;
}

static int identify_group(struct owner_key *out, const char *path) {
        if (last_group.group.version == out->version && strcmp(last_group.path, path) == 0 &&
            group_stat(&last_group.group, &out->inode))
                return 0;
        if (!cgroup_find(&last_group.group, "", controller_of(out), path) ||
            !group_stat(&last_group.group, &out->inode)) {
                last_group.group.version = 0;
                return -EINVAL;
        }
        strcpy(last_group.path, path);
        return 0;
}

static int identify_service(struct owner_key *out, char path[PATH_MAX], pid_t pid) {
        out->version = 2;
        if (!cgroup_read("", pid, NULL, path) || strcmp(path, "/") == 0) {
                out->version = 1;
                if (!cgroup_read("", pid, SYSTEMD, path) || strcmp(path, "/") == 0)
                        return -EINVAL;
        }
        return identify_group(out, path);
}

/* Opens the group's directory.  -ESRCH: the group is gone.  Other errors: that cannot be told. */
static int group_open(const struct owner_key *key, const char *path) {
        struct cgroup group;
        struct stat st;
        int fd;

        if (!cgroup_find(&group, "", controller_of(key), path))
                return -ENOENT;
        fd = open(group.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        if (fstat(fd, &st) == 0 && st.st_ino == key->inode)
                return fd;
        close(fd);
        return -ESRCH;
}

/* What cgroup.events says; a group that was removed has no members. */
static bool events_are_populated(int fd) {
        char text[256];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

        if (n < 0)
                return errno != ENODEV;
        text[n] = '\0';
        return !strstr(text, "populated 0");
}

/* Whether one of our own processes is in the group or below it: the kernel counts it as a member. */
static bool group_has_us(const struct owner_key *key, const char *path) {
        size_t length = strlen(path);
        char own[PATH_MAX];

        return cgroup_read("", 0, controller_of(key), own) && strncmp(own, path, length) == 0 &&
               (own[length] == '/' || own[length] == '\0');
}

static bool is_ours(pid_t pid) {
        pid_t worker = getpid(), keeper = getppid();

        for (int i = 0; i <= OURS_DEPTH && pid > 1; i++, pid = process_parent(pid))
                if (pid == worker || pid == keeper)
                        return true;
        return false;
}

/* Whether cgroup.procs of the group has a process that is not ours. */
static bool group_has_process(int directory) {
        int fd = openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC);
        FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
        bool found = false;
        long pid;
        int n = 0;

        if (!file) {
                if (fd >= 0)
                        close(fd);
                return errno != ENOENT && errno != ENODEV;
        }
        while (!found && (n = fscanf(file, "%ld", &pid)) == 1)
                found = !is_ours((pid_t)pid);
        /* A threaded group cannot be read: something is in it. */
        found = found || (ferror(file) && errno != ENODEV);
        fclose(file);
        return found;
}

static bool tree_has_process(int directory, int depth, int *groups);

static bool children_have_process(int directory, int depth, int *groups) {
        int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *stream = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *entry;
        bool found = false;

        if (!stream) {
                if (fd >= 0)
                        close(fd);
                return fd < 0 && errno != ENOENT && errno != ENODEV;
        }
        while (!found && (entry = readdir(stream))) {
                int child;

                if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
                        continue;
                child = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (child < 0)
                        found = errno != ENOENT;
                else
                        found = tree_has_process(child, depth + 1, groups);
                if (child >= 0)
                        close(child);
        }
        closedir(stream);
        return found;
}

/* Beyond the limits, it counts as alive. */
static bool tree_has_process(int directory, int depth, int *groups) {
        if (depth > GROUPS_DEPTH || --*groups < 0)
                return true;
        return group_has_process(directory) || children_have_process(directory, depth, groups);
}

static bool group_has_ended(const struct owner_key *key, const char *path) {
        int directory = group_open(key, path), groups = GROUPS_MAX, events = -1;
        bool populated = true;

        if (directory < 0)
                return directory == -ESRCH;
        if (key->version == 2)
                events = openat(directory, "cgroup.events", O_RDONLY | O_CLOEXEC);
        if (events >= 0) {
                populated = events_are_populated(events);
                close(events);
        }
        if (populated && (key->version == 1 || group_has_us(key, path)))
                populated = tree_has_process(directory, 0, &groups);
        close(directory);
        return !populated;
}

static int group_watch(const struct owner_key *key, const char *path) {
        int directory, fd;

        if (key->version == 1 || group_has_us(key, path))
                return -EOPNOTSUPP;
        directory = group_open(key, path);
        if (directory < 0)
                return directory;
        fd = openat(directory, "cgroup.events", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                fd = -errno;
        close(directory);
        /* From this reading on the kernel tells of changes. */
        if (fd < 0 || events_are_populated(fd))
                return fd;
        close(fd);
        return -ESRCH;
}

/* All kinds */

int owner_identify(struct owner_key *out, char path[PATH_MAX], const struct caller *caller,
                   uint32_t kind) {
        struct caller_process process;

        *out = (struct owner_key){.kind = kind};
        path[0] = '\0';
        caller_process(caller, &process);
        if (process.pid == 0)
                return -EINVAL;
        if (kind == NODE_OWNER_CONTAINER)
                return identify_container(out, process.pid);
        if (kind == NODE_OWNER_SERVICE)
                return identify_service(out, path, process.pid);
        return key_set_process(out, process.pid);
}

bool owner_look(const struct owner_key *key, const char *path) {
        return key->kind == NODE_OWNER_SERVICE ? group_has_ended(key, path)
                                               : process_has_ended(key);
}

int owner_open(const struct owner_key *key, const char *path, uint32_t *events) {
        bool is_group = key->kind == NODE_OWNER_SERVICE;

        *events = is_group ? EPOLLPRI : EPOLLIN;
        return is_group ? group_watch(key, path) : process_watch(key);
}

bool owner_is_told(const struct owner_key *key, int fd) {
        return key->kind != NODE_OWNER_SERVICE || !events_are_populated(fd);
}
