/* SPDX-License-Identifier: MIT */
#include "process/mount.h"
#include <errno.h>
#define FUSE_USE_VERSION 31
#include <fuse_lowlevel.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <mntent.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/errno_text.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#ifndef ST_NOSYMFOLLOW
#define ST_NOSYMFOLLOW 8192
#endif

enum {
        MOUNT_LINE_MAX = 4 * PATH_MAX, /* bytes of a line of mountinfo, up to the type */
        UPGRADE_LOOK_NS = 20 * 1000 * 1000,
        UPGRADE_PATIENCE = 500, /* checks whether the upgrade was made */
};

extern char **environ;

/* The last message of libfuse.  It is printed only if no better one is known. */
static char mount_fuse_message[256];

static void mount_catch_message(enum fuse_log_level level, const char *format, va_list arguments) {
        (void)level;
        vsnprintf(mount_fuse_message, sizeof(mount_fuse_message), format, arguments);
        mount_fuse_message[strcspn(mount_fuse_message, "\n")] = '\0';
}

static void mount_complain_point(const char *mountpoint, int r) {
        fprintf(stderr, "iomemfs: %s: %s%s\n", mountpoint, errno_text(r),
                r == -ENOENT     ? "; make the directory first"
                : r == -ENOTCONN ? "; unmount what is left there first"
                                 : "");
}

bool mount_is_iomemfs(const char *path) {
        char line[MOUNT_LINE_MAX];
        struct mntent entry;
        bool found = false;
        FILE *mounts = setmntent("/proc/self/mounts", "re");

        /* The last entry is the topmost mount. */
        while (mounts && getmntent_r(mounts, &entry, line, sizeof(line))) {
                if (strcmp(entry.mnt_dir, path) == 0)
                        found = strcmp(entry.mnt_type, "fuse.iomemfs") == 0;
        }
        if (mounts)
                endmntent(mounts);
        return found;
}

/* A session of libfuse that is used for mounting only. */
static struct fuse_session *mount_session(const struct options *options) {
        static const struct fuse_lowlevel_ops none;
        struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
        struct fuse_session *session = NULL;

        if (fuse_opt_add_arg(&arguments, "iomemfs") == 0 &&
            fuse_opt_add_arg(&arguments, "-o") == 0 &&
            fuse_opt_add_arg(&arguments, options->mount_options) == 0)
                session = fuse_session_new(&arguments, &none, sizeof(none), NULL);
        fuse_opt_free_args(&arguments);
        return session;
}

/* Takes a duplicate of the session's descriptor, because the end of the session closes that. */
static int mount_take_fd(struct fuse_session *session) {
        int fd = fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 3);

        if (fd < 0)
                return -errno;
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
                int r = -errno;

                close(fd);
                return r;
        }
        return fd;
}

static unsigned long mount_current_flags(const struct statvfs *vfs) {
        /* The low bits mean the same in both calls. */
        unsigned long flags = vfs->f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC |
                                             MS_SYNCHRONOUS | MS_NOATIME | MS_NODIRATIME);

        if (vfs->f_flag & ST_RELATIME)
                flags |= MS_RELATIME;
        if (vfs->f_flag & ST_NOSYMFOLLOW)
                flags |= MS_NOSYMFOLLOW;
        return flags;
}

/* libfuse 3.14 does not know nosymfollow.  It was asked for safety's sake, so it must not be
 * ignored. statvfs(2) cannot be used, because no worker replies yet. */
static int mount_add_nosymfollow(const struct options *options) {
        unsigned long flags = options->mount_flags | MS_REMOUNT | MS_BIND;

        if (!(options->mount_flags & MS_NOSYMFOLLOW))
                return 0;
        return mount(NULL, options->mountpoint, NULL, flags, NULL) < 0 ? -errno : 0;
}

/* The steps after the mount was made. */
static int mount_finish(struct fuse_session *session, const struct options *options) {
        int fd = mount_take_fd(session);
        int r = fd < 0 ? fd : mount_add_nosymfollow(options);

        if (r < 0) {
                fprintf(stderr, "iomemfs: mount on %s: %s\n", options->mountpoint, errno_text(-r));
                if (fd >= 0)
                        close(fd);
                fuse_session_unmount(session);
                return r;
        }
        return fd;
}

/* Whether fusermount3, which mounts for ordinary users, is in PATH. */
static bool mount_has_fusermount(void) {
        const char *path = getenv("PATH");
        bool found = access("/usr/bin/fusermount3", X_OK) == 0;
        char *copy = strdup(path ? path : ""), *rest = NULL, program[PATH_MAX];

        for (char *dir = copy ? strtok_r(copy, ":", &rest) : NULL; dir && !found;
             dir = strtok_r(NULL, ":", &rest)) {
                snprintf(program, sizeof(program), "%s/fusermount3", dir);
                found = access(program, X_OK) == 0;
        }
        free(copy);
        return found;
}

