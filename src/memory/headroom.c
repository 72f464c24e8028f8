/* SPDX-License-Identifier: MIT */
#include "memory/headroom.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
/* The least that is left to the rest of the machine, and the most that is left to a group. */
#define MARGIN (128 * MIB)
/* The least that is left to a group, for memory that the kernel itself needs meanwhile. */
#define GROUP_MARGIN (8 * MIB)

/* Files */

static FILE *file_open(const char *root, const char *directory, const char *name) {
        char path[2 * PATH_MAX];

        if ((size_t)snprintf(path, sizeof(path), "%s%s/%s", root, directory, name) >= sizeof(path))
                return NULL;
        return fopen(path, "re");
}

/* The sum of the values of these keys; NULL ends the list.  *found: how many of them there were. */
static uint64_t file_sum(FILE *file, const char *const *keys, unsigned int *found) {
        char line[256], key[64];
        uint64_t sum = 0, value;

        *found = 0;
        while (file && fgets(line, sizeof(line), file)) {
                if (sscanf(line, "%63s %" SCNu64, key, &value) != 2)
                        continue;
                for (const char *const *wanted = keys; *wanted; wanted++)
                        if (strcmp(key, *wanted) == 0) {
                                sum += value;
                                ++*found;
                        }
        }
        return sum;
}

/* The number in a file; UINT64_MAX for "max" and if it cannot be read. */
static uint64_t file_number(const char *root, const char *directory, const char *name) {
        FILE *file = file_open(root, directory, name);
        uint64_t value = UINT64_MAX;

        if (!file)
                return UINT64_MAX;
        if (fscanf(file, "%" SCNu64, &value) != 1)
                value = UINT64_MAX;
        fclose(file);
        return value;
}

/* The group */

/* A mount of /proc/self/mountinfo. */
struct mount {
        char top[PATH_MAX];   /* the part of the file system that is mounted */
        char point[PATH_MAX]; /* where it is mounted */
        char type[32];
        char options[PATH_MAX]; /* of the file system */
};

/* Decodes \040 and the like. */
static void unescape(char *text) {
        char *to = text;

        for (const char *from = text; *from; to++) {
                unsigned int code;

                if (from[0] == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
                        *to = (char)code;
                        from += strnlen(from, 4);
                } else {
                        *to = *from++;
                }
        }
        *to = '\0';
}

static bool mount_parse(struct mount *out, const char *line) {
        const char *rest = strstr(line, " - ");

        if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", out->top, out->point) != 2 ||
            sscanf(rest, " - %31s %*s %4095s", out->type, out->options) != 2)
                return false;
        unescape(out->top);
        unescape(out->point);
        return true;
}

static bool has_word(const char *list, const char *word) {
        size_t length = strlen(word);

        for (; list; list = strchr(list, ',')) {
                list += *list == ',';
                if (strncmp(list, word, length) == 0 && (list[length] == ',' || !list[length]))
                        return true;
        }
        return false;
}

/* The version of the cgroup hierarchy mounted there that has a memory controller, 0 for none. */
static unsigned int mount_version(const struct mount *mount) {
        if (strcmp(mount->type, "cgroup") == 0 && has_word(mount->options, "memory"))
                return 1;
        return strcmp(mount->type, "cgroup2") == 0 ? 2 : 0;
}

/*
 * A line of /proc/PID/cgroup, ID:CONTROLLERS:PATH.  If version 1 has the memory controller, version
 * 2 has no memory limits.
 */
static void group_note_line(char *line, char path[PATH_MAX], unsigned int *version) {
        char *controllers = strchr(line, ':'), *end;

        line[strcspn(line, "\n")] = '\0';
        end = controllers ? strchr(++controllers, ':') : NULL;
        if (!end)
                return;
        *end++ = '\0';
        if (has_word(controllers, "memory"))
                *version = 1;
        else if (*controllers == '\0' && *version == 0)
                *version = 2;
        else
                return;
        snprintf(path, PATH_MAX, "%s", end);
}

/* The group's path in its hierarchy; returns that hierarchy's version, or 0 if there is no
 * group. */
static unsigned int group_read(const char *root, pid_t pid, char path[PATH_MAX]) {
        char directory[32] = "/proc/self";
        FILE *file;
        unsigned int version = 0;
        char *line = NULL;
        size_t size = 0;

        if (pid != 0)
                snprintf(directory, sizeof(directory), "/proc/%d", (int)pid);
        file = file_open(root, directory, "cgroup");
        while (file && getline(&line, &size, file) > 0)
                group_note_line(line, path, &version);
        free(line);
        if (file)
                fclose(file);
        return version;
}

