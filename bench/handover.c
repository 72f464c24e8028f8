/* SPDX-License-Identifier: MIT */

/*
 * handover: how long until another process has it: a message, a descriptor, a new region.
 *
 * Writer and reader are two processes with one clock.  The time of a message begins before the
 * writer fills the payload and ends when the reader has read all of it.  The reader's report goes
 * back through a page that both share; it is not part of the time.
 */

#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
        PIPE_BYTES = 1 << 20,
        QUEUE_MESSAGES = 10,
        QUEUE_BYTES = 8192,
        HEADER = PAGE,
        SPINS = 1 << 14
};

/* Shared by writer and reader, and the same for all transports. */
struct control {
        uint32_t go;   /* counted up by the writer */
        uint32_t done; /* counted up by the reader */
        uint64_t done_ns;
};

struct transport {
        const char *name;
        void (*open)(struct run *run); /* before the fork */
        void (*send)(struct run *run);
        void (*receive)(struct run *run); /* returns when all of the payload was read */
};

static volatile uint64_t sink;

static void consume(const char *data, uint64_t size) {
        uint64_t sum = 0;

        for (uint64_t i = 0; i + 8 <= size; i += 8) {
                uint64_t word;

                memcpy(&word, data + i, sizeof(word));
                sum += word;
        }
        sink += sum;
}

static void buffer_make(struct run *run) {
        run->buffer = aligned_alloc(PAGE, (run->request->size + PAGE - 1) / PAGE * PAGE);
        if (!run->buffer)
                fail("aligned_alloc");
        memset(run->buffer, 1, run->request->size);
}

/* A region: a word to wait on in the first page, the payload after it. */

static void region_open(struct run *run) {
        struct request *larger = malloc(sizeof(*larger));

        if (!larger)
                fail("malloc");
        *larger = *run->request;
        larger->size += HEADER;
        run->request = larger;
        region_make(run);
        region_map(run);
        memset(run->map, 0, larger->size);
        *larger = (struct request){.size = larger->size - HEADER, .dir = larger->dir};
        run->buffer = run->map + HEADER;
}

static void region_send(struct run *run) {
        __atomic_fetch_add((uint32_t *)run->map, 1, __ATOMIC_RELEASE);
        futex_wake((uint32_t *)run->map);
}

/* For a reader that has a processor to itself. */
static void spin_receive(struct run *run) {
        uint32_t *word = (uint32_t *)run->map;

        for (unsigned int i = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) == run->position; i++)
                if (i % SPINS == 0)
                        sched_yield();
        run->position++;
        consume(run->buffer, run->request->size);
}

static void region_receive(struct run *run) {
        futex_wait((uint32_t *)run->map, (uint32_t)run->position++);
        consume(run->buffer, run->request->size);
}

/* Pipe and socket: streams. */

static void pipe_open(struct run *run) {
        int fds[2];

        if (pipe(fds) < 0)
                fail("pipe");
        fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
        run->fd = fds[0];
        run->other_fd = fds[1];
        buffer_make(run);
}

static void socket_open(struct run *run) {
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
                fail("socketpair");
        for (int i = 0; i < 2; i++)
                setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &(int){PIPE_BYTES}, sizeof(int));
        run->fd = fds[0];
        run->other_fd = fds[1];
        buffer_make(run);
}

static void stream_send(struct run *run) {
        for (uint64_t at = 0; at < run->request->size;) {
                ssize_t n = write(run->other_fd, run->buffer + at, run->request->size - at);

                if (n < 0)
                        fail("write");
                at += (uint64_t)n;
        }
}

static void stream_receive(struct run *run) {
        for (uint64_t at = 0; at < run->request->size;) {
                ssize_t n = read(run->fd, run->buffer + at, run->request->size - at);

                if (n <= 0)
                        fail("read");
                consume(run->buffer + at, (uint64_t)n);
                at += (uint64_t)n;
        }
}

/* A POSIX message queue: payloads larger than a message go in pieces. */

static void queue_open(struct run *run) {
        struct mq_attr attr = {.mq_maxmsg = QUEUE_MESSAGES, .mq_msgsize = QUEUE_BYTES};
        char name[64];

        snprintf(name, sizeof(name), "/iomemfs-bench-%d", getpid());
        run->fd = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
        if (run->fd < 0)
                fail("mq_open");
        mq_unlink(name);
        buffer_make(run);
}

