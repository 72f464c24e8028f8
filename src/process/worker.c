/* SPDX-License-Identifier: MIT */
#include "process/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/errno_text.h"
#include "base/clock.h"
#include "socket/server.h"
#include "fuse/channel.h"
#include "fuse/fs.h"
#include "process/mount_watch.h"
#include "process/recovery.h"
#include "process/reexec.h"
#include "process/spin.h"
#include "process/store.h"
#include "process/wakeup.h"
#include "base/log.h"
#include "fuse/notifier.h"
#include "socket/listener.h"

enum {
        REQUESTS_PER_TURN = 64, /* then other descriptors get their turn */
        KEEPER_RETRY_MS = 1000,
};

struct worker {
        struct journal *journal;
        struct root *root;
        int keeper_pidfd;
        int ready_fd;
        int signal_fd;

        struct loop *loop;
        struct notifier *notifier;
        struct allocator *allocator;   /* makes pages */
        struct job_queue *memory_jobs; /* frees pages */
        struct volume *volume;
        struct ctl *ctl;
        struct fs *fs;
        struct channel *channel;
        struct server *server;

        struct loop_source *fuse_source, *signal_source, *keeper_source, *retry;

        struct spin spin;
};

/* Requests. */

/* Tells the keeper that this worker serves. */
static void worker_tell_keeper(const struct worker *worker) {
        syscall(SYS_pidfd_send_signal, worker->keeper_pidfd, SIGUSR2, NULL, 0);
}

/* Reports that the mount works: to the mounting command through the pipe, to systemd by the
 * keeper. */
static void worker_announce(struct worker *worker) {
        struct root *root = worker->root;
        ssize_t n;

        int r = volume_prepare_store(worker->volume);

        if (r < 0)
                log_line(LOG_WARNING, "cannot prepare for the service manager's store: %s",
                         strerror(-r));
        log_detach();
        if (worker->ready_fd >= 0) {
                n = write(worker->ready_fd, "", 1);
                (void)n; /* the process that waited may be gone */
        }
        root->ready = 1;
        if (worker->ready_fd >= 0)
                close(worker->ready_fd);
        worker->ready_fd = -1;
        worker_tell_keeper(worker);
}

/* Handles the waiting requests, up to a limit; returns their number. */
static unsigned int worker_requests(struct worker *worker) {
        unsigned int n = 0;
        int r = 1;

        while (n < REQUESTS_PER_TURN && (r = channel_dispatch(worker->channel)) > 0) {
                if (!worker->root->ready && channel_is_ready(worker->channel))
                        worker_announce(worker);
                n++;
        }
        if (r == -ENODEV) {
                loop_stop(worker->loop, WORKER_UNMOUNTED);
        } else if (r < 0) {
                if (r != -EOPNOTSUPP)
                        log_line(LOG_ERR, "connection to the kernel: %s", errno_text(-r));
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
            info.ssi_signo == SIGHUP) /* sent by the keeper */
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
        r = reexec(worker->journal, "/proc/self/exe");
        log_line(LOG_ERR, "the keeper has died, and its place cannot be taken: %s", errno_text(-r));
        loop_arm(worker->retry, KEEPER_RETRY_MS);
}

static void worker_on_mount_gone(void *userdata) {
        struct worker *worker = userdata;
        const struct root *root = worker->root;

        log_line(
                LOG_NOTICE,
                "%s was unmounted, but is still in use: a container or another mount namespace has "
                "it mounted, or files in it are open; the daemon ends with the last of them",
                root->settings.mountpoint);
        listener_remove(root->settings.socket, &root->socket_file);
}

/* Without the watch, only a line in the log is missing.  In a copy of the namespace our mount is
 * not there anyway. */
