/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "cli.h"
#include "table.h"

/*
 * who: lists the processes that have a region open or mapped.  A file of the mount and the memory
 * behind it have different device and inode numbers: descriptors from the socket and, with some
 * kernels, mappings have those of the memory.  Processes that the user may not inspect are skipped,
 * and so is the daemon.
 */

enum column { COL_PID, COL_USER, COL_COMMAND, COL_FD, COL_ACCESS, COL_VIA, _COL_N };

static const struct table_column columns[] = {
        [COL_PID] = {"PID", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "process"},
        [COL_USER] = {"USER", 0.1, 0, SCOLS_JSON_STRING, "its user"},
        [COL_COMMAND] = {"COMMAND", 0.2, 0, SCOLS_JSON_STRING, "its command"},
        [COL_FD] = {"FD", 3, SCOLS_FL_RIGHT, SCOLS_JSON_STRING, "descriptor, or mem for a mapping"},
        [COL_ACCESS] = {"ACCESS", 2, 0, SCOLS_JSON_STRING, "r, w or rw"},
        [COL_VIA] = {"VIA", 6, 0, SCOLS_JSON_STRING, "mount or memfd"},
        {NULL},
};

struct identity {
        dev_t dev;
        ino_t ino;
        const char *via;
};

struct search {
        struct identity identities[2];
        int n;
        struct table table;
};

static void add_identity(struct search *search, dev_t dev, ino_t ino, const char *via) {
        for (int i = 0; i < search->n; i++)
                if (search->identities[i].dev == dev && search->identities[i].ino == ino)
                        return;
        search->identities[search->n++] = (struct identity){dev, ino, via};
}

