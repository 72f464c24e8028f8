/* SPDX-License-Identifier: MIT */
#include "memory/allocator_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "memory/allocator_child.h"
#include "memory/allocator_message.h"

struct child {
        pid_t pid;
        uint32_t id;
};

struct process {
        int socket_fd;
        int signal_fd;
        pid_t pid; /* its own */
        struct child *children;
        size_t n, capacity;
};

static void report_send(const struct process *process, uint32_t id, int result, uint64_t huge) {
        struct allocator_report report = {.id = id, .result = result, .huge = huge};

        /* An error means that the worker is gone; the next message from it, or its end, stops
         * us. */
        (void)send(process->socket_fd, &report, sizeof(report), MSG_NOSIGNAL);
}

/* The child */

struct report_target {
        const struct process *process;
        uint32_t id;
};

static void child_report(void *userdata, int result, uint64_t huge) {
        const struct report_target *target = userdata;

        report_send(target->process, target->id, result, huge);
}

static _Noreturn void child_main(const struct process *process, const struct allocator_order *order,
                                 int fd) {
        struct report_target target = {.process = process, .id = order->id};
        sigset_t none;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != process->pid) /* the process ended before that call */
                _exit(1);
        close(process->signal_fd);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        allocator_child_run(order, fd, child_report, &target);
        _exit(0);
}

/* The process */

static int process_reserve(struct process *process) {
        size_t capacity = process->capacity ? 2 * process->capacity : 16;
        struct child *children;

        if (process->n < process->capacity)
                return 0;
        children = realloc(process->children, capacity * sizeof(*children));
        if (!children)
                return -ENOMEM;
        process->children = children;
        process->capacity = capacity;
        return 0;
}

static void process_begin(struct process *process, const struct allocator_order *order, int fd) {
        pid_t pid = process_reserve(process) < 0 ? -1 : fork();

        if (pid == 0)
                child_main(process, order, fd);
        if (pid > 0)
                process->children[process->n++] = (struct child){.pid = pid, .id = order->id};
        else
                report_send(process, order->id, -ENOSPC, 0);
}

static void process_cancel(const struct process *process, uint32_t id) {
        for (size_t i = 0; i < process->n; i++)
                if (process->children[i].id == id)
                        kill(process->children[i].pid, SIGKILL);
}

static void process_ended(struct process *process, pid_t pid, int status) {
        size_t i = 0;

        while (i < process->n && process->children[i].pid != pid)
                i++;
        if (i == process->n)
                return;
        /* Killed by the OOM killer, or because it was cancelled, which the worker knows. */
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                report_send(process, process->children[i].id, -ENOSPC, 0);
        process->children[i] = process->children[--process->n];
}

static void process_reap(struct process *process) {
        struct signalfd_siginfo info;
        int status;
        pid_t pid;

        (void)!read(process->signal_fd, &info, sizeof(info));
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                process_ended(process, pid, status);
}

/* False: the worker is gone. */
static bool process_receive(struct process *process) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct allocator_order order;
        struct iovec iov = {.iov_base = &order, .iov_len = sizeof(order)};
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control.space),
        };
        const struct cmsghdr *header;
        ssize_t n = recvmsg(process->socket_fd, &message, MSG_CMSG_CLOEXEC);
        int fd = -1;

        if (n < 0 && errno == EINTR)
                return true;
        if (n != (ssize_t)sizeof(order))
                return false;
        header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_type == SCM_RIGHTS)
                memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        if (order.cancel)
                process_cancel(process, order.id);
        else if (fd >= 0)
                process_begin(process, &order, fd);
        else
                report_send(process, order.id, -ENOSPC, 0);
        if (fd >= 0)
                close(fd);
        return true;
}

/* Closes all but the socket.  Our standard error must not stay open: somebody may wait for its
 * end. */
static int keep_only(int socket_fd) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
                dup2(null, fd);
        if (socket_fd > STDERR_FILENO + 1)
                close_range(STDERR_FILENO + 1, (unsigned int)socket_fd - 1, 0);
        close_range((unsigned int)socket_fd + 1, ~0U, 0);
        return socket_fd;
}

static _Noreturn void process_main(int socket_fd) {
        struct process process = {.socket_fd = keep_only(socket_fd), .pid = getpid()};
        struct pollfd fds[2];
        sigset_t signals;

        prctl(PR_SET_NAME, "iomemfs-alloc");
        sigfillset(&signals);
        sigprocmask(SIG_SETMASK, &signals, NULL);
        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        signal(SIGCHLD, SIG_DFL);
        process.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        fds[0] = (struct pollfd){.fd = process.socket_fd, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = process.signal_fd, .events = POLLIN};
        for (;;) {
                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        break;
                if (fds[1].revents)
                        process_reap(&process);
                if (fds[0].revents && !process_receive(&process))
                        break;
        }
        for (size_t i = 0; i < process.n; i++)
                kill(process.children[i].pid, SIGKILL);
        _exit(0);
}

int allocator_process_start(pid_t *pid) {
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        *pid = fork();
        r = -errno;
        if (*pid == 0)
                process_main(fds[1]);
        close(fds[1]);
        if (*pid > 0)
                return fds[0];
        close(fds[0]);
        return r;
}
