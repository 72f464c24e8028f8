/* SPDX-License-Identifier: MIT */

/*
 * fuzz_syscalls: random system calls on a mount, and random lines to its socket.
 *
 *   fuzz_syscalls DIR SOCKET SEED FIRST OPERATIONS COUNTER UID... [--trace]
 *
 * One process for each UID makes OPERATIONS operations in DIR, from the number FIRST on.  What
 * operation N of a process is follows from SEED, its place among the processes and N alone, so that
 * a part of a run can be made again.  COUNTER is a file that the processes count in: its first
 * 8 bytes for the first, and so on.  --trace says on stderr what each does before it does it.
 *
 * Errors of the calls are nobody's business here: what must hold is looked at by test_syscalls.py
 * when all have ended.  No call may wait for ever: files are opened non-blocking, and sockets are
 * used so.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
        FILES = 24,
        MAPS = 6,
        SOCKETS = 4,
        BUFFER = 128 * 1024,
        MAP_MAX = 256 * 1024,
        TOUCHES = 4,
        PROCESSES_MAX = 64,
        LENT = 512, /* descriptors that came from the socket have numbers from here on */
        LENT_ALLOCATE = 1 << 20,
};

static struct {
        uint64_t random;
        int fds[FILES];
        struct {
                char *at;
                size_t size;
        } maps[MAPS];
        int sockets[SOCKETS];
        char path[2][8192], line[16384];
        char buffer[BUFFER];
        bool trace;
        unsigned int process;
} self;

static sigjmp_buf fault;

/* Randomness */

static uint64_t mix(uint64_t x) {
        x += 0x9e3779b97f4a7c15U;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
        return x ^ (x >> 31);
}

static uint64_t any(void) {
        self.random = mix(self.random);
        return self.random;
}

static uint32_t below(uint32_t n) {
        return (uint32_t)(any() >> 33) % n;
}

static bool one_in(uint32_t n) {
        return below(n) == 0;
}

/* One of the alternatives. */
#define PICK(...)             \
        (((const uint64_t[]){ \
                __VA_ARGS__})[below(sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))])

/* Some of the bits. */
static uint64_t some_of(uint64_t bits) {
        return bits & any() & any();
}

static uint64_t a_size(void) {
        uint64_t sizes[] = {0,        1,        4095,         4096,           4097,
                            65536,    1 << 20,  2 << 20,      8 << 20,        INT64_MAX,
                            1L << 40, 1L << 62, below(65536), below(4 << 20), any()};

        return sizes[below(sizeof(sizes) / sizeof(*sizes))];
}

/* Mostly such as fit. */
static uint64_t a_small_size(void) {
        return one_in(16) ? a_size() : below(one_in(8) ? 4 << 20 : 64 << 10);
}

/* Names: few, so that processes meet. */