static void mount_complain(void) {
        if (geteuid() != 0 && !mount_has_fusermount())
                fputs("iomemfs: fusermount3 is missing: install the package fuse3\n", stderr);
        else if (mount_fuse_message[0])
                fprintf(stderr, "iomemfs: %s\n", mount_fuse_message);
        /* If libfuse gave no message, fusermount3 has printed one. */
}

int mount_attach(const struct options *options) {
        mount_fuse_message[0] = '\0';
        fuse_set_log_func(mount_catch_message);
        struct fuse_session *session = mount_session(options);
        int r;

        if (session && fuse_session_mount(session, options->mountpoint) == 0) {
                r = mount_finish(session, options);
        } else {
                mount_complain();
                r = -EPERM;
        }
        if (session)
                fuse_session_destroy(session);
        fuse_set_log_func(NULL);
        return r;
}

static int mount_detach_by_fusermount(const char *mountpoint) {
        char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", (char *)mountpoint, NULL};
        int status;
        pid_t pid;
        int r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

        if (r)
                return -r;
        while (waitpid(pid, &status, 0) < 0) {
                if (errno != EINTR)
                        return -errno;
        }
        return status == 0 ? 0 : -EPERM;
}

static int mount_remove(const char *mountpoint) {
        if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
                return 0;
        return errno == EPERM ? mount_detach_by_fusermount(mountpoint) : -errno;
}

bool mount_is_new(const struct options *options) {
        return !options->fake && !options->upgrade && !options->remount;
}

/*
 * As stat(2).  If all processes of a daemon have died, their mount stays, and whoever looks gets
 * ENOTCONN.  It cannot come to life again, so it is unmounted for the one that we are to make.
 */
static int mount_stat(const struct options *options, const char *path, struct stat *st) {
        while (stat(path, st) < 0) {
                int r = -errno;

                if (r != -ENOTCONN || !mount_is_new(options) || !mount_is_iomemfs(path) ||
                    mount_remove(path) < 0)
                        return r;
                fprintf(stderr, "iomemfs: %s: unmounted what a dead daemon had left there\n", path);
        }
        return 0;
}

/* As mkdir -p.  Only if there is nothing: nobody may answer at a mount that has lost its daemon. */
static void mount_make_directory(const struct options *options) {
        char *path = strdup(options->mountpoint);
        struct stat st;

        for (char *slash = path; slash; *slash = '/') {
                slash = strchr(slash + 1, '/');
                if (slash)
                        *slash = '\0';
                if (lstat(path, &st) < 0 && errno == ENOENT)
                        mkdir(path, slash ? 0755 : options->make_directory);
                if (!slash)
                        break;
        }
        free(path);
}

int mount_check(struct options *options) {
        struct stat st;
        char *path;
        int r;

        if (options->make_directory && mount_is_new(options))
                mount_make_directory(options);
        path = realpath(options->mountpoint, NULL);
        r = path ? mount_stat(options, path, &st) : -errno;
        if (r < 0) {
                /* Another user's mount lets nobody in, not even to look at it. */
                if (path && r == -EACCES && mount_is_iomemfs(path))
                        fprintf(stderr, "iomemfs: %s: already mounted\n", path);
                else
                        mount_complain_point(options->mountpoint, r);
        } else if (!S_ISDIR(st.st_mode)) {
                r = -ENOTDIR;
                fprintf(stderr, "iomemfs: %s: not a directory\n", options->mountpoint);
        }
        if (r < 0) {
                free(path);
                return r;
        }
        free(options->mountpoint);
        options->mountpoint = path;
        return 0;
}

/* The number after `key` at the start of a line of /proc/self/fdinfo/FD.  False: there is none. */
static bool fdinfo_number(int fd, const char *key, unsigned long *out) {
        char path[64], line[256];
        bool found = false;
        FILE *info;

        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        info = fopen(path, "re");
        if (!info)
                return false;
        while (!found && fgets(line, sizeof(line), info))
                found = strncmp(line, key, strlen(key)) == 0 &&
                        sscanf(line + strlen(key), " %lu", out) == 1;
        fclose(info);
        return found;
}

/* A line of mountinfo. */
struct mount_entry {
        uint32_t device;    /* its minor number if it has no disk; 0: none, or not visible to us */
        bool is_iomemfs;    /* by its type */
        unsigned long user; /* uid of the user who mounted it, if it is FUSE */
};

static void mount_entry_parse(struct mount_entry *out, const char *line) {
        const char *type = strstr(line, " - "), *user = strstr(type ? type : "", "user_id=");
        unsigned long major, minor;

        if (sscanf(line, "%*u %*u %lu:%lu", &major, &minor) == 2 && major == 0)
                out->device = (uint32_t)minor;
        out->is_iomemfs = type && strncmp(type, " - fuse.iomemfs ", 16) == 0;
        out->user = user ? strtoul(user + strlen("user_id="), NULL, 10) : 0;
}

