/* SPDX-License-Identifier: MIT */
#include "volumed/volume.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static const char FOLDER[] = "volumes";
/* No volume has such a name. */
static const char REMOVED[] = ".removed-", UNFINISHED[] = ".making-";
static const char *place_mount, *place_views;

void volumes_set_place(const char *mount, const char *views) {
        place_mount = mount;
        place_views = views;
}

int volume_fail(struct volume_error *error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
        return -1;
}

/* Options */

bool volume_is_name(const char *name) {
        size_t length = strlen(name);

        if (length == 0 || length > VOLUME_NAME_MAX || !isalnum((unsigned char)name[0]))
                return false;
        for (size_t i = 0; i < length; i++)
                if (!isascii(name[i]) ||
                    (!isalnum((unsigned char)name[i]) && !strchr("_.-", name[i])))
                        return false;
        return true;
}

void volume_options_init(struct volume_options *out) {
        *out = (struct volume_options){.mode = 01777};
}

static bool parse_number(const char *text, int base, unsigned long most, unsigned long *out) {
        char *end;

        errno = 0;
        *out = strtoul(text, &end, base);
        return isdigit((unsigned char)text[0]) && !*end && errno == 0 && *out <= most;
}

/* Adds a word.  The daemon of the mount knows which values are right. */
static int add_word(char words[VOLUME_WORDS_MAX], const char *name, const char *value,
                    struct volume_error *error) {
        size_t used = strlen(words);
        int n;

        if (value[strcspn(value, " \t\n\\")] != '\0' || !value[0])
                return volume_fail(error, "%s: not a value of %.20s", value, name);
        n = snprintf(words + used, VOLUME_WORDS_MAX - used, "%s%s%s", used > 0 ? " " : "", name,
                     value);
        return n < (int)(VOLUME_WORDS_MAX - used) ? 0 : volume_fail(error, "%s is too long", name);
}

/* A list with commas, as a list with spaces. */
static int add_defaults(struct volume_options *out, const char *value, struct volume_error *error) {
        char copy[VOLUME_WORDS_MAX], *rest = NULL;
        int r = 0;

        if (strlen(value) >= sizeof(copy))
                return volume_fail(error, "default= is too long");
        strcpy(copy, value);
        for (char *word = strtok_r(copy, ",", &rest); word && r == 0;
             word = strtok_r(NULL, ",", &rest))
                r = add_word(out->defaults, "", word, error);
        return r;
}

static int set_bool(bool *out, const char *value, struct volume_error *error) {
        *out = strcmp(value, "true") == 0 || strcmp(value, "1") == 0 || !value[0];
        if (!*out && strcmp(value, "false") != 0 && strcmp(value, "0") != 0)
                return volume_fail(error, "ro is true or false");
        return 0;
}

int volume_option(struct volume_options *out, const char *name, const char *value,
                  struct volume_error *error) {
        unsigned long number;

        if (strcmp(name, "size") == 0)
                return add_word(out->limit, "size=", value, error);
        if (strcmp(name, "nr_inodes") == 0)
                return add_word(out->limit, "nr_inodes=", value, error);
        if (strcmp(name, "default") == 0)
                return add_defaults(out, value, error);
        if (strcmp(name, "ro") == 0)
                return set_bool(&out->read_only, value, error);
        if (strcmp(name, "mode") == 0) {
                if (!parse_number(value, 8, 07777, &number))
                        return volume_fail(error, "mode=: not permissions in octal: %.40s", value);
                out->mode = (mode_t)number;
                return 0;
        }
        if (strcmp(name, "uid") != 0 && strcmp(name, "gid") != 0)
                return volume_fail(error,
                                   "%.40s: unknown option (there are size, nr_inodes, mode, "
                                   "uid, gid, default and ro)",
                                   name);
        if (!parse_number(value, 10, UINT32_MAX - 1, &number))
                return volume_fail(error, "%s=: not a number: %.40s", name, value);
        if (name[0] == 'u')
                out->uid = (uid_t)number;
        else
                out->gid = (gid_t)number;
        return 0;
}

/* Making */

void volume_path(char *out, size_t size, const char *name, const struct volume_options *options) {
        if (options->read_only)
                snprintf(out, size, "%s/%s", place_views, name);
        else
                snprintf(out, size, "%s/%s/%s", place_mount, FOLDER, name);
}

