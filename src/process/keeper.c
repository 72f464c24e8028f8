/* SPDX-License-Identifier: MIT */
#include "process/keeper.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/errno_text.h"
#include "base/clock.h"
#include "records/journal_convert.h"
#include "records/layout.h"
#include "base/log.h"
#include "process/mount.h"
#include "process/mount_namespace.h"
#include "process/reexec.h"
#include "process/store.h"
#include "process/upgrade.h"
#include "records/blame.h"
#include "process/wakeup.h"
#include "process/worker.h"
#include "socket/listener.h"

enum {
        FAILURES_MAX = 5,    /* workers in a row that may die before they serve */
        KILLS_MAX = 1000,    /* the same, for workers that are killed */
        CALM_SECONDS = 5,    /* a worker that lives as long counts as healthy */
        PAUSE_NS = 10000000, /* before a restart, times the number of unhealthy workers in a row */
        STOP_SECONDS = 5,    /* a worker that was told to end gets so long, then it is killed */
};

struct keeper {
        struct journal *journal;
        struct root *root;
        int ready_fd;
        int pidfd;                    /* of this process, for the worker to watch */
        pid_t worker;                 /* 0: none */
        time_t started;               /* when the worker started */
        unsigned int failures, kills; /* workers in a row that ended before they served */
        unsigned int unexplained;     /* workers in a row that ended soon after the start */
        bool stopping;                /* a signal told us to end */
        bool upgrading;               /* the worker was told to end for an upgrade */
        int next_layout;              /* of the program that takes over, if upgrading */
        bool announced;               /* the service manager knows this process */
        bool done;
        int status; /* exit status of the program, when done */
};

/*
 * The worker's side of the fork.  After the raw clone, glibc has a wrong id for the current thread.
 * So a new thread, which has a right one, does the work.
 */
static void *worker_thread(void *userdata) {
        struct keeper *keeper = userdata;
        int ready_fd = keeper->root->ready ? -1 : keeper->ready_fd;

        /* Processes that it forks inherit this name, and must not look like workers. */
        prctl(PR_SET_NAME, "iomemfs-loop");
        keeper->status = worker_run(keeper->journal, keeper->pidfd, ready_fd);
        return NULL;
}

static _Noreturn void worker_process(struct keeper *keeper) {
        pthread_t thread;

        prctl(PR_SET_NAME, "iomemfs-worker");
        if (pthread_create(&thread, NULL, worker_thread, keeper) != 0)
                _exit(WORKER_FAILED);
        pthread_join(thread, NULL);
        _exit(keeper->status);
}

static int keeper_start(struct keeper *keeper) {
        struct root *root = keeper->root;
        long pid;

        if (root->started)
                root->counters.restarts++;
        root->started = 1;
        root->serving = 0;
        keeper->upgrading = false;
        pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid < 0)
                return -errno;
        if (pid == 0)
                worker_process(keeper);
        keeper->worker = (pid_t)pid;
        keeper->started = time(NULL);
        return 0;
}

/* At once, and not when this process has ended: that may first have much memory to free, and the
 * next daemon waits for the path. */
static void keeper_close_socket(struct root *root) {
        if (root->listen_fd < 0)
                return;
        listener_remove(root->settings.socket, &root->socket_file);
        shutdown(root->listen_fd, SHUT_RDWR); /* the service manager may have it, too */
        close(root->listen_fd);
        root->listen_fd = -1;
}

static void keeper_finish(struct keeper *keeper, int status) {
        log_notify_service("STOPPING=1");
        if (keeper->root->settings.keep)
                store_clear(keeper->journal);
        keeper_close_socket(keeper->root);
        keeper->done = true;
        keeper->status = status;
}

static int detach_there(void *userdata) {
        const struct root *root = userdata;

        return mount_detach(root->settings.mountpoint, root->fuse_fd, root->mount_device);
}

/* Ends the connection and unmounts.  Call it only when there is no worker. */
static void keeper_take_down(struct keeper *keeper, int status) {
        struct root *root = keeper->root;
        const char *mountpoint = root->settings.mountpoint;
        int r;

        if (root->home == 0) {
                r = detach_there(root);
        } else {
                close(root->fuse_fd);
                r = mount_namespace_run(root->home, detach_there, root);
        }
        if (r == -ESRCH)
                log_line(LOG_NOTICE, "no process is left in the mount namespace of %s", mountpoint);
        else if (r == -ENOENT)
                log_line(LOG_NOTICE, "our mount is not on top at %s: nothing is unmounted there",
                         mountpoint);
        else if (r < 0 && r != -EINVAL)
                log_line(LOG_ERR, "cannot unmount %s: %s", mountpoint, errno_text(-r));
        root->fuse_fd = -1;
        keeper_finish(keeper, status);
}