static void worker_watch_mount(struct worker *worker) {
        struct mount_watch *watch;
        int r;

        if (worker->root->home != 0 || worker->root->mount_device == 0)
                return;
        r = mount_watch_new(&watch, worker->loop, worker->memory_jobs, worker->root->mount_device,
                            worker_on_mount_gone, worker);
        if (r < 0)
                log_line(LOG_WARNING, "cannot watch the mounts: %s", strerror(-r));
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

/* The modules, from the lowest up. */

static int worker_tell_entry(void *userdata, uint64_t dir, const char *name, size_t length,
                             invalidation_told_fn fn, void *fn_userdata) {
        const struct worker *worker = userdata;

        return notifier_tell_entry(worker->notifier, dir, name, length, fn, fn_userdata);
}

static int worker_tell_inode(void *userdata, uint64_t node, invalidation_told_fn fn,
                             void *fn_userdata) {
        const struct worker *worker = userdata;

        return notifier_tell_inode(worker->notifier, node, fn, fn_userdata);
}

/* The private tmpfs of a limit was made, or is not needed any more.  The first one is given away by
 * the keeper, together with all other descriptors. */
static void worker_keep_tmpfs(void *userdata, uint32_t limit, int fd) {
        const struct worker *worker = userdata;

        if (worker->root->ready && regions_are_kept(worker->volume->regions))
                store_put_tmpfs(limit, fd);
}

static int worker_build_volume(struct worker *worker) {
        int r;

        r = job_queue_new(&worker->memory_jobs, worker->loop, "memory-jobs");
        if (r == 0)
                r = volume_new(&worker->volume, worker->journal, worker->loop, worker->allocator,
                               worker->memory_jobs);
        if (r < 0)
                return r;
        quota_on_tmpfs(regions_quota(worker->volume->regions), worker_keep_tmpfs, worker);
        return ctl_new(&worker->ctl, worker->volume);
}

/* Whether the kernel has no request for us. */
static bool worker_is_idle(void *userdata) {
        const struct worker *worker = userdata;
        struct pollfd connection = {.fd = worker->root->fuse_fd, .events = POLLIN};

        return poll(&connection, 1, 0) <= 0;
}

static int worker_build_fs(struct worker *worker) {
        struct volume_kernel kernel = {
                .backing_open = channel_backing_open,
                .backing_close = channel_backing_close,
                .teller = {worker_tell_entry, worker_tell_inode, worker},
        };
        int r;

        r = fs_new(&worker->fs, worker->volume, worker->ctl);
        if (r == 0)
                r = channel_new(&worker->channel, worker->volume->txn, fs_operations(), worker->fs);
        if (r < 0)
                return r;
        fs_set_channel(worker->fs, worker->channel, worker->notifier);
        kernel.userdata = worker->channel;
        volume_set_kernel(worker->volume, &kernel);
        room_set_door(worker->volume->room, worker_is_idle, worker);
        channel_set_room(worker->channel, worker->volume->room);
        return 0;
}

/* For recovery_run(). */
static int worker_build(void *userdata, struct recovered *out) {
        struct worker *worker = userdata;
        int r = loop_new(&worker->loop);

        if (r == 0)
                r = notifier_new(&worker->notifier, worker->loop, worker->root->fuse_fd);
        /* It is a process, so start it before there are threads. */
        if (r == 0)
                r = allocator_new(&worker->allocator, worker->loop);
        if (r == 0)
                r = worker_build_volume(worker);
        if (r == 0)
                r = worker_build_fs(worker);
        if (r == 0)
                r = worker_watch(worker);
        if (r < 0)
                return r;
        worker_watch_mount(worker);
        spin_init(&worker->spin, &worker->root->wakeup, worker->root->settings.spin_us);
        *out = (struct recovered){worker->volume, worker->channel, ctl_listings(worker->ctl)};
        return 0;
}

/* Recovers, see recovery.h. */
static int worker_start(struct worker *worker) {
        const int own[] = {worker->ready_fd, worker->keeper_pidfd};
        const struct recovery recovery = {
                .journal = worker->journal,
                .own_fds = own,
                .n_own_fds = sizeof(own) / sizeof(own[0]),
                .build = worker_build,
                .userdata = worker,
        };
        uint64_t start = clock_ns();
        int r;

        r = recovery_run(&recovery, &worker->server);
        if (r < 0)
                return r;
        log_line(LOG_DEBUG, "serving, %llu microseconds after the start",
                 (unsigned long long)(clock_ns() - start) / 1000);
        if (worker->root->ready)
                worker_tell_keeper(worker);
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
                log_line(LOG_ERR, "cannot start: %s", errno_text(-r));
                return WORKER_FAILED;
        }
        loop_set_idle(worker.loop, worker_idle, &worker);
        r = loop_run(worker.loop);
        if (r < 0) {
                log_line(LOG_ERR, "event loop: %s", errno_text(-r));
                return WORKER_FAILED;
        }
        /* Nothing is freed: the process ends, and its records must stay. */
        return r;
}
