/* SPDX-License-Identifier: MIT */
#include "memory/headroom.h"

#include <errno.h>
#include <inttypes.h>
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

void headroom_find_group(struct cgroup *out, const char *root, pid_t pid) {
        char path[PATH_MAX];

        *out = (struct cgroup){.root = root};
        /* If version 1 has the memory controller, version 2 has no memory limits. */
        if (cgroup_read(root, pid, "memory", path))
                cgroup_find(out, root, "memory", path);
        else if (cgroup_read(root, pid, NULL, path))
                cgroup_find(out, root, NULL, path);
}

int headroom_join(const struct cgroup *group) {
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
static uint64_t group_reclaimable(const struct cgroup *group, const char *directory) {
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

static uint64_t group_room(const struct cgroup *group, const char *directory) {
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
static uint64_t groups_room(const struct cgroup *group) {
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

uint64_t headroom_available(const struct cgroup *group) {
        return less(machine_room(group->root), groups_room(group));
}
