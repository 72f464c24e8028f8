/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "cli.h"
#include "json_out.h"
#include "table.h"

/*
 * who: lists the processes that have a region open or mapped, or use the mount in any way.  A file
 * of the mount and the memory behind it have different device and inode numbers: descriptors from
 * the socket and, with some kernels, mappings have those of the memory.  Processes that the user
 * may not inspect are skipped, and so is the daemon.
 */

enum column { COL_PID, COL_USER, COL_COMMAND, COL_FD, COL_ACCESS, COL_VIA, COL_NAME, _COL_N };

static const struct table_column columns[] = {
        [COL_PID] = {"PID", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "process"},
        [COL_USER] = {"USER", 0.1, 0, SCOLS_JSON_STRING, "its user"},
        [COL_COMMAND] = {"COMMAND", 0.2, 0, SCOLS_JSON_STRING, "its command"},
        [COL_FD] = {"FD", 3, SCOLS_FL_RIGHT, SCOLS_JSON_STRING, "descriptor, mem, cwd or root"},
        [COL_ACCESS] = {"ACCESS", 2, 0, SCOLS_JSON_STRING, "r, w or rw"},
        [COL_VIA] = {"VIA", 6, 0, SCOLS_JSON_STRING, "mount or memfd"},
        [COL_NAME] = {"NAME", 0.2, 0, SCOLS_JSON_STRING, "the file"},
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
        bool whole; /* everything in the file system of the mount */
        dev_t dev;
        char mount[PATH_MAX]; /* the directory that names are shown from */
        struct table table;
        unsigned int found;
        FILE *json; /* NULL: a table */
};

static void add_identity(struct search *search, dev_t dev, ino_t ino, const char *via) {
        for (int i = 0; i < search->n; i++)
                if (search->identities[i].dev == dev && search->identities[i].ino == ino)
                        return;
        search->identities[search->n++] = (struct identity){dev, ino, via};
}

/* How the file belongs to what is searched for, or NULL. */
static const char *via_of(const struct search *search, dev_t dev, ino_t ino) {
        if (search->whole)
                return dev == search->dev ? "mount" : NULL;
        for (int i = 0; i < search->n; i++)
                if (search->identities[i].dev == dev && search->identities[i].ino == ino)
                        return search->identities[i].via;
        return NULL;
}

/* Finds the region's file, if its mount is visible. */
static void identify_file(struct search *search, const char *argument, const char *name) {
        char path[2 * PATH_MAX], mount[PATH_MAX];
        struct stat st;

        if (cli_is_path(argument)) {
                snprintf(path, sizeof(path), "%s", argument);
        } else {
                cli_find_mount(mount);
                snprintf(path, sizeof(path), "%s/%s", mount, name);
        }
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
                add_identity(search, st.st_dev, st.st_ino, "mount");
}

/* 0, or an exit status after a message. */
static int identify(struct search *search, const char *argument) {
        struct iomem_connection *connection;
        const char *name;
        struct stat st;
        int fd, r = cli_connect(&connection, argument, &name);

        if (r != 0)
                return r;
        identify_file(search, argument, name);
        fd = iomem_open(connection, name, IOMEM_READ);
        iomem_disconnect(connection);
        if (fd < 0)
                return search->n > 0 ? 0 : cli_fail_iomem(fd);
        if (fstat(fd, &st) == 0)
                add_identity(search, st.st_dev, st.st_ino, "memfd");
        close(fd);
        return search->n > 0 ? 0 : cli_fail_iomem(-ENOENT);
}

