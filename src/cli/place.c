/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "cli.h"

/*
 * place: which iomemfs a command is about, and the name in it.
 *
 * A path names its own file system.  A name belongs to that of -m, $IOMEMFS, the working directory,
 * or /mnt/mem, the first of these that there is.
 */

const char *cli_where;

static bool is_iomemfs(const char *directory) {
        char control[PATH_MAX];
        struct statfs fs;

        snprintf(control, sizeof(control), "%s/.ctl/create", directory);
        return statfs(directory, &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC &&
               access(control, F_OK) == 0;
}

const char *cli_place(void) {
        const char *variable = getenv("IOMEMFS");

        if (cli_where)
                return cli_where;
        if (variable && *variable)
                return variable;
        return is_iomemfs(".") ? "." : "/mnt/mem";
}

bool cli_is_path(const char *argument) {
        return argument && (argument[0] == '/' || strncmp(argument, "./", 2) == 0 ||
                            strncmp(argument, "../", 3) == 0 || strcmp(argument, ".") == 0 ||
                            strcmp(argument, "..") == 0);
}

/* Finds the mount whose socket was given; copies its path to out. */
static bool mount_of_socket(const char *socket, char out[PATH_MAX]) {
        FILE *mounts = fopen("/proc/self/mountinfo", "re");
        char line[2 * PATH_MAX], link[PATH_MAX + 16], target[PATH_MAX];
        bool found = false;

        while (mounts && !found && fgets(line, sizeof(line), mounts)) {
                ssize_t n;

                if (!strstr(line, " - fuse.iomemfs ") ||
                    sscanf(line, "%*s %*s %*s %*s %4095s", out) != 1)
                        continue;
                snprintf(link, sizeof(link), "%s/.ctl/socket", out);
                n = readlink(link, target, sizeof(target) - 1);
                target[n > 0 ? n : 0] = '\0';
                found = strcmp(target, socket) == 0;
        }
        if (mounts)
                fclose(mounts);
        return found;
}

void cli_find_mount(char *out) {
        const char *place = cli_place();
        struct stat st;

        if (stat(place, &st) < 0 || !S_ISSOCK(st.st_mode) || !mount_of_socket(place, out))
                snprintf(out, PATH_MAX, "%s", place);
}

bool cli_is_mount(const char *path) {
        char line[4 * PATH_MAX], real[PATH_MAX];
        struct mntent entry;
        bool found = false;
        FILE *mounts = setmntent("/proc/self/mounts", "re");

        if (!realpath(path, real))
                snprintf(real, sizeof(real), "%s", path);
        /* The last entry is the topmost mount. */
        while (mounts && getmntent_r(mounts, &entry, line, sizeof(line)))
                if (strcmp(entry.mnt_dir, real) == 0)
                        found = strcmp(entry.mnt_type, "fuse.iomemfs") == 0;
        if (mounts)
                endmntent(mounts);
        return found;
}

/* Splits a path into its directory, which is copied, and the name in it. */
static int connect_path(struct iomem_connection **out, const char *path, const char **name) {
        const char *slash = strrchr(path, '/');
        char directory[PATH_MAX];

        *name = slash ? slash + 1 : path;
        snprintf(directory, sizeof(directory), "%.*s",
                 !slash          ? 1
                 : slash == path ? 1
                                 : (int)(slash - path),
                 slash ? path : ".");
        return iomem_connect(out, directory);
}

int cli_try_connect(struct iomem_connection **out, const char *argument, const char **name) {
        static __thread char target[PATH_MAX];
        int r;

        *name = argument;
        if (!cli_is_path(argument))
                return iomem_connect(out, cli_place());
        r = connect_path(out, argument, name);
        /* A symbolic link may lead into an iomemfs. */
        if (r == -ENODEV && realpath(argument, target) && strcmp(target, argument) != 0)
                return connect_path(out, target, name);
        return r;
}

/* With -m there are two places; which one is meant is not for us to guess. */
static int check_path(const char *argument) {
        if (cli_is_path(argument) && cli_where)
                return cli_misuse("%s: with -m, names are relative to that", argument);
        return 0;
}

int cli_connect(struct iomem_connection **out, const char *argument, const char **name) {
        int r = check_path(argument);

        *out = NULL;
        if (r != 0)
                return r;
        r = cli_try_connect(out, argument, name);
        return r < 0 ? cli_fail_iomem(r) : 0;
}

int cli_connect_directory(struct iomem_connection **out, const char *argument, const char **name) {
        int r = check_path(argument);

        *out = NULL;
        *name = cli_is_path(argument) ? NULL : argument;
        if (r != 0)
                return r;
        r = iomem_connect(out, cli_is_path(argument) ? argument : cli_place());
        return r < 0 ? cli_fail_iomem(r) : 0;
}