static const char *via_of(const struct search *search, dev_t dev, ino_t ino) {
        for (int i = 0; i < search->n; i++)
                if (search->identities[i].dev == dev && search->identities[i].ino == ino)
                        return search->identities[i].via;
        return NULL;
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

/* Finds the region's file, if its mount is visible. */
static void identify_file(struct search *search, const char *argument, const char *name) {
        const char *where = cli_where ? cli_where : getenv("IOMEMFS");
        char path[2 * PATH_MAX], mount[PATH_MAX];
        struct stat st;

        if (!where || !*where)
                where = "/mnt/mem";
        if (argument[0] == '/')
                snprintf(path, sizeof(path), "%s", argument);
        else if (stat(where, &st) == 0 && S_ISSOCK(st.st_mode) && mount_of_socket(where, mount))
                snprintf(path, sizeof(path), "%s/%s", mount, name);
        else
                snprintf(path, sizeof(path), "%s/%s", where, name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
                add_identity(search, st.st_dev, st.st_ino, "mount");
}

/* 0, or -1 after a message. */
static int identify(struct search *search, const char *argument) {
        const char *name;
        struct iomem_connection *connection = cli_connect(argument, &name);
        struct stat st;
        int fd;

        if (!connection)
                return -1;
        identify_file(search, argument, name);
        fd = iomem_open(connection, name, IOMEM_READ);
        iomem_disconnect(connection);
        if (fd >= 0 && fstat(fd, &st) == 0)
                add_identity(search, st.st_dev, st.st_ino, "memfd");
        if (fd >= 0)
                close(fd);
        if (search->n > 0)
                return 0;
        cli_fail_iomem();
        return -1;
}

/* Processes */

static void read_comm(pid_t pid, char comm[64]) {
        char path[64];
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
        comm[0] = '\0';
        file = fopen(path, "re");
        if (file && fgets(comm, 64, file))
                comm[strcspn(comm, "\n")] = '\0';
        if (file)
                fclose(file);
}

static void add_user(struct search *search, struct libscols_line *line, pid_t pid) {
        char path[64], user[64];
        struct stat st;

        snprintf(path, sizeof(path), "/proc/%d", (int)pid);
        if (stat(path, &st) < 0)
                return;
        cli_format_user(user, sizeof(user), st.st_uid);
        table_set(&search->table, line, COL_USER, user);
}

static void add_reference(struct search *search, pid_t pid, const char *fd, bool readable,
                          bool writable, const char *via) {
        struct libscols_line *line = table_line(&search->table);
        char text[64], access[3] = "";

        snprintf(text, sizeof(text), "%d", (int)pid);
        table_set(&search->table, line, COL_PID, text);
        read_comm(pid, text);
        table_set(&search->table, line, COL_COMMAND, text);
        add_user(search, line, pid);
        table_set(&search->table, line, COL_FD, fd);
        snprintf(access, sizeof(access), "%s%s", readable ? "r" : "", writable ? "w" : "");
        table_set(&search->table, line, COL_ACCESS, access);
        table_set(&search->table, line, COL_VIA, via);
}

/* Does not ask the file system, which may not reply. */
static bool stat_quickly(int dir, const char *name, dev_t *dev, ino_t *ino) {
        struct statx stx;

        if (statx(dir, name, AT_STATX_DONT_SYNC, STATX_INO, &stx) < 0)
                return false;
        *dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
        *ino = stx.stx_ino;
        return true;
}

static void scan_fds(struct search *search, pid_t pid) {
        char path[64];
        struct dirent *entry;
        DIR *dir;

        snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        dir = opendir(path);
        while (dir && (entry = readdir(dir))) {
                const char *via;
                struct stat link;
                dev_t dev;
                ino_t ino;

                if (!isdigit((unsigned char)entry->d_name[0]) ||
                    !stat_quickly(dirfd(dir), entry->d_name, &dev, &ino) ||
                    !(via = via_of(search, dev, ino)) ||
                    fstatat(dirfd(dir), entry->d_name, &link, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                add_reference(search, pid, entry->d_name, link.st_mode & S_IRUSR,
                              link.st_mode & S_IWUSR, via);
        }
        if (dir)
                closedir(dir);
}

static void scan_maps(struct search *search, pid_t pid) {
        char path[64], line[PATH_MAX + 256];
        FILE *maps;

        snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
        maps = fopen(path, "re");
        while (maps && fgets(line, sizeof(line), maps)) {
                unsigned int major_number, minor_number;
                unsigned long inode;
                char access[8];
                const char *via;

                if (sscanf(line, "%*s %7s %*s %x:%x %lu", access, &major_number, &minor_number,
                           &inode) != 4)
                        continue;
                via = via_of(search, makedev(major_number, minor_number), inode);
                if (via)
                        add_reference(search, pid, "mem", access[0] == 'r', access[1] == 'w', via);
        }
        if (maps)
                fclose(maps);
}

/* The daemon has every region open. */
static bool is_daemon(pid_t pid) {
        char path[64], program[PATH_MAX];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
        n = readlink(path, program, sizeof(program) - 1);
        if (n <= 0)
                return false;
        program[n] = '\0';
        n -= (ssize_t)strlen(" (deleted)");
        if (n > 0 && strcmp(program + n, " (deleted)") == 0)
                program[n] = '\0';
        return strcmp(strrchr(program, '/') + 1, "iomemfs") == 0;
}

static void scan_processes(struct search *search) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;

        while (proc && (entry = readdir(proc))) {
                pid_t pid = atoi(entry->d_name);

                if (pid <= 0 || pid == getpid() || is_daemon(pid))
                        continue;
                scan_fds(search, pid);
                scan_maps(search, pid);
        }
        if (proc)
                closedir(proc);
}

int cli_who(int argc, char **argv) {
        static const struct option options[] = {TABLE_LONG_OPTIONS, {NULL, 0, NULL, 0}};
        struct search search = {0};
        int option;

        table_setup(&search.table, "references", columns, _COL_N);
        while ((option = getopt_long(argc, argv, TABLE_OPTIONS, options, NULL)) != -1) {
                int r = table_option(&search.table, option, optarg);

                if (r == 0)
                        return cli_try_help();
                if (r < 0)
                        return EXIT_FAILURE;
        }
        if (argc - optind != 1)
                return cli_misuse("who needs one name");
        if (identify(&search, argv[optind]) < 0 || table_begin(&search.table) < 0)
                return EXIT_FAILURE;
        scan_processes(&search);
        return table_end(&search.table);
}
