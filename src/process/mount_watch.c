/* SPDX-License-Identifier: MIT */
#include "process/mount_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "process/mount_table.h"

/* From a change to the look.  An ordinary unmount has ended the daemon by then. */
enum { LOOK_MS = 1000 };

struct mount_watch {
        struct job job; /* the first member */
        struct job_queue *queue;
        struct loop_source *changes, *timer;
        int fd; /* /proc/self/mountinfo */
        uint32_t device;
        bool waiting; /* for the timer or the job */
        bool changed; /* meanwhile */
        bool found;   /* by the job */
        void (*gone)(void *userdata);
        void *userdata;
};

static void watch_on_change(void *userdata, uint32_t events) {
        struct mount_watch *watch = userdata;

        if (!(events & (EPOLLPRI | EPOLLERR)))
                return;
        if (watch->waiting)
                watch->changed = true;
        else
                loop_arm(watch->timer, LOOK_MS);
        watch->waiting = true;
}

static void watch_on_timer(void *userdata, uint32_t events) {
        struct mount_watch *watch = userdata;

        (void)events;
        watch->changed = false;
        job_queue_submit(watch->queue, &watch->job);
}

static void watch_look(struct job *job) {
        struct mount_watch *watch = (struct mount_watch *)job;

        watch->found = mount_table_has_device(watch->device);
}

static void watch_looked(struct job *job) {
        struct mount_watch *watch = (struct mount_watch *)job;

        watch->waiting = watch->found && watch->changed;
        if (watch->waiting)
                loop_arm(watch->timer, LOOK_MS);
        if (watch->found)
                return;
        watch->changes = loop_remove(watch->changes);
        watch->gone(watch->userdata);
}

static int watch_build(struct mount_watch *watch, struct loop *loop) {
        int r;

        watch->fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        if (watch->fd < 0)
                return -errno;
        r = loop_add(loop, &watch->changes, watch->fd, EPOLLPRI, watch_on_change, watch);
        if (r == 0)
                r = loop_add_timer(loop, &watch->timer, watch_on_timer, watch);
        /* It may have gone before this worker was there. */
        if (r == 0)
                r = loop_arm(watch->timer, LOOK_MS);
        watch->waiting = true;
        return r;
}

int mount_watch_new(struct mount_watch **out, struct loop *loop, struct job_queue *queue,
                    uint32_t device, void (*gone)(void *userdata), void *userdata) {
        struct mount_watch *watch = calloc(1, sizeof(*watch));
        int r;

        if (!watch)
                return -ENOMEM;
        *watch = (struct mount_watch){
                .job = {.run = watch_look, .done = watch_looked},
                .queue = queue,
                .fd = -1,
                .device = device,
                .gone = gone,
                .userdata = userdata,
        };
        r = watch_build(watch, loop);
        if (r < 0) {
                loop_remove(watch->changes);
                loop_remove(watch->timer);
                if (watch->fd >= 0)
                        close(watch->fd);
                free(watch);
                return r;
        }
        *out = watch;
        return 0;
}