static void queue_send(struct run *run) {
        for (uint64_t at = 0; at < run->request->size;) {
                uint64_t n = run->request->size - at;

                if (n > QUEUE_BYTES)
                        n = QUEUE_BYTES;
                if (mq_send(run->fd, run->buffer + at, n, 0) < 0)
                        fail("mq_send");
                at += n;
        }
}

static void queue_receive(struct run *run) {
        char piece[QUEUE_BYTES];

        for (uint64_t at = 0; at < run->request->size;) {
                ssize_t n = mq_receive(run->fd, piece, sizeof(piece), NULL);

                if (n <= 0)
                        fail("mq_receive");
                consume(piece, (uint64_t)n);
                at += (uint64_t)n;
        }
}

static const struct transport transports[] = {
        {"region", region_open, region_send, region_receive},
        {"spin", region_open, region_send, spin_receive},
        {"pipe", pipe_open, stream_send, stream_receive},
        {"socket", socket_open, stream_send, stream_receive},
        {"queue", queue_open, queue_send, queue_receive},
};

static const struct transport *transport_find(const struct run *run) {
        for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
                if (strcmp(transports[i].name, run->request->via) == 0)
                        return &transports[i];
        errno = EINVAL;
        fail("--via %s", run->request->via);
}

/* Both kinds of pairs: the reader tells when it has it, the writer adds up. */

static void report_done(struct run *run) {
        run->shared->done_ns = now_ns();
        __atomic_fetch_add(&run->shared->done, 1, __ATOMIC_RELEASE);
        futex_wake(&run->shared->done);
}

static void await_done(struct run *run, uint64_t start, uint32_t before) {
        futex_wait(&run->shared->done, before);
        run->own_ns += run->shared->done_ns - start;
}

/* A reader that gives up must not leave the writer waiting. */
static void reader_ended(int signal) {
        (void)signal;
        _exit(1);
}

static pid_t reader_fork(void) {
        pid_t pid;

        signal(SIGCHLD, reader_ended);
        pid = fork();
        if (pid < 0)
                fail("fork");
        if (pid == 0) {
                signal(SIGCHLD, SIG_DFL);
                prctl(PR_SET_PDEATHSIG, SIGKILL);
        }
        return pid;
}

static void pair_finish(struct run *run) {
        signal(SIGCHLD, SIG_DFL);
        kill(run->peer, SIGKILL);
        waitpid(run->peer, NULL, 0);
        if (run->path[0])
                unlink(run->path);
}

static void message_prepare(struct run *run) {
        const struct transport *transport = transport_find(run);

        run->shared = shared_pages(PAGE);
        transport->open(run);
        run->peer = reader_fork();
        while (run->peer == 0) {
                transport->receive(run);
                report_done(run);
        }
        run->private = (void *)transport;
}

static void message_step(struct run *run) {
        const struct transport *transport = run->private;
        uint32_t before = run->shared->done;
        uint64_t start = now_ns();

        memset(run->buffer, (int)before, run->request->size);
        transport->send(run);
        await_done(run, start, before);
        run->work++;
}

/* Descriptors over a Unix socket. */

static int descriptor_receive(int socket) {
        char text[256], space[CMSG_SPACE(sizeof(int))];
        struct iovec iov = {text, sizeof(text)};
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = space,
                .msg_controllen = sizeof(space),
        };
        const struct cmsghdr *header;
        ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        int fd;

        if (n <= 0)
                fail("recvmsg");
        header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_type != SCM_RIGHTS) {
                errno = EPROTO;
                fail("answer without a descriptor: %.*s", (int)n, text);
        }
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        return fd;
}

static void descriptor_send(int socket, int fd) {
        char space[CMSG_SPACE(sizeof(int))] = {};
        struct iovec iov = {"\n", 1};
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = space,
                .msg_controllen = sizeof(space),
        };
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);

        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof(fd));
        if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
                fail("sendmsg");
}

static int daemon_connect(const struct request *request) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char link[PATH_MAX];
        ssize_t n;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(link, sizeof(link), "%s/.ctl/socket", request->dir);
        n = readlink(link, address.sun_path, sizeof(address.sun_path) - 1);
        if (n <= 0)
                fail("readlink %s", link);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                fail("connect %s", address.sun_path);
        return fd;
}