static const char *component(void) {
        static const char *const odd[] = {
                "..",
                ".",
                ".ctl",
                ".ctl/create",
                "a b",
                "tab\there",
                "line\nbreak",
                "\\040",
                "\xff\xfe",
                "\xc3\xa9",
                ("\xe2\x80\xae"
                 "rtl"),
                "-rf",
                "*",
                "\x1b[31m",
        };
        static const char *const usual[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
        static char longest[300];

        if (one_in(40)) {
                memset(longest, 'n', sizeof(longest));
                longest[one_in(2) ? 255 : 256] = '\0';
                return longest;
        }
        if (one_in(10))
                return odd[below(sizeof(odd) / sizeof(*odd))];
        return usual[below(sizeof(usual) / sizeof(*usual))];
}

static const char *a_path(int slot) {
        static const char *const dirs[] = {"", "", "", "", "d0/", "d1/", "d0/d2/", "d4/"};
        char *out = self.path[slot];

        if (one_in(200)) {
                memset(out, 'x', 5000);
                for (int i = 100; i < 5000; i += 100)
                        out[i] = '/';
                out[5000] = '\0';
        } else {
                snprintf(out, sizeof(self.path[0]), "%s%s", dirs[below(8)], component());
        }
        return out;
}

static const char *a_dir(int slot) {
        static const char *const dirs[] = {"d0", "d1", "d0/d2", "d0/d2/d3", "d4"};

        if (one_in(4))
                return a_path(slot);
        snprintf(self.path[slot], sizeof(self.path[0]), "%s", dirs[below(5)]);
        return self.path[slot];
}

/* Descriptors */

static int *a_slot(void) {
        return &self.fds[below(FILES)];
}

/* Mostly one that is open. */
static int a_fd(void) {
        int fd = *a_slot();

        for (int tries = 0; fd < 0 && tries < 8; tries++)
                fd = *a_slot();
        return fd;
}

static int *a_socket(void) {
        return &self.sockets[below(SOCKETS)];
}

static mode_t a_mode(void) {
        return one_in(4) ? below(010000) : (mode_t)PICK(0666, 0777, 0664, 0644, 04777);
}

static void keep(int fd) {
        int *slot = a_slot();

        if (fd < 0)
                return;
        if (*slot >= 0)
                close(*slot);
        *slot = fd;
}

/*
 * A memfd that was lent, and not the file on the mount: who allocates in it is not stopped by the
 * mount's size=, and would take all the machine's memory, as with a memfd of its own.
 */
static bool is_lent(int fd) {
        return fd >= LENT;
}

static void keep_lent(int fd) {
        int moved = fd < 0 || is_lent(fd) ? fd : fcntl(fd, F_DUPFD_CLOEXEC, LENT);

        if (moved != fd)
                close(fd);
        keep(moved);
}

/* Operations: each draws its arguments and makes a call or two. */

static void op_open(void) {
        int flags = (int)(below(3) |
                          some_of(O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_NOFOLLOW |
                                  O_SYNC | O_DSYNC | O_NOATIME | O_DIRECT | O_LARGEFILE));

        if (one_in(20))
                flags |= O_PATH;
        keep(open(a_path(0), flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, a_mode()));
}

static void op_create(void) {
        keep(open(a_path(0), O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC,
                  PICK(0666, 0600, 0644, 0, 04755, 02755, 01777)));
}

static void op_tmpfile(void) {
        keep(open(one_in(2) ? "." : a_dir(0),
                  O_TMPFILE | O_RDWR | O_CLOEXEC | (one_in(3) ? O_EXCL : 0), 0666));
}

static void op_openat_dir(void) {
        keep(openat(a_fd(), component(), O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0666));
}

static void op_reopen(void) {
        int fd = a_fd(), fresh;

        snprintf(self.line, sizeof(self.line), "/proc/self/fd/%d", fd);
        fresh = open(self.line, (int)below(3) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        is_lent(fd) ? keep_lent(fresh) : keep(fresh);
}

static void op_close(void) {
        int *slot = a_slot();

        if (*slot >= 0)
                close(*slot);
        *slot = -1;
}

static void op_dup(void) {
        int fd = a_fd();

        if (fd >= 0)
                keep(fcntl(fd, F_DUPFD_CLOEXEC, is_lent(fd) ? LENT : 3));
}

static void op_read(void) {
        ssize_t n = one_in(2) ? read(a_fd(), self.buffer, below(BUFFER))
                              : pread(a_fd(), self.buffer, below(BUFFER), (off_t)a_small_size());
        (void)n;
}

static void op_write(void) {
        ssize_t n;

        memset(self.buffer, (int)any(), 512);
        n = one_in(2) ? write(a_fd(), self.buffer, below(one_in(4) ? BUFFER : 512))
                      : pwrite(a_fd(), self.buffer, below(one_in(4) ? BUFFER : 4097),
                               (off_t)a_small_size());
        (void)n;
}

static void op_truncate(void) {
        int r = one_in(2) ? ftruncate(a_fd(), (off_t)a_small_size())
                          : truncate(a_path(0), (off_t)a_small_size());
        (void)r;
}

static void op_fallocate(void) {
        int fd = a_fd(),
            mode = (int)PICK(0, 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
                             FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
                             some_of(0xff));
        uint64_t offset = a_small_size(), length = a_small_size();

        if (is_lent(fd))
                length %= LENT_ALLOCATE;
        fallocate(fd, mode, (off_t)offset, (off_t)length);
}

static void op_lseek(void) {
        lseek(a_fd(), (off_t)a_size(), (int)below(6));
}

static void op_copy(void) {
        off_t in = (off_t)a_small_size(), out = (off_t)a_small_size();

        if (one_in(2)) {
                copy_file_range(a_fd(), one_in(2) ? &in : NULL, a_fd(), one_in(2) ? &out : NULL,
                                below(BUFFER), 0);
        } else {
                int to = a_fd();
                struct stat st;

                /* Not into a pipe, which somebody would have to read. */
                if (fstat(to, &st) == 0 && S_ISREG(st.st_mode))
                        sendfile(to, a_fd(), &in, below(BUFFER));
        }
}

static void op_sync(void) {
        if (one_in(50))
                syncfs(a_fd());
        else
                one_in(2) ? fsync(a_fd()) : fdatasync(a_fd());
}

static void op_map(void) {
        unsigned int i = below(MAPS);
        size_t size = 1 + below(MAP_MAX);
        char *at;

        if (self.maps[i].at)
                munmap(self.maps[i].at, self.maps[i].size);
        at = mmap(NULL, size, (int)PICK(PROT_READ, PROT_READ | PROT_WRITE, PROT_NONE),
                  one_in(3) ? MAP_PRIVATE : MAP_SHARED, a_fd(), (off_t)below(16) * 4096);
        self.maps[i].at = at == MAP_FAILED ? NULL : at;
        self.maps[i].size = size;
}

static void on_fault(int signal) {
        (void)signal;
        siglongjmp(fault, 1);
}

/* A load or a store that may fault. */
static void touch(volatile char *at, bool store) {
        if (sigsetjmp(fault, 1) != 0)
                return;
        if (store)
                *at = 't';
        else
                (void)*at;
}

static void op_touch(void) {
        unsigned int i = below(MAPS);
        bool store = one_in(2);

        for (int n = 0; n < TOUCHES && self.maps[i].at; n++)
                touch(self.maps[i].at + below((uint32_t)self.maps[i].size), store);
}

static void op_map_advice(void) {
        unsigned int i = below(MAPS);

        if (!self.maps[i].at)
                return;
        switch (below(5)) {
        case 0:
                msync(self.maps[i].at, self.maps[i].size,
                      (int)PICK(MS_SYNC, MS_ASYNC, MS_SYNC | MS_INVALIDATE));
                break;
        case 1:
                madvise(self.maps[i].at, self.maps[i].size,
                        (int)PICK(MADV_DONTNEED, MADV_REMOVE, MADV_WILLNEED, MADV_HUGEPAGE));
                break;
        case 2:
                mprotect(self.maps[i].at, self.maps[i].size,
                         (int)PICK(PROT_READ, PROT_READ | PROT_WRITE));
                break;
        default:
                munmap(self.maps[i].at, self.maps[i].size);
                self.maps[i].at = NULL;
        }
}

static void op_link(void) {
        const char *from = a_path(0), *to = a_path(1);

        if (one_in(3)) {
                snprintf(self.line, sizeof(self.line), "/proc/self/fd/%d", a_fd());
                linkat(AT_FDCWD, self.line, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
        } else {
                linkat(AT_FDCWD, from, AT_FDCWD, to, (int)some_of(AT_SYMLINK_FOLLOW));
        }
}

static void op_rename(void) {
        const char *from = a_path(0), *to = a_path(1);

        if (one_in(6))
                from = a_dir(0);
        if (one_in(6))
                to = a_dir(1);
        renameat2(AT_FDCWD, from, AT_FDCWD, to,
                  (unsigned int)PICK(0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT,
                                     RENAME_NOREPLACE | RENAME_EXCHANGE, 0xff));
}

static void op_unlink(void) {
        unlinkat(AT_FDCWD, a_path(0), one_in(8) ? AT_REMOVEDIR : 0);
}

static void op_mkdir(void) {
        mkdir(a_dir(0), (mode_t)PICK(0777, 0777, 01777, 0700, 02777, 0755));
}

static void op_rmdir(void) {
        rmdir(a_dir(0));
}

static void op_symlink(void) {
        uint32_t length = one_in(4) ? below(4100) : 1 + below(20);
        ssize_t n;

        if (one_in(3)) {
                n = readlink(a_path(0), self.buffer, below(BUFFER));
                (void)n;
                return;
        }
        memset(self.buffer, one_in(2) ? 't' : '/', length);
        self.buffer[length] = '\0';
        if (one_in(2))
                snprintf(self.buffer, BUFFER, "%s", component());
        n = symlink(self.buffer, a_path(0));
        (void)n;
}

static void op_mknod(void) {
        mknod(a_path(0), (mode_t)PICK(S_IFIFO, S_IFREG, S_IFSOCK, S_IFCHR, 0) | 0666,
              makedev(1, 3) /* the null device */);
}

static void op_stat(void) {
        struct stat st;
        struct statx stx;
        struct statvfs vfs;

        switch (below(5)) {
        case 0:
                fstat(a_fd(), &st);
                break;
        case 1:
                lstat(a_path(0), &st);
                break;
        case 2:
                statx(AT_FDCWD, a_path(0), (int)some_of(AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW),
                      (unsigned int)any(), &stx);
                break;
        case 3:
                statvfs(".", &vfs);
                break;
        default:
                faccessat(AT_FDCWD, a_path(0), (int)below(8), 0);
        }
}

static void op_chmod(void) {
        int r = one_in(2) ? fchmod(a_fd(), a_mode()) : chmod(a_path(0), a_mode());
        (void)r;
}

static void op_chown(void) {
        uid_t uid = (uid_t)PICK(0, 1, 1000, 65534, (uint64_t)-1);
        int r = one_in(2) ? fchown(a_fd(), uid, (gid_t)PICK(0, 1, 1000, (uint64_t)-1))
                          : lchown(a_path(0), uid, (gid_t)PICK(0, 1, 1000, (uint64_t)-1));
        (void)r;
}

static void op_utimens(void) {
        struct timespec times[2] = {
                {(time_t)PICK(0, 1, INT32_MAX, any()),
                 (long)PICK(0, 999999999, UTIME_NOW, UTIME_OMIT)},
                {(time_t)PICK(0, 1, INT32_MAX, any()), (long)PICK(0, 5, UTIME_NOW, UTIME_OMIT)}};

        if (one_in(2))
                futimens(a_fd(), one_in(3) ? NULL : times);
        else
                utimensat(AT_FDCWD, a_path(0), times, (int)some_of(AT_SYMLINK_NOFOLLOW));
}

static void op_readdir(void) {
        int fd = a_fd();

        if (one_in(2)) {
                fd = open(one_in(2) ? "." : a_dir(0), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                keep(fd);
        }
        if (one_in(4))
                lseek(fd, (off_t)a_size(), SEEK_SET);
        for (int i = 0; i < 3; i++)
                if (syscall(SYS_getdents64, fd, self.buffer, 24 + below(8192)) <= 0)
                        break;
}

static void op_xattr(void) {
        static const char *const names[] = {
                "user.a",
                "user.b",
                "user.iomemfs",
                "user.iomemfs.creator",
                "trusted.t",
                "security.s",
                "security.capability",
                "system.posix_acl_access",
                "system.posix_acl_default",
                "user.",
                "bad",
        };
        const char *name = names[below(sizeof(names) / sizeof(*names))], *path = a_path(0);
        ssize_t n;

        switch (below(5)) {
        case 0:
                n = setxattr(path, name, self.buffer, below(one_in(8) ? 70000 : 64),
                             (int)PICK(0, XATTR_CREATE, XATTR_REPLACE));
                break;
        case 1:
                n = getxattr(path, name, self.buffer, below(4096));
                break;
        case 2:
                n = listxattr(path, self.buffer, below(4096));
                break;
        case 3:
                n = fgetxattr(a_fd(), name, self.buffer, below(65536));
                break;
        default:
                n = removexattr(path, name);
        }
        (void)n;
}

static void op_lock(void) {
        struct flock lock = {.l_type = (short)PICK(F_RDLCK, F_WRLCK, F_UNLCK),
                             .l_start = below(100),
                             .l_len = below(100)};

        if (one_in(2))
                fcntl(a_fd(), F_SETLK, &lock);
        else
                flock(a_fd(), (int)PICK(LOCK_SH, LOCK_EX, LOCK_UN) | LOCK_NB);
}

/* Seals, leases, flags. */
static void op_fcntl(void) {
        int fd = a_fd();

        switch (below(4)) {
        case 0:
                fcntl(a_fd(), F_ADD_SEALS,
                      (int)some_of(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
                                   F_SEAL_FUTURE_WRITE));
                break;
        case 1:
                /* Given back at once: who opens the file waits 45 s for it, as on any file system. */
                fcntl(fd, F_SETLEASE, (int)PICK(F_RDLCK, F_WRLCK));
                fcntl(fd, F_SETLEASE, F_UNLCK);
                break;
        case 2:
                fcntl(a_fd(), F_SETFL, O_NONBLOCK | (int)some_of(O_APPEND | O_NOATIME | O_DIRECT));
                break;
        default:
                fcntl(a_fd(), F_GET_SEALS);
        }
}

/* Commands: by .ctl and by the socket. */

static void add(const char *text) {
        size_t length = strlen(self.line);

        snprintf(self.line + length, sizeof(self.line) - length, "%s", text);
}

static void add_number(uint64_t number) {
        char text[32];

        snprintf(text, sizeof(text), " %llu%s", (unsigned long long)number,
                 one_in(8) ? (one_in(2) ? "k" : "M") : "");
        add(text);
}

static void add_name(void) {
        const char *name = a_path(0);
        char escaped[8];

        add(" ");
        for (; *name; name++) {
                bool odd = strchr(" \t\n\\", *name) != NULL && !one_in(20);

                snprintf(escaped, sizeof(escaped), odd ? "\\%03o" : "%c", (unsigned char)*name);
                add(escaped);
        }
}

static void add_options(void) {
        static const char *const options[] = {
                " mode=0600", " mode=666", " mode=0644", " fixed",         " ephemeral",
                " populate",  " huge",     " nonsense",  " owner=process", " sparse"};

        while (one_in(2))
                add(options[below(sizeof(options) / sizeof(*options))]);
}

static void add_seals(void) {
        add((const char *const[]){" shrink", " grow", " write", " shrink,grow", " shrink,,grow",
                                  " seal", " exec"}[below(7)]);
}

static void add_noise(void) {
        size_t length = strlen(self.line);

        for (uint32_t n = below(one_in(20) ? 9000 : 40); n > 0 && length < sizeof(self.line) - 2;
             n--) {
                char byte = (char)any();

                self.line[length++] = byte && byte != '\n' ? byte : '@';
        }
        self.line[length] = '\0';
}

enum { CREATE, RESIZE, SEAL, REMOVE, DEFAULT, LIMIT, _VERBS };
static const char *const verbs[] = {"create", "resize", "seal", "remove", "default", "limit"};

/* What follows the verb. */
static void add_arguments(unsigned int verb) {
        if (one_in(12)) {
                add_noise();
                return;
        }
        if (verb == DEFAULT) {
                one_in(4) ? add(" none") : add_options();
                return;
        }
        if (verb == LIMIT) {
                add(" size=");
                add_number(a_small_size());
                return;
        }
        add_name();
        if (verb == CREATE || verb == RESIZE)
                add_number(a_small_size());
        if (verb == CREATE)
                add_options();
        if (verb == SEAL)
                add_seals();
}

static const char *ctl_path(const char *file) {
        snprintf(self.path[1], sizeof(self.path[1]), "%s.ctl/%s",
                 (const char *const[]){"", "", "d0/", "d1/", "d0/d2/"}[below(5)], file);
        return self.path[1];
}

static void op_ctl_command(void) {
        unsigned int verb = below(_VERBS);
        uint32_t lines = one_in(8) ? 1 + below(20) : 1;
        ssize_t n;
        int fd;

        self.line[0] = '\0';
        while (lines-- > 0) {
                size_t start = strlen(self.line);

                add_arguments(verb);
                /* No space in front. */
                if (self.line[start] == ' ')
                        memmove(self.line + start, self.line + start + 1,
                                strlen(self.line + start + 1) + 1);
                if (!one_in(50))
                        add("\n");
        }
        fd = open(ctl_path(verbs[verb]), O_RDWR | O_CLOEXEC | (int)some_of(O_APPEND | O_TRUNC));
        if (fd < 0)
                return;
        n = write(fd, self.line, strlen(self.line));
        if (n < 0)
                n = pread(fd, self.buffer, 4096, 0);
        if (one_in(4))
                keep(fd);
        else
                close(fd);
}

static void op_ctl_read(void) {
        static const char *const files[] = {"regions", "regions.json", "stats", "default",
                                            "create",  "error",        "limit", "nonsense"};
        int fd = open(ctl_path(files[below(8)]), O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return;
        do
                n = one_in(4) ? pread(fd, self.buffer, below(BUFFER), (off_t)a_small_size())
                              : read(fd, self.buffer, 1 + below(BUFFER));
        while (n > 0 && !one_in(4));
        if (one_in(6))
                keep(fd);
        else
                close(fd);
}

static void op_events(void) {
        struct pollfd poller = {.fd = a_fd(), .events = POLLIN};
        ssize_t n;

        if (one_in(3)) {
                keep(open(ctl_path("events"), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
                return;
        }
        poll(&poller, 1, 0);
        /* Everything here is non-blocking. */
        n = read(poller.fd, self.buffer, 1 + below(8192));
        (void)n;
}

static void socket_connect(int *slot) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (*slot >= 0)
                close(*slot);
        *slot = -1;
        if (fd < 0)
                return;
        strcpy(address.sun_path, "/socket");
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
                *slot = fd;
        else
                close(fd);
}

static void socket_line(void) {
        unsigned int verb = below(8);

        self.line[0] = '\0';
        if (one_in(4))
                add("@tag ");
        if (one_in(20))
                add_noise();
        if (verb < DEFAULT) {
                add(verbs[verb]);
                add_arguments(verb);
        } else {
                add((const char *const[]){"open rw", "open ro", "list", "stat", "wait",
                                          "open"}[below(6)]);
                if (!one_in(6))
                        add_name();
                if (one_in(8))
                        add(" 0.01");
        }
        if (!one_in(12))
                add("\n");
}

static void op_socket_send(void) {
        int *slot = a_socket(), sent = a_fd();
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                .cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS}};
        struct iovec iov = {.iov_base = self.line};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

        if (*slot < 0 || one_in(30))
                socket_connect(slot);
        socket_line();
        iov.iov_len = strlen(self.line);
        if (one_in(10) && sent >= 0) {
                memcpy(CMSG_DATA(&control.header), &sent, sizeof(int));
                message.msg_control = &control;
                message.msg_controllen = sizeof(control.space);
        }
        sendmsg(*slot, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (one_in(30))
                shutdown(*slot, SHUT_WR);
}

static void op_socket_receive(void) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = {.iov_base = self.buffer, .iov_len = 1 + below(BUFFER)};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control.space)};
        int *slot = a_socket(), fd;
        struct cmsghdr *header;

        if (recvmsg(*slot, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
                return;
        header = CMSG_FIRSTHDR(&message);
        if (!header)
                return;
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        keep_lent(fd);
}

static void op_socket_close(void) {
        int *slot = a_socket();

        if (*slot >= 0)
                close(*slot);
        *slot = -1;
}

static const struct {
        void (*run)(void);
        const char *name;
        uint32_t weight;
} operations[] = {
        {op_open, "open", 8},
        {op_create, "create", 12},
        {op_tmpfile, "tmpfile", 3},
        {op_openat_dir, "openat", 2},
        {op_reopen, "reopen", 3},
        {op_close, "close", 7},
        {op_dup, "dup", 2},
        {op_read, "read", 5},
        {op_write, "write", 8},
        {op_truncate, "truncate", 5},
        {op_fallocate, "fallocate", 5},
        {op_lseek, "lseek", 3},
        {op_copy, "copy", 3},
        {op_sync, "sync", 1},
        {op_map, "map", 6},
        {op_touch, "touch", 8},
        {op_map_advice, "map_advice", 4},
        {op_link, "link", 5},
        {op_rename, "rename", 6},
        {op_unlink, "unlink", 5},
        {op_mkdir, "mkdir", 5},
        {op_rmdir, "rmdir", 1},
        {op_symlink, "symlink", 3},
        {op_mknod, "mknod", 2},
        {op_stat, "stat", 5},
        {op_chmod, "chmod", 3},
        {op_chown, "chown", 3},
        {op_utimens, "utimens", 3},
        {op_readdir, "readdir", 3},
        {op_xattr, "xattr", 4},
        {op_lock, "lock", 2},
        {op_fcntl, "fcntl", 3},
        {op_ctl_command, "ctl_command", 8},
        {op_ctl_read, "ctl_read", 3},
        {op_events, "events", 2},
        {op_socket_send, "socket_send", 10},
        {op_socket_receive, "socket_receive", 10},
        {op_socket_close, "socket_close", 1},
};

static uint32_t total_weight(void) {
        uint32_t total = 0;

        for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
                total += operations[i].weight;
        return total;
}

static void operate(uint64_t seed, uint64_t number) {
        uint32_t at;
        size_t i = 0;

        self.random = mix(mix(seed ^ (uint64_t)self.process << 48) ^ number);
        for (at = below(total_weight()); at >= operations[i].weight; i++)
                at -= operations[i].weight;
        if (self.trace)
                fprintf(stderr, "%u %llu %s\n", self.process, (unsigned long long)number,
                        operations[i].name);
        operations[i].run();
}

static void prepare(uid_t uid) {
        struct sigaction action = {.sa_handler = on_fault};

        memset(self.fds, -1, sizeof(self.fds));
        memset(self.sockets, -1, sizeof(self.sockets));
        sigaction(SIGBUS, &action, NULL);
        sigaction(SIGSEGV, &action, NULL);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGIO, SIG_IGN); /* leases */
        umask(0);
        if (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0) {
                perror("setuid");
                _exit(2);
        }
}

static void run(uint64_t seed, uint64_t first, uint64_t n, uid_t uid, atomic_ulong *counter) {
        prepare(uid);
        for (uint64_t number = first; number < first + n; number++) {
                operate(seed, number);
                atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
        }
        _exit(0);
}

static void must(bool done, const char *what) {
        if (done)
                return;
        perror(what);
        exit(2);
}

/*
 * A root directory with nothing in it but the mount, the socket and /proc: no path that a fuzzer
 * makes up, be it by a symbolic link, leads to anything that is worth something.
 */
static void confine(const char *mount_dir, const char *socket_path) {
        char root[] = "/tmp/fuzz-syscalls.XXXXXX";

        must(mkdtemp(root), root);
        must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                     mount("none", root, "tmpfs", 0, "size=4m,mode=755") == 0 && chdir(root) == 0,
             "a namespace");
        must(mkdir("mnt", 0755) == 0 && mkdir("proc", 0755) == 0 &&
                     mknod("socket", S_IFREG, 0) == 0,
             "its root");
        must(mount(mount_dir, "mnt", NULL, MS_BIND, NULL) == 0, mount_dir);
        must(mount(socket_path, "socket", NULL, MS_BIND, NULL) == 0, socket_path);
        must(mount("/proc", "proc", NULL, MS_BIND, NULL) == 0, "/proc");
        must(chroot(".") == 0 && chdir("/mnt") == 0, "chroot");
}

static atomic_ulong *counters_map(const char *path) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *at = mmap(NULL, PROCESSES_MAX * sizeof(atomic_ulong), PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd, 0);

        must(at != MAP_FAILED, path);
        close(fd);
        return at;
}

int main(int argc, char **argv) {
        int status, failed = 0;
        atomic_ulong *counters;

        if (argc > 1 && strcmp(argv[argc - 1], "--trace") == 0) {
                self.trace = true;
                argc--;
        }
        if (argc < 8 || argc - 7 > PROCESSES_MAX) {
                fprintf(stderr,
                        "usage: %s DIR SOCKET SEED FIRST OPERATIONS COUNTER UID... [--trace]\n",
                        argv[0]);
                return 2;
        }
        counters = counters_map(argv[6]);
        confine(argv[1], argv[2]);
        for (int i = 7; i < argc; i++) {
                self.process = (unsigned int)(i - 7);
                if (fork() == 0)
                        run(strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0),
                            strtoull(argv[5], NULL, 0), (uid_t)atol(argv[i]),
                            &counters[self.process]);
        }
        while (wait(&status) > 0)
                if (status != 0) {
                        fprintf(stderr, "a process ended with status %#x\n", (unsigned int)status);
                        failed = 1;
                }
        return failed;
}
