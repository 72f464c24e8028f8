/* SPDX-License-Identifier: MIT */
#include "process/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "records/layout.h"

enum {
        ASK_MS = 3000,           /* a program gets so long to print its layouts */
        CONVERT_MS = 120 * 1000, /* and so long to convert the records; callers wait meanwhile */
};

extern char **environ;

/* Starts `program WORD` with fd as its descriptor `as`.  Its pid, or negative errno. */
static pid_t program_start(const char *program, char *word, int fd, int as) {
        char *argv[] = {"iomemfs", word, NULL};
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none;
        pid_t pid;
        int r;

        sigemptyset(&none);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fd, as);
        posix_spawnattr_init(&attributes);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        r = posix_spawn(&pid, program, &actions, &attributes, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
        return r == 0 ? pid : -r;
}

/* Waits until it has ended, and ends it if it takes too long.  0 if it has succeeded. */
static int program_await(pid_t pid, int milliseconds) {
        struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
        int status;

        if (poll(&end, 1, milliseconds) <= 0)
                kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        if (end.fd >= 0)
                close(end.fd);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENOEXEC;
}

/* "9 8 7": its own layout, and those of which it takes over records. */
static int layouts_parse(const char *text, int *own) {
        char *end;
        long layout = strtol(text, &end, 10);

        *own = (int)layout;
        if (layout <= 0)
                return -ENOEXEC;
        for (; end != text; layout = strtol(text, &end, 10)) {
                if (layout == LAYOUT_VERSION)
                        return 0;
                text = end;
        }
        return -EPROTO;
}

static int ask(const char *program, const int pipe_fds[2], int *layout) {
        pid_t pid = program_start(program, "--layout", pipe_fds[1], STDOUT_FILENO);
        char text[1024];
        ssize_t n;
        int r = pid < 0 ? pid : program_await(pid, ASK_MS);

        if (r < 0)
                return r;
        n = read(pipe_fds[0], text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = '\0';
        return layouts_parse(text, layout);
}

int upgrade_ask(const char *program, int *layout) {
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        r = ask(program, fds, layout);
        close(fds[0]);
        close(fds[1]);
        return r;
}

int upgrade_convert(const char *program, int journal_fd) {
        pid_t pid = program_start(program, "--convert", journal_fd, STDIN_FILENO);

        return pid < 0 ? pid : program_await(pid, CONVERT_MS);
}
