/* SPDX-License-Identifier: MIT */
#include "base/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *file_open(const char *root, const char *path) {
        char whole[PATH_MAX];

        if ((size_t)snprintf(whole, sizeof(whole), "%s%s", root, path) >= sizeof(whole))
                return NULL;
        return fopen(whole, "re");
}

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

/* Whether a list of words with commas has this one. */
static bool has_word(const char *list, const char *word) {
        size_t length = strlen(word);

        for (; list; list = strchr(list, ',')) {
                list += *list == ',';
                if (strncmp(list, word, length) == 0 && (list[length] == ',' || !list[length]))
                        return true;
        }
        return false;
}

/* Whether the mount is of the hierarchy, see cgroup_read(). */
static bool mount_is_of(const struct mount *mount, const char *controller) {
        if (!controller)
                return strcmp(mount->type, "cgroup2") == 0;
        return strcmp(mount->type, "cgroup") == 0 && has_word(mount->options, controller);
}

/* Takes the path from a line of /proc/PID/cgroup, ID:CONTROLLERS:PATH, if it is of the hierarchy. */
static bool line_parse(char *line, const char *controller, char path[PATH_MAX]) {
        char *controllers = strchr(line, ':'), *end;

        line[strcspn(line, "\n")] = '\0';
        end = controllers ? strchr(++controllers, ':') : NULL;
        if (!end)
                return false;
        *end++ = '\0';
        if (controller ? !has_word(controllers, controller) : *controllers != '\0')
                return false;
        snprintf(path, PATH_MAX, "%s", end);
        return true;
}

bool cgroup_read(const char *root, pid_t pid, const char *controller, char path[PATH_MAX]) {
        char name[32] = "/proc/self/cgroup", *line = NULL;
        bool found = false;
        size_t size = 0;
        FILE *file;

        if (pid != 0)
                snprintf(name, sizeof(name), "/proc/%d/cgroup", (int)pid);
        file = file_open(root, name);
        while (file && !found && getline(&line, &size, file) > 0)
                found = line_parse(line, controller, path);
        free(line);
        if (file)
                fclose(file);
        return found;
}

/* The part of a group's path below the part that is mounted; NULL if the mount does not show it. */
static const char *mount_shows(const struct mount *mount, const char *path) {
        size_t top = strcmp(mount->top, "/") == 0 ? 0 : strlen(mount->top);

        if (strncmp(path, mount->top, top) != 0 || (path[top] && path[top] != '/') ||
            strstr(path, "/.."))
                return NULL;
        return path[top] && path[top + 1] ? path + top : "";
}

/* Joins mount point and path.  True: the mount shows the path. */
static bool cgroup_place(struct cgroup *group, const struct mount *mount, const char *path) {
        const char *below = mount_shows(mount, path);
        size_t point = strlen(mount->point);

        if ((!below && group->path[0]) || point + strlen(below ? below : "") >= sizeof(group->path))
                return false;
        memcpy(group->path, mount->point, point);
        strcpy(group->path + point, below ? below : "");
        group->mount_length = point;
        return below;
}

bool cgroup_find(struct cgroup *out, const char *root, const char *controller, const char *path) {
        struct mount *mount = malloc(sizeof(*mount));
        FILE *file = file_open(root, "/proc/self/mountinfo");
        bool found = false;
        char *line = NULL;
        size_t size = 0;

        out->path[0] = '\0';
        out->mount_length = 0;
        out->root = root;
        out->version = controller ? 1 : 2;
        while (mount && file && !found && getline(&line, &size, file) > 0)
                if (mount_parse(mount, line) && mount_is_of(mount, controller))
                        found = cgroup_place(out, mount, path);
        free(line);
        free(mount);
        if (file)
                fclose(file);
        return found;
}