/* The part of a group's path below the part that is mounted; NULL if the mount does not show it. */
static const char *mount_shows(const struct mount *mount, const char *path) {
        size_t top = strcmp(mount->top, "/") == 0 ? 0 : strlen(mount->top);

        if (strncmp(path, mount->top, top) != 0 || (path[top] && path[top] != '/') ||
            strstr(path, "/.."))
                return NULL;
        return path[top] && path[top + 1] ? path + top : "";
}

/* Joins mount point and path.  If no mount shows the path (it is of another cgroup namespace), the
 * first mount point itself is the nearest group that can be seen.  True: the path was found. */
static bool group_place(struct headroom_group *group, const struct mount *mount, const char *path) {
        const char *below = mount_shows(mount, path);
        size_t point = strlen(mount->point);

        if ((!below && group->path[0]) || point + strlen(below ? below : "") >= sizeof(group->path))
                return false;
        memcpy(group->path, mount->point, point);
        strcpy(group->path + point, below ? below : "");
        group->mount_length = point;
        return below;
}

void headroom_find_group(struct headroom_group *out, const char *root, pid_t pid) {
        char path[PATH_MAX] = "", *line = NULL;
        struct mount *mount = malloc(sizeof(*mount));
        size_t size = 0;
        FILE *file;

        out->path[0] = '\0';
        out->root = root;
        out->version = group_read(root, pid, path);
        file = file_open(root, "/proc/self", "mountinfo");
        while (mount && out->version != 0 && file && getline(&line, &size, file) > 0)
                if (mount_parse(mount, line) && mount_version(mount) == out->version &&
                    group_place(out, mount, path))
                        break;
        free(line);
        free(mount);
        if (file)
                fclose(file);
}

int headroom_join(const struct headroom_group *group) {
        FILE *file;
        char path[2 * PATH_MAX];
        int r = 0;

        if (!group->path[0])
                return -ENOENT;
        snprintf(path, sizeof(path), "%s%s/cgroup.procs", group->root, group->path);
        file = fopen(path, "we");
        if (!file)
                return -errno;
        /* "0" stands for the process that writes it. */
        if (fputs("0", file) < 0)
                r = -errno;
        if (fclose(file) != 0 && r == 0)
                r = -errno;
        return r;
}

/* Limits */

static uint64_t less(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static uint64_t minus(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

/* The memory that the kernel would reclaim from a group's caches before it runs out. */
static uint64_t group_reclaimable(const struct headroom_group *group, const char *directory) {
        static const char *const keys_1[] = {"total_inactive_file", "total_active_file", NULL};
        static const char *const keys_2[] = {"inactive_file", "active_file", "slab_reclaimable",
                                             NULL};
        FILE *file = file_open(group->root, directory, "memory.stat");
        unsigned int found;
        uint64_t sum;

        sum = file_sum(file, group->version == 1 ? keys_1 : keys_2, &found);
        if (file)
                fclose(file);
        return sum;
}

static uint64_t group_room(const struct headroom_group *group, const char *directory) {
        bool first = group->version == 1;
        uint64_t limit, used, margin;

        limit = file_number(group->root, directory, first ? "memory.limit_in_bytes" : "memory.max");
        if (!first)
                limit = less(limit, file_number(group->root, directory, "memory.high"));
        used = file_number(group->root, directory,
                           first ? "memory.usage_in_bytes" : "memory.current");
        /* In version 1, "no limit" is a number larger than any memory. */
        if (limit >= (uint64_t)INT64_MAX / 2 || used == UINT64_MAX)
                return UINT64_MAX;
        margin = limit / 16;
        margin = margin < GROUP_MARGIN ? GROUP_MARGIN : less(margin, MARGIN);
        if (file_number(group->root, directory, "memory.oom.group") == 1)
                margin *= 4;
        used = minus(used, group_reclaimable(group, directory));
        return minus(minus(limit, used), margin);
}

/* The least room that the group and all groups above it leave. */
static uint64_t groups_room(const struct headroom_group *group) {
        char directory[PATH_MAX];
        uint64_t room = UINT64_MAX;
        char *end;

        if (!group->path[0])
                return room;
        strcpy(directory, group->path);
        for (;;) {
                room = less(room, group_room(group, directory));
                end = strrchr(directory + group->mount_length, '/');
                if (!end)
                        return room;
                *end = '\0';
        }
}

static uint64_t machine_room(const char *root) {
        static const char *const keys[] = {"MemAvailable:", NULL};
        FILE *file = file_open(root, "/proc", "meminfo");
        unsigned int found;
        uint64_t kib = file_sum(file, keys, &found);

        if (file)
                fclose(file);
        return found == 0 ? UINT64_MAX : minus(kib * 1024, MARGIN);
}

uint64_t headroom_available(const struct headroom_group *group) {
        return less(machine_room(group->root), groups_room(group));
}