/* Starts a worker.  If that fails, ends the mount, because nobody could serve it. */
static void keeper_start_or_end(struct keeper *keeper) {
        int r;

        for (int tries = 0; tries < FAILURES_MAX; tries++) {
                r = keeper_start(keeper);
                if (r == 0)
                        return;
                log_line(LOG_WARNING, "cannot start a worker: %s", errno_text(-r));
                nanosleep(&(struct timespec){.tv_nsec = 100000000L << tries}, NULL);
        }
        log_line(LOG_ERR, "no worker can be started: unmounting %s",
                 keeper->root->settings.mountpoint);
        keeper_take_down(keeper, MOUNT_SYSTEM);
}

static void describe_death(char *text, size_t size, int status) {
        if (WIFSIGNALED(status))
                snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
        else
                snprintf(text, size, "ended with status %d", WEXITSTATUS(status));
}

/* Whether to start another worker. */
static bool keeper_may_retry(struct keeper *keeper, bool killed) {
        if (keeper->root->serving) {
                keeper->failures = keeper->kills = 0;
                return true;
        }
        /* A worker that was killed, by people or by the OOM killer, might have served. */
        if (killed)
                return ++keeper->kills < KILLS_MAX;
        return ++keeper->failures < FAILURES_MAX;
}

/*
 * Slows down restarts of a worker that serves for a moment and dies without a known reason, again
 * and again.  The mount stays, because the data is worth more than the service; but the restarts
 * must not use up the CPU.
 */
static void keeper_pause(struct keeper *keeper, bool explained) {
        time_t now = time(NULL);
        unsigned int n;

        if (explained || now - keeper->started > CALM_SECONDS)
                keeper->unexplained = 0;
        else
                keeper->unexplained++;
        n = keeper->unexplained + keeper->kills;
        if (n > 2)
                nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS * (n < 50 ? n : 50)}, NULL);
}

static void keeper_after_death(struct keeper *keeper, int status) {
        bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        struct root *root = keeper->root;
        bool explained = killed;
        char how[128];

        describe_death(how, sizeof(how), status);
        if (killed)
                blame_leave(root);
        else
                explained = blame_assign(root);
        if (!keeper_may_retry(keeper, killed)) {
                log_line(LOG_ERR,
                         "the worker %s before it could serve, as %u did before it: "
                         "giving up and unmounting %s",
                         how, keeper->failures + keeper->kills - 1, root->settings.mountpoint);
                keeper_take_down(keeper, MOUNT_SYSTEM);
                return;
        }
        log_line(LOG_WARNING, "the worker %s; starting another", how);
        keeper_pause(keeper, explained);
        keeper_start_or_end(keeper);
        log_notify_service("STATUS=serving %s; %llu restarts, the last because a worker %s",
                           root->settings.mountpoint, (unsigned long long)root->counters.restarts,
                           how);
}

static void keeper_upgrade(struct keeper *keeper) {
        struct root *root = keeper->root;
        const char *program = root->settings.program;
        int r = 0;

        log_line(LOG_NOTICE, "upgrading to %s", program);
        root->counters.upgrades++;
        if (keeper->next_layout != LAYOUT_VERSION)
                r = upgrade_convert(program, journal_fd(keeper->journal));
        if (r == 0)
                r = reexec(keeper->journal, program);
        journal_revert(keeper->journal);
        root->counters.upgrades--;
        root->counters.upgrades_refused++;
        log_line(LOG_WARNING, "not upgraded: cannot run %s: %s; going on as before", program,
                 errno_text(-r));
        keeper_start_or_end(keeper);
}

static void keeper_on_end(struct keeper *keeper, int status) {
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

        wakeup_release_dead(&keeper->root->wakeup, clock_ns());
        keeper->worker = 0;
        if (code == WORKER_UNMOUNTED) {
                log_line(LOG_INFO, "unmounted");
                keeper_finish(keeper, MOUNT_OK);
        } else if (code == WORKER_STOPPED || keeper->stopping) {
                log_line(LOG_NOTICE, "told to end: unmounting %s",
                         keeper->root->settings.mountpoint);
                keeper_take_down(keeper, MOUNT_OK);
        } else if (code == WORKER_UPGRADE && keeper->upgrading) {
                keeper_upgrade(keeper);
        } else if (code == WORKER_FAILED && !keeper->root->ready) {
                /* It has logged the reason, and another worker would fail in the same way. */
                keeper_take_down(keeper, MOUNT_FAILED);
        } else {
                keeper_after_death(keeper, status);
        }
}

