/* SPDX-License-Identifier: MIT */
#include "process/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "socket/server.h"
#include "fuse/channel.h"
#include "fuse/fs.h"
#include "process/keeper.h"
#include "process/spin.h"
#include "process/wakeup.h"
#include "base/log.h"
#include "fuse/notifier.h"

enum {
        REQUESTS_PER_TURN = 64, /* before other descriptors get their turn */
        KEEPER_RETRY_MS = 1000,
};

struct worker {
        struct journal *journal;
        struct root *root;
        int keeper_pidfd;
        int ready_fd;
        int signal_fd;
        int notifier;

        struct loop *loop;
        struct job_queue *notify_jobs; /* waits for the notifier */
        struct job_queue *memory_jobs; /* works on memory */
        struct tree *tree;
        struct regions *regions;
        struct invalidations *invalidations;
        struct lifetimes *lifetimes;
        struct commander commander;
        struct ctl *ctl;
        struct fs *fs;
        struct channel *channel;
        struct server *server;

        struct loop_source *fuse_source, *signal_source, *keeper_source, *retry;

        struct spin spin;
};

/*
 * Descriptors.  All processes share one table, so what a dead worker had open for itself is still
 * open.  Whatever no record names is closed.
 */

struct fd_list {
        int *fds;
        size_t n, max;
};

static void fd_keep(struct fd_list *list, int fd) {
        if (fd > STDERR_FILENO && list->n < list->max)
                list->fds[list->n++] = fd;
}

static int fd_compare(const void *a, const void *b) {
        return *(const int *)a - *(const int *)b;
}

static void fd_keep_records(struct fd_list *list, struct journal *journal) {
        for (uint32_t i = 1; i <= journal_high(journal, TABLE_NODE); i++) {
                const struct node *node = journal_get(journal, TABLE_NODE, i);

                if (node->id == i && node_is_region(node))
                        fd_keep(list, node->fd);
        }
        for (uint32_t i = 1; i <= journal_high(journal, TABLE_HANDLE); i++) {
                const struct handle *handle = journal_get(journal, TABLE_HANDLE, i);

                if (handle->id == i)
                        fd_keep(list, handle->fd);
        }
        for (uint32_t i = 1; i <= journal_high(journal, TABLE_CLIENT); i++) {
                const struct client *client = journal_get(journal, TABLE_CLIENT, i);

                if (client->id == i) {
                        fd_keep(list, client->fd);
                        fd_keep(list, client->reply_fd);
                        fd_keep(list, client->text_fd);
                }
        }
}

static void close_between(const struct fd_list *list) {
        unsigned int from = STDERR_FILENO + 1;

        for (size_t i = 0; i < list->n; i++) {
                unsigned int fd = (unsigned int)list->fds[i];

                if (fd > from)
                        close_range(from, fd - 1, 0);
                if (fd >= from)
                        from = fd + 1;
        }
        close_range(from, ~0U, 0);
}

static int worker_close_strays(struct worker *worker) {
        const struct root *root = worker->root;
        const int own[] = {
                root->fuse_fd,    root->tmpfs_fd,       root->listen_fd,
                root->log_fd,     root->wakeup.fd,      journal_fd(worker->journal),
                worker->ready_fd, worker->keeper_pidfd,
        };
        struct fd_list list = {
                .max = sizeof(own) / sizeof(own[0]) + journal_used(worker->journal, TABLE_NODE) +
                       journal_used(worker->journal, TABLE_HANDLE) +
                       3 * journal_used(worker->journal, TABLE_CLIENT),
        };

        list.fds = calloc(list.max, sizeof(*list.fds));
        if (!list.fds)
                return -ENOMEM;
        for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
                fd_keep(&list, own[i]);
        fd_keep_records(&list, worker->journal);
        qsort(list.fds, list.n, sizeof(*list.fds), fd_compare);
        close_between(&list);
        free(list.fds);
        return 0;
}

/* Requests. */

/* Tells whoever waits for the mount: the mounting command through the pipe, systemd by the keeper. */
static void worker_announce(struct worker *worker) {
        struct root *root = worker->root;
        ssize_t n;

        log_detach();
        if (worker->ready_fd >= 0) {
                n = write(worker->ready_fd, "", 1);
                (void)n; /* whoever waited may have gone */
        }
        root->ready = 1;
        if (worker->ready_fd >= 0)
                close(worker->ready_fd);
        worker->ready_fd = -1;
        syscall(SYS_pidfd_send_signal, worker->keeper_pidfd, SIGUSR2, NULL, 0);
}