/* The mount that fd is in; all zeros if it is not known. */
static struct mount_entry mount_of(int fd) {
        struct mount_entry entry = {0};
        unsigned long mount_id, id;
        FILE *mounts = NULL;
        char *line = NULL;
        size_t size = 0;

        if (fdinfo_number(fd, "mnt_id:", &mount_id))
                mounts = fopen("/proc/self/mountinfo", "re");
        while (mounts && getline(&line, &size, mounts) > 0)
                if (sscanf(line, "%lu", &id) == 1 && id == mount_id)
                        mount_entry_parse(&entry, line);
        free(line);
        if (mounts)
                fclose(mounts);
        return entry;
}

/*
 * The device of the topmost mount at the mount point; 0: it has a disk, or is not known.  Needs no
 * descriptor, since there may be none left, and sends no request to the file system.
 */
static uint32_t mount_top_device(const char *mountpoint) {
        struct statx stx;

        if (statx(AT_FDCWD, mountpoint, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
                  0, &stx) < 0)
                return 0;
        return stx.stx_dev_major == 0 ? stx.stx_dev_minor : 0;
}

uint32_t mount_device(const char *mountpoint, int fuse_fd) {
        unsigned long connection;

        /* Linux 6.17 says it here.  With older kernels look at the path: nobody else can have
         * mounted by now. */
        if (fdinfo_number(fuse_fd, "fuse_connection:", &connection))
                return (uint32_t)connection;
        return mount_top_device(mountpoint);
}

int mount_detach(const char *mountpoint, int fuse_fd, uint32_t device) {
        /* End the connection first, so that the unmount waits for no reply. */
        if (fuse_fd >= 0)
                close(fuse_fd);
        if (device == 0 || mount_top_device(mountpoint) != device)
                return -ENOENT;
        return mount_remove(mountpoint);
}

/*
 * Opens the directory if it is in an iomemfs that root or this user has mounted; otherwise returns
 * -1 after one line on stderr.  Another user's mount could be any file system with our name.
 */
static int mount_open(const struct options *options) {
        const char *path = options->mountpoint;
        int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct mount_entry entry;

        if (fd < 0) {
                fprintf(stderr, "iomemfs: %s: %s\n", path, errno_text(errno));
                return -1;
        }
        entry = mount_of(fd);
        if (entry.is_iomemfs && (entry.user == 0 || entry.user == geteuid()))
                return fd;
        if (entry.is_iomemfs)
                fprintf(stderr, "iomemfs: %s: mounted by user %lu, who can do that\n", path,
                        entry.user);
        else
                fprintf(stderr, "iomemfs: %s: no iomemfs is mounted there\n", path);
        close(fd);
        return -1;
}

/* Opens a control file of it; follows no symbolic link, and does not leave the mount. */
static int mount_open_file(const struct options *options, int mount_fd, const char *name,
                           int flags) {
        struct open_how how = {
                .flags = (unsigned int)(flags | O_CLOEXEC | O_NOCTTY),
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
        };
        char path[LAYOUT_NAME_MAX + sizeof("/admin")];

        snprintf(path, sizeof(path), "%s/%s", options->ctl, name);
        return (int)syscall(SYS_openat2, mount_fd, path, &how, sizeof(how));
}

/* Writes a line to .ctl/admin.  If it is refused, prints the reason that the daemon gives. */
static int mount_administer(const struct options *options, int mount_fd, const char *line) {
        int status = MOUNT_OK, fd;
        char reason[256];

        if (!options->ctl[0]) {
                fprintf(stderr, "iomemfs: %s: nothing can be changed with ctl=off\n",
                        options->mountpoint);
                return MOUNT_FAILED;
        }
        fd = mount_open_file(options, mount_fd, "admin", O_RDWR);
        if (fd < 0) {
                fprintf(stderr, "iomemfs: %s/%s/admin: %s%s\n", options->mountpoint, options->ctl,
                        errno_text(errno), errno == ENOENT ? " (mounted with another ctl=?)" : "");
                return MOUNT_FAILED;
        }
        if (write(fd, line, strlen(line)) < 0) {
                int error = errno;
                ssize_t length = pread(fd, reason, sizeof(reason) - 1, 0);

                reason[length > 0 ? length : 0] = '\0';
                reason[strcspn(reason, "\n")] = '\0';
                fprintf(stderr, "iomemfs: %s: %s\n", options->mountpoint,
                        reason[0] ? reason : errno_text(error));
                status = MOUNT_FAILED;
        }
        close(fd);
        return status;
}