/* The least that can be: a process that hands out the one memfd it has. */
static void bare_server(int socket) {
        int fd = memfd_create("bench", MFD_CLOEXEC);
        char byte;

        while (read(socket, &byte, 1) == 1)
                descriptor_send(socket, fd);
        exit(0);
}

static void descriptor_prepare(struct run *run) {
        int fds[2];

        run->peer = -1;
        if (run->request->dir) {
                region_make(run);
                run->other_fd = daemon_connect(run->request);
                snprintf(run->other_path, sizeof(run->other_path), "open rw %s\n",
                         strrchr(run->path, '/') + 1);
                return;
        }
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                fail("socketpair");
        run->peer = reader_fork();
        if (run->peer == 0)
                bare_server(fds[1]);
        run->other_fd = fds[0];
        strcpy(run->other_path, "\n");
}

static void descriptor_step(struct run *run) {
        size_t length = strlen(run->other_path);

        if (write(run->other_fd, run->other_path, length) != (ssize_t)length)
                fail("write");
        close(descriptor_receive(run->other_fd));
        run->work++;
}

static void descriptor_finish(struct run *run) {
        if (run->peer > 0)
                pair_finish(run);
        else
                region_drop(run);
}

/* A new region: from its creation to the other's mapping.  The names are agreed upon. */

static void appear_name(const struct run *run, uint32_t n, char path[PATH_MAX]) {
        snprintf(path, PATH_MAX, "%s/appear%d-%u", run->request->dir, run->peer, n);
}

static int appear_poll(const char *path, bool sleeping) {
        struct stat st;
        int fd;

        for (;;) {
                fd = open(path, O_RDWR | O_CLOEXEC);
                if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
                        return fd;
                if (fd >= 0)
                        close(fd);
                if (sleeping)
                        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
}

/* "wait NAME" and then "open rw NAME" of the socket. */
static int appear_wait(int socket, const char *path) {
        const char *name = strrchr(path, '/') + 1;
        char line[PATH_MAX];
        int n = snprintf(line, sizeof(line), "wait %s\n", name);

        if (write(socket, line, (size_t)n) != n || read(socket, line, sizeof(line)) <= 0)
                fail("wait %s", name);
        n = snprintf(line, sizeof(line), "open rw %s\n", name);
        if (write(socket, line, (size_t)n) != n)
                fail("open %s", name);
        return descriptor_receive(socket);
}

_Noreturn static void appear_reader(struct run *run) {
        bool waiting = strcmp(run->request->via, "wait") == 0;
        bool sleeping = strcmp(run->request->via, "sleep") == 0;
        int socket = waiting ? daemon_connect(run->request) : -1;
        char path[PATH_MAX];

        run->peer = getpid();
        for (uint32_t n = 0;; n++) {
                char *map;
                int fd;

                futex_wait(&run->shared->go, n);
                appear_name(run, n, path);
                fd = waiting ? appear_wait(socket, path) : appear_poll(path, sleeping);
                map = mmap(NULL, run->request->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                if (map == MAP_FAILED)
                        fail("mmap");
                *(volatile char *)map = 1;
                report_done(run);
                munmap(map, run->request->size);
                close(fd);
        }
}

static void appear_prepare(struct run *run) {
        run->shared = shared_pages(PAGE);
        run->peer = reader_fork();
        if (run->peer == 0)
                appear_reader(run);
}

static void appear_step(struct run *run) {
        uint32_t n = run->shared->done;
        uint64_t start;

        run->path[0] = '\0';
        __atomic_fetch_add(&run->shared->go, 1, __ATOMIC_RELEASE);
        futex_wake(&run->shared->go);
        /* Let the reader begin to wait. */
        nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);

        appear_name(run, n, run->path);
        start = now_ns();
        region_make_named(run);
        await_done(run, start, n);
        region_drop(run);
        run->work++;
}

const struct workload handover_workloads[] = {
        {"message", "message", message_prepare, message_step, pair_finish},
        {"descriptor", "descriptor", descriptor_prepare, descriptor_step, descriptor_finish},
        {"appear", "region", appear_prepare, appear_step, pair_finish},
        {},
};