/* Handles what there is, up to a limit; how many. */
static unsigned int worker_requests(struct worker *worker) {
        unsigned int n = 0;
        int r = 1;

        while (n < REQUESTS_PER_TURN && (r = channel_dispatch(worker->channel)) > 0) {
                fs_settle(worker->fs);
                if (!worker->root->ready && channel_is_ready(worker->channel))
                        worker_announce(worker);
                n++;
        }
        if (r == -ENODEV) {
                loop_stop(worker->loop, WORKER_UNMOUNTED);
        } else if (r < 0) {
                if (r != -EOPNOTSUPP)
                        log_line(LOG_ERR, "connection to the kernel: %s", strerror(-r));
                loop_stop(worker->loop, WORKER_FAILED);
        }
        return n;
}

static void worker_on_fuse(void *userdata, uint32_t events) {
        struct worker *worker = userdata;
        uint64_t woken = spin_woken(&worker->spin);

        (void)events;
        if (worker_requests(worker) > 0)
                spin_handled(&worker->spin, woken);
}

static bool worker_look(void *userdata) {
        struct worker *worker = userdata;

        return worker_requests(worker) > 0 || loop_is_stopped(worker->loop);
}

static bool worker_idle(void *userdata) {
        struct worker *worker = userdata;

        channel_settle(worker->channel);
        fs_settle(worker->fs);
        if (worker->root->upgrade_wanted) {
                worker->root->upgrade_wanted = 0;
                syscall(SYS_pidfd_send_signal, worker->keeper_pidfd, SIGHUP, NULL, 0);
        }
        return spin_run(&worker->spin, worker_look, worker);
}

/* Signals and the keeper. */

static void worker_on_signal(void *userdata, uint32_t events) {
        struct worker *worker = userdata;
        struct signalfd_siginfo info;

        (void)events;
        if (read(worker->signal_fd, &info, sizeof(info)) != sizeof(info) ||
            info.ssi_signo == SIGHUP) /* the keeper's */
                return;
        loop_stop(worker->loop, info.ssi_signo == SIGUSR1 ? WORKER_UPGRADE : WORKER_STOPPED);
}

static void worker_succeed(void *userdata, uint32_t events) {
        struct worker *worker = userdata;
        int r;

        (void)events;
        worker->keeper_source = loop_remove(worker->keeper_source);
        worker->root->counters.takeovers++;
        log_line(LOG_WARNING, "the keeper has died; taking its place");
        r = keeper_exec(worker->journal, "/proc/self/exe");
        log_line(LOG_ERR, "the keeper has died, and its place cannot be taken: %s", strerror(-r));
        loop_arm(worker->retry, KEEPER_RETRY_MS);
}

static int worker_watch(struct worker *worker) {
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGUSR1);
        sigaddset(&signals, SIGHUP);
        worker->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (worker->signal_fd < 0)
                return -errno;
        r = loop_add(worker->loop, &worker->signal_source, worker->signal_fd, EPOLLIN,
                     worker_on_signal, worker);
        if (r == 0)
                r = loop_add_timer(worker->loop, &worker->retry, worker_succeed, worker);
        if (r == 0)
                r = loop_add(worker->loop, &worker->keeper_source, worker->keeper_pidfd, EPOLLIN,
                             worker_succeed, worker);
        if (r == 0)
                r = loop_add(worker->loop, &worker->fuse_source, worker->root->fuse_fd, EPOLLIN,
                             worker_on_fuse, worker);
        return r;
}

/* The rooms, from the lowest up. */

static void worker_settle(void *userdata) {
        struct worker *worker = userdata;

        fs_settle(worker->fs);
}

static int worker_build_lifetimes(struct worker *worker) {
        const struct lifetime_parts parts = {
                .loop = worker->loop,
                .tree = worker->tree,
                .regions = worker->regions,
                .invalidations = worker->invalidations,
                .settle = worker_settle,
                .userdata = worker,
        };

        return lifetimes_new(&worker->lifetimes, &parts);
}