/* The directory of the volumes, which is made on the mount; or -1 and the text. */
static int folder_open(struct volume_error *error) {
        int mount = open(place_mount, O_PATH | O_DIRECTORY | O_CLOEXEC), folder;

        if (mount < 0 || faccessat(mount, ".ctl/limit", F_OK, 0) < 0) {
                if (mount >= 0)
                        close(mount);
                return volume_fail(error, "%s: no iomemfs with control files is mounted there",
                                   place_mount);
        }
        /* Containers get at a volume by its mount; nobody needs to list them. */
        if (mkdirat(mount, FOLDER, 0711) < 0 && errno != EEXIST) {
                volume_fail(error, "%s/%s: %s", place_mount, FOLDER, strerror(errno));
                close(mount);
                return -1;
        }
        folder = openat(mount, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (folder < 0)
                volume_fail(error, "%s/%s: %s", place_mount, FOLDER, strerror(errno));
        close(mount);
        return folder;
}

/* What the daemon of the mount says of a command that failed. */
static int command_fail(int dir, const char *file, int number, struct volume_error *error) {
        char said[256] = "";
        int fd = openat(dir, ".ctl/error", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, said, sizeof(said) - 1);

        if (fd >= 0)
                close(fd);
        said[n > 0 ? n : 0] = '\0';
        said[strcspn(said, "\n")] = '\0';
        return volume_fail(error, "%s: %s", file, said[0] ? said : strerror(number));
}

/* Writes a command to a control file of the volume. */
static int volume_command(int dir, const char *file, const char *words,
                          struct volume_error *error) {
        char path[64], line[VOLUME_WORDS_MAX + 1];
        int length = snprintf(line, sizeof(line), "%s\n", words), fd, r = 0;

        snprintf(path, sizeof(path), ".ctl/%s", file);
        fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return volume_fail(error, "%s: %s", path, strerror(errno));
        if (write(fd, line, (size_t)length) != length)
                r = command_fail(dir, file, errno, error);
        close(fd);
        return r;
}

static int volume_set(int dir, const struct volume_options *options, struct volume_error *error) {
        if (fchown(dir, options->uid, options->gid) < 0 || fchmod(dir, options->mode) < 0)
                return volume_fail(error, "owner and mode: %s", strerror(errno));
        if (options->limit[0] && volume_command(dir, "limit", options->limit, error) < 0)
                return -1;
        if (options->defaults[0])
                return volume_command(dir, "default", options->defaults, error);
        return 0;
}

/* Makes it under another name first: what is there under its own is complete. */
static int volume_make_new(int folder, const char *name, const struct volume_options *options,
                           struct volume_error *error) {
        char fresh[VOLUME_NAME_MAX + 16];
        int dir, r = -1;

        snprintf(fresh, sizeof(fresh), "%s%s", UNFINISHED, name);
        unlinkat(folder, fresh, AT_REMOVEDIR);
        if (mkdirat(folder, fresh, 0700) < 0)
                return volume_fail(error, "%s: %s", name, strerror(errno));
        dir = openat(folder, fresh, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir >= 0) {
                r = volume_set(dir, options, error);
                close(dir);
        }
        if (dir < 0 || (r == 0 && renameat(folder, fresh, folder, name) < 0))
                r = volume_fail(error, "%s: %s", name, strerror(errno));
        if (r < 0)
                unlinkat(folder, fresh, AT_REMOVEDIR);
        return r;
}

int volume_make(const char *name, const struct volume_options *options, bool *is_new,
                struct volume_error *error) {
        int folder = folder_open(error), r = 0;

        *is_new = false;
        if (folder < 0)
                return -1;
        if (faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
                r = volume_make_new(folder, name, options, error);
                *is_new = r == 0;
        }
        close(folder);
        return r;
}

/* Removing */

/* rm(1) copes with trees of any depth, and follows no links. */
static int remove_tree(const char *path) {
        char *argv[] = {"rm", "-rf", "--one-file-system", "--", (char *)path, NULL};
        char *environment[] = {NULL};
        int status;
        pid_t pid;

        if (posix_spawn(&pid, "/bin/rm", NULL, NULL, argv, environment) != 0)
                return -1;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -1;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

int volume_remove(const char *name, struct volume_error *error) {
        char removed[VOLUME_NAME_MAX + 16], path[PATH_MAX];
        int folder = folder_open(error), r = 0;

        if (folder < 0)
                return -1;
        /* Under another name, so that a volume of the same name is never made of its rest. */
        snprintf(removed, sizeof(removed), "%s%s", REMOVED, name);
        snprintf(path, sizeof(path), "%s/%s/%s", place_mount, FOLDER, removed);
        remove_tree(path);
        if (renameat(folder, name, folder, removed) < 0)
                r = errno == ENOENT ? 0 : volume_fail(error, "%s: %s", name, strerror(errno));
        else if (remove_tree(path) < 0)
                r = volume_fail(error, "%s: cannot be removed", path);
        close(folder);
        return r;
}

void volumes_tidy(void) {
        struct volume_error error;
        int folder = folder_open(&error);
        DIR *dir = folder < 0 ? NULL : fdopendir(folder);
        const struct dirent *entry;
        char path[PATH_MAX];

        while (dir && (entry = readdir(dir)))
                if (strncmp(entry->d_name, REMOVED, strlen(REMOVED)) == 0 ||
                    strncmp(entry->d_name, UNFINISHED, strlen(UNFINISHED)) == 0) {
                        snprintf(path, sizeof(path), "%s/%s/%s", place_mount, FOLDER,
                                 entry->d_name);
                        remove_tree(path);
                }
        if (dir)
                closedir(dir);
        else if (folder >= 0)
                close(folder);
}

/* Uses */

/* Whether a line of mountinfo shows the volume, or a part of it, anywhere but at our view. */
static bool line_shows(char *line, dev_t device, const char *name) {
        char root[PATH_MAX], at[PATH_MAX], view[PATH_MAX], prefix[VOLUME_NAME_MAX + 16];
        unsigned int major, minor;
        size_t length;

        if (sscanf(line, "%*u %*u %u:%u %4095s %4095s", &major, &minor, root, at) != 4 ||
            makedev(major, minor) != device)
                return false;
        snprintf(view, sizeof(view), "%s/%s", place_views, name);
        length = (size_t)snprintf(prefix, sizeof(prefix), "/%s/%s", FOLDER, name);
        return strcmp(at, view) != 0 && strncmp(root, prefix, length) == 0 &&
               (root[length] == '\0' || root[length] == '/');
}

static bool process_shows(const char *pid, dev_t device, const char *name) {
        char path[64], *line = NULL;
        bool found = false;
        size_t size = 0;
        FILE *mounts;

        snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", pid);
        mounts = fopen(path, "re");
        while (mounts && !found && getline(&line, &size, mounts) > 0)
                found = line_shows(line, device, name);
        free(line);
        if (mounts)
                fclose(mounts);
        return found;
}

bool volume_is_used(const char *name) {
        DIR *processes = opendir("/proc");
        const struct dirent *entry;
        bool found = false, mounted;
        struct stat st;

        mounted = stat(place_mount, &st) == 0;
        while (processes && mounted && !found && (entry = readdir(processes)))
                found = isdigit((unsigned char)entry->d_name[0]) &&
                        process_shows(entry->d_name, st.st_dev, name);
        if (processes)
                closedir(processes);
        return found;
}

/* Views */

static bool view_is_there(const char *path) {
        struct stat view, mount;

        return stat(path, &view) == 0 && stat(place_mount, &mount) == 0 &&
               view.st_dev == mount.st_dev;
}

int volume_show(const char *name, const struct volume_options *options,
                struct volume_error *error) {
        const unsigned long flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV;
        char path[PATH_MAX], source[PATH_MAX];

        if (!options->read_only)
                return 0;
        volume_path(path, sizeof(path), name, options);
        snprintf(source, sizeof(source), "%s/%s/%s", place_mount, FOLDER, name);
        if (mkdir(path, 0755) < 0 && errno != EEXIST && !view_is_there(path))
                return volume_fail(error, "%s: %s", path, strerror(errno));
        if (view_is_there(path))
                return 0;
        umount2(path, MNT_DETACH); /* of an iomemfs that is gone */
        if (mount(source, path, NULL, MS_BIND, NULL) < 0)
                return volume_fail(error, "%s: %s", path, strerror(errno));
        if (mount(NULL, path, NULL, flags, NULL) < 0) {
                volume_fail(error, "%s: %s", path, strerror(errno));
                umount2(path, MNT_DETACH);
                return -1;
        }
        return 0;
}

void volume_hide(const char *name) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", place_views, name);
        umount2(path, MNT_DETACH);
        rmdir(path);
}