/* The whole file system. */
static int identify_mount(struct search *search) {
        struct iomem_connection *connection;
        char mount[PATH_MAX];
        struct stat st;
        int r = iomem_connect(&connection, cli_place());

        if (r < 0)
                return cli_fail_iomem(r);
        iomem_disconnect(connection);
        cli_find_mount(mount);
        if (!realpath(mount, search->mount) || stat(search->mount, &st) < 0)
                return cli_fail_errno(-errno, mount);
        if (!S_ISDIR(st.st_mode))
                return cli_fail("%s: the mount is not visible here; give a name", mount);
        search->whole = true;
        search->dev = st.st_dev;
        return 0;
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

static bool user_of(pid_t pid, uid_t *uid) {
        char path[64];
        struct stat st;

        snprintf(path, sizeof(path), "/proc/%d", (int)pid);
        if (stat(path, &st) < 0)
                return false;
        *uid = st.st_uid;
        return true;
}

/* A use of a file by a process. */
struct reference {
        pid_t pid;
        const char *fd;
        const char *access;
        const char *via;
        const char *path; /* of the file, as the kernel shows it */
};

/* The path below the mount, if it is there. */
static const char *name_of(const struct search *search, const char *path) {
        size_t length = strlen(search->mount);

        if (length == 0 || strncmp(path, search->mount, length) != 0)
                return path;
        if (path[length] == '\0')
                return ".";
        return path[length] == '/' ? path + length + 1 : path;
}

/* `"use"` says how, as lsof(8) does in its column FD; `"fd"` is the number of a descriptor. */
static void add_json(struct search *search, const struct reference *reference, const char *comm) {
        bool is_fd = isdigit((unsigned char)reference->fd[0]);
        struct json_out out = {.stream = search->json};
        const char *access = reference->access;
        uid_t uid;

        fprintf(search->json, "%s\n  {", search->found ? "," : "");
        json_out_number(&out, "pid", reference->pid);
        if (user_of(reference->pid, &uid))
                json_out_user(&out, "uid", "user", uid);
        json_out_bytes(&out, "command", comm);
        json_out_text(&out, "use", is_fd ? "descriptor" : reference->fd);
        if (is_fd)
                json_out_number(&out, "fd", atoi(reference->fd));
        json_out_words(&out, "access",
                       (strchr(access, 'r') ? 1u : 0) | (strchr(access, 'w') ? 2u : 0),
                       (const char *const[]){"read", "write", NULL});
        json_out_text(&out, "via", reference->via);
        json_out_bytes(&out, "name", name_of(search, reference->path));
        fputc('}', search->json);
}

static void add_line(struct search *search, const struct reference *reference, const char *comm) {
        struct libscols_line *line = table_line(&search->table);
        char text[64];
        uid_t uid;

        snprintf(text, sizeof(text), "%d", (int)reference->pid);
        table_set(&search->table, line, COL_PID, text);
        table_set(&search->table, line, COL_COMMAND, comm);
        if (user_of(reference->pid, &uid)) {
                cli_format_user(text, sizeof(text), uid);
                table_set(&search->table, line, COL_USER, text);
        }
        table_set(&search->table, line, COL_FD, reference->fd);
        table_set(&search->table, line, COL_ACCESS, reference->access);
        table_set(&search->table, line, COL_VIA, reference->via);
        table_set(&search->table, line, COL_NAME, name_of(search, reference->path));
}

static void add_reference(struct search *search, const struct reference *reference) {
        char comm[64];

        read_comm(reference->pid, comm);
        if (search->json)
                add_json(search, reference, comm);
        else
                add_line(search, reference, comm);
        search->found++;
}

static void read_path(int dir, const char *name, char out[PATH_MAX]) {
        ssize_t n = readlinkat(dir, name, out, PATH_MAX - 1);

        out[n > 0 ? n : 0] = '\0';
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
        char path[PATH_MAX], access[3];
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
                snprintf(access, sizeof(access), "%s%s", link.st_mode & S_IRUSR ? "r" : "",
                         link.st_mode & S_IWUSR ? "w" : "");
                read_path(dirfd(dir), entry->d_name, path);
                add_reference(search, &(struct reference){pid, entry->d_name, access, via, path});
        }
        if (dir)
                closedir(dir);
}

/* Working and root directories keep a mount busy, too. */
static void scan_directories(struct search *search, pid_t pid) {
        static const char *const names[] = {"cwd", "root"};
        char path[PATH_MAX];
        dev_t dev;
        ino_t ino;
        int dir;

        snprintf(path, sizeof(path), "/proc/%d", (int)pid);
        dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return;
        for (int i = 0; i < 2; i++) {
                if (!stat_quickly(dir, names[i], &dev, &ino) || dev != search->dev)
                        continue;
                read_path(dir, names[i], path);
                add_reference(search, &(struct reference){pid, names[i], "", "mount", path});
        }
        close(dir);
}

/* Whether the path, of a mapping, is below the mount: there the device is that of the memory. */
static bool is_below_mount(const struct search *search, const char *path) {
        return search->whole && path[0] == '/' && name_of(search, path) != path;
}

static void scan_map(struct search *search, pid_t pid, char *line) {
        unsigned int major_number, minor_number;
        unsigned long inode;
        char access[8];
        const char *via;
        int at = 0;

        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%*s %7s %*s %x:%x %lu %n", access, &major_number, &minor_number, &inode,
                   &at) != 4)
                return;
        via = via_of(search, makedev(major_number, minor_number), inode);
        if (!via && is_below_mount(search, line + at))
                via = "mount";
        access[access[1] == 'w' ? 2 : 1] = '\0';
        if (via)
                add_reference(search, &(struct reference){pid, "mem",
                                                          access[0] == 'r' ? access : access + 1,
                                                          via, line + at});
}

static void scan_maps(struct search *search, pid_t pid) {
        char path[64], line[PATH_MAX + 256];
        FILE *maps;

        snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
        maps = fopen(path, "re");
        while (maps && fgets(line, sizeof(line), maps))
                scan_map(search, pid, line);
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
                if (search->whole)
                        scan_directories(search, pid);
                scan_fds(search, pid);
                scan_maps(search, pid);
        }
        if (proc)
                closedir(proc);
}

static int print_json(struct search *search) {
        search->json = stdout;
        printf("{\"references\": [");
        scan_processes(search);
        printf("%s]}\n", search->found ? "\n" : "");
        return EXIT_SUCCESS;
}

int cli_who(int argc, char **argv) {
        static const struct option options[] = {TABLE_LONG_OPTIONS, {NULL, 0, NULL, 0}};
        struct search search = {0};
        int r;

        table_setup(&search.table, "references", columns, _COL_N);
        r = table_parse(&search.table, argc, argv, TABLE_OPTIONS, options);
        if (r != 0)
                return r;
        if (argc - optind > 1)
                return cli_misuse("who takes one name at most");
        r = optind < argc ? identify(&search, argv[optind]) : identify_mount(&search);
        if (r != 0)
                return r;
        if (search.table.json)
                return print_json(&search);
        r = table_begin(&search.table);
        if (r != 0)
                return r;
        scan_processes(&search);
        return table_end(&search.table);
}

void cli_who_complain(const char *argument) {
        struct search search = {0};

        table_setup(&search.table, "references", columns, COL_NAME);
        search.table.stream = stderr;
        if ((argument ? identify(&search, argument) : identify_mount(&search)) != 0 ||
            table_begin(&search.table) != 0)
                return;
        scan_processes(&search);
        if (search.found > 0)
                table_end(&search.table);
        else
                table_drop(&search.table);
}