/* The present flags of the mount itself (ro, noexec, …), and the flags that are wanted. */
static int mount_wanted_flags(const struct options *options, int mount_fd, unsigned long *now,
                              unsigned long *then) {
        struct statvfs vfs;

        if (fstatvfs(mount_fd, &vfs) < 0) {
                fprintf(stderr, "iomemfs: %s: %s\n", options->mountpoint, errno_text(errno));
                return MOUNT_FAILED;
        }
        *now = mount_current_flags(&vfs);
        *then = (*now & ~options->mount_flags_cleared) | options->mount_flags;
        return MOUNT_OK;
}

static int mount_change_flags(const struct options *options, int mount_fd, unsigned long flags) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", mount_fd);
        if (mount(NULL, path, NULL, MS_REMOUNT | flags, NULL) == 0)
                return MOUNT_OK;
        fprintf(stderr, "iomemfs: remount of %s: %s\n", options->mountpoint, errno_text(errno));
        return MOUNT_FAILED;
}

/* The line for the daemon; "" if it need not be told. */
static void mount_remount_line(const struct options *options, const char *access, char line[128]) {
        int n = snprintf(line, 128, "remount%s", access);
        int start = n;

        if (options->has_size)
                n += snprintf(line + n, 128 - (size_t)n, " size=%llu",
                              (unsigned long long)options->size);
        if (options->has_nr_inodes)
                n += snprintf(line + n, 128 - (size_t)n, " nr_inodes=%llu",
                              (unsigned long long)options->nr_inodes);
        snprintf(line + n, 128 - (size_t)n, "\n");
        if (n == start && !access[0])
                line[0] = '\0';
}

/* Tells the daemon while its control file can be written to: before ro, and after rw. */
static int mount_remount_open(const struct options *options, int mount_fd) {
        unsigned long now = 0, then = 0;
        const char *access = "";
        char line[128];
        int status;

        status = mount_wanted_flags(options, mount_fd, &now, &then);
        if (status == MOUNT_OK && (now & ~then & MS_RDONLY)) {
                status = mount_change_flags(options, mount_fd, then);
                now = then;
                access = " rw";
        } else if (then & ~now & MS_RDONLY) {
                access = " ro";
        }
        mount_remount_line(options, access, line);
        if (status == MOUNT_OK && line[0])
                status = mount_administer(options, mount_fd, line);
        if (status == MOUNT_OK && then != now)
                status = mount_change_flags(options, mount_fd, then);
        return status;
}

int mount_remount(const struct options *options) {
        int fd = mount_open(options), status;

        if (fd < 0)
                return MOUNT_FAILED;
        status = mount_remount_open(options, fd);
        close(fd);
        return status;
}

/* Reads from .ctl/stats how many upgrades were made or refused; false if it cannot be read. */
static bool mount_count_upgrades(const struct options *options, int mount_fd, unsigned long *made,
                                 unsigned long *refused) {
        int found = 0, fd = mount_open_file(options, mount_fd, "stats", O_RDONLY);
        FILE *stats = fd < 0 ? NULL : fdopen(fd, "r");
        char line[256];

        if (!stats) {
                if (fd >= 0)
                        close(fd);
                return false;
        }
        while (fgets(line, sizeof(line), stats)) {
                found += sscanf(line, "iomemfs_upgrades_total %lu", made) == 1;
                found += sscanf(line, "iomemfs_upgrades_refused_total %lu", refused) == 1;
        }
        fclose(stats);
        return found == 2;
}

/* Asks for the upgrade, and waits for the result. */
static int mount_upgrade_at(const struct options *options, int mount_fd) {
        unsigned long made, refused, made_now, refused_now;
        int status;

        if (!mount_count_upgrades(options, mount_fd, &made, &refused))
                made = refused = 0;
        status = mount_administer(options, mount_fd, "upgrade\n");
        for (int waited = 0; status == MOUNT_OK; waited++) {
                if (!mount_count_upgrades(options, mount_fd, &made_now, &refused_now))
                        break;
                if (made_now > made)
                        return MOUNT_OK;
                if (refused_now > refused || waited > UPGRADE_PATIENCE) {
                        fprintf(stderr, "iomemfs: %s: not upgraded; the log says why\n",
                                options->mountpoint);
                        status = MOUNT_FAILED;
                }
                nanosleep(&(struct timespec){.tv_nsec = UPGRADE_LOOK_NS}, NULL);
        }
        if (status == MOUNT_OK)
                fprintf(stderr, "iomemfs: %s: cannot tell whether it was upgraded\n",
                        options->mountpoint);
        return MOUNT_FAILED;
}

int mount_upgrade(const struct options *options) {
        int fd = mount_open(options), status = MOUNT_FAILED;

        if (fd >= 0) {
                status = mount_upgrade_at(options, fd);
                close(fd);
        }
        return status;
}