static int worker_build_rooms(struct worker *worker) {
        struct journal *journal = worker->journal;
        int r;

        r = job_queue_new(&worker->notify_jobs, worker->loop, "notify-jobs");
        if (r == 0)
                r = job_queue_new(&worker->memory_jobs, worker->loop, "memory-jobs");
        if (r == 0)
                r = regions_new(&worker->regions, journal);
        if (r == 0)
                r = fs_new(&worker->fs);
        if (r == 0)
                r = tree_new(&worker->tree, journal, fs_abandon, worker->fs);
        if (r == 0)
                r = invalidations_new(&worker->invalidations, journal, worker->notify_jobs,
                                      worker->notifier, fs_answer, worker->fs);
        if (r == 0)
                r = worker_build_lifetimes(worker);
        if (r < 0)
                return r;
        worker->commander = (struct commander){
                .journal = journal,
                .tree = worker->tree,
                .regions = worker->regions,
                .invalidations = worker->invalidations,
                .lifetimes = worker->lifetimes,
                .memory_jobs = worker->memory_jobs,
        };
        return ctl_new(&worker->ctl, &worker->commander);
}

static int worker_build_fs(struct worker *worker) {
        const struct fs_parts parts = {
                .journal = worker->journal,
                .tree = worker->tree,
                .regions = worker->regions,
                .invalidations = worker->invalidations,
                .lifetimes = worker->lifetimes,
                .ctl = worker->ctl,
                .memory_jobs = worker->memory_jobs,
        };
        int r;

        fs_set_parts(worker->fs, &parts);
        r = channel_new(&worker->channel, worker->journal, fs_operations(), worker->fs);
        if (r == 0)
                fs_set_channel(worker->fs, worker->channel);
        return r;
}

/* The socket: last, when everything can be answered. */
static int worker_build_server(struct worker *worker) {
        const struct server_parts parts = {
                .loop = worker->loop,
                .commander = &worker->commander,
                .settle = worker_settle,
                .settle_userdata = worker,
        };

        return server_new(&worker->server, &parts);
}

static int worker_build(struct worker *worker) {
        int r;

        server_adopt(worker->journal);
        r = worker_close_strays(worker);
        if (r == 0) {
                worker->notifier = notifier_start(worker->root->fuse_fd);
                if (worker->notifier < 0)
                        r = worker->notifier;
        }
        if (r == 0)
                r = loop_new(&worker->loop);
        if (r == 0)
                r = worker_build_rooms(worker);
        if (r == 0)
                r = worker_build_fs(worker);
        if (r == 0)
                r = worker_watch(worker);
        spin_init(&worker->spin, &worker->root->wakeup, worker->root->settings.spin_us);
        return r;
}

/* For tests: a worker that comes after one that was struck may be struck as well. */
static void worker_arm_crash(struct worker *worker) {
        struct root *root = worker->root;

        if (root->crash_again == 0 || journal_crash_left(worker->journal) > 0 || !root->started)
                return;
        journal_crash_after(worker->journal, root->crash_again);
        root->crash_again = 0;
}

/* From the records of whoever was before to a file system that answers. */
static int worker_start(struct worker *worker) {
        uint64_t start = wakeup_clock();
        int r;

        journal_rollback(worker->journal);
        worker_arm_crash(worker);
        r = worker_build(worker);
        if (r == 0)
                r = channel_resume(worker->channel);
        if (r == 0)
                r = worker_build_server(worker);
        if (r < 0)
                return r;
        if (worker->root->ready) {
                event_add_restart(worker->tree);
                journal_commit(worker->journal);
        }
        lifetimes_start(worker->lifetimes);
        worker->root->serving = 1;
        log_line(LOG_DEBUG, "serving, %llu microseconds after the start",
                 (unsigned long long)(wakeup_clock() - start) / 1000);
        return 0;
}

int worker_run(struct journal *journal, int keeper_pidfd, int ready_fd) {
        struct worker worker = {
                .journal = journal,
                .root = journal_root(journal),
                .keeper_pidfd = keeper_pidfd,
                .ready_fd = ready_fd,
        };
        int r;

        r = worker_start(&worker);
        if (r < 0) {
                log_line(LOG_ERR, "cannot start: %s", strerror(-r));
                return WORKER_FAILED;
        }
        loop_set_idle(worker.loop, worker_idle, &worker);
        r = loop_run(worker.loop);
        if (r < 0) {
                log_line(LOG_ERR, "event loop: %s", strerror(-r));
                return WORKER_FAILED;
        }
        /* Not taken apart: the process ends, and its records are to stay. */
        return r;
}