static void keeper_reap(struct keeper *keeper) {
        int status;
        pid_t pid;

        /* Other children are notifiers that a dead worker left behind. */
        while (!keeper->done && (pid = waitpid(-1, &status, WNOHANG)) > 0)
                if (pid == keeper->worker)
                        keeper_on_end(keeper, status);
}

static void keeper_on_upgrade(struct keeper *keeper) {
        const char *program = keeper->root->settings.program;
        int r;

        if (keeper->upgrading || keeper->stopping || keeper->worker == 0)
                return;
        r = upgrade_ask(program, &keeper->next_layout);
        if (r == 0) {
                keeper->upgrading = true;
                kill(keeper->worker, SIGUSR1);
                return;
        }
        if (r == -EPROTO)
                log_line(LOG_WARNING,
                         "not upgraded: %s knows layout %d, and the records have layout %d; "
                         "going on as before",
                         program, keeper->next_layout, LAYOUT_VERSION);
        else
                log_line(LOG_WARNING, "not upgraded: %s: %s; going on as before", program,
                         errno_text(-r));
        keeper->root->counters.upgrades_refused++;
}

static void keeper_on_stop(struct keeper *keeper) {
        if (keeper->worker > 0)
                kill(keeper->worker, keeper->stopping ? SIGKILL : SIGTERM);
        keeper->stopping = true;
}

/*
 * A worker serves.  Only then may the keeper open descriptors for a while: a worker that starts
 * closes those that it does not know.
 */
static void keeper_on_ready(struct keeper *keeper) {
        const struct root *root = keeper->root;

        if (keeper->announced)
                return;
        keeper->announced = true;
        if (root->settings.keep && root->passthrough)
                store_put(keeper->journal);
        else if (store_exists())
                log_line(LOG_NOTICE,
                         "without %s the service manager cannot keep the regions: they "
                         "end with the daemon",
                         root->settings.keep ? "passthrough" : "open_by_handle_at(2)");
        log_notify_service("READY=1\nMAINPID=%d\nSTATUS=serving %s", (int)getpid(),
                           keeper->root->settings.mountpoint);
}

static void keeper_signals(sigset_t *set) {
        sigemptyset(set);
        sigaddset(set, SIGCHLD);
        sigaddset(set, SIGTERM);
        sigaddset(set, SIGINT);
        sigaddset(set, SIGHUP);
        sigaddset(set, SIGUSR1);
        sigaddset(set, SIGUSR2);
}

static void keeper_on_signal(struct keeper *keeper, int signal) {
        switch (signal) {
        case SIGTERM:
        case SIGINT:
                keeper_on_stop(keeper);
                break;
        case SIGHUP:
                keeper_on_upgrade(keeper);
                break;
        case SIGUSR2:
                keeper_on_ready(keeper);
                break;
        case -1: /* a worker that was told to end takes too long */
                if (errno == EAGAIN)
                        keeper_on_stop(keeper);
                break;
        default: /* SIGCHLD: children are reaped after every signal */
                break;
        }
        keeper_reap(keeper);
}

int keeper_run(struct journal *journal, int ready_fd) {
        const struct timespec patience = {.tv_sec = STOP_SECONDS};
        struct keeper keeper = {
                .journal = journal,
                .root = journal_root(journal),
                .ready_fd = ready_fd,
        };
        sigset_t signals;

        wakeup_release_dead(&keeper.root->wakeup, clock_ns());
        keeper_signals(&signals);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGIO, SIG_IGN); /* leases, see memory/backing.h */
        prctl(PR_SET_NAME, "iomemfs");
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        keeper.pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        if (keeper.pidfd < 0) {
                log_line(LOG_ERR, "pidfd_open: %m");
                keeper_take_down(&keeper, MOUNT_SYSTEM);
                return keeper.status;
        }
        keeper_start_or_end(&keeper);
        while (!keeper.done)
                keeper_on_signal(&keeper,
                                 sigtimedwait(&signals, NULL, keeper.stopping ? &patience : NULL));
        return keeper.status;
}
