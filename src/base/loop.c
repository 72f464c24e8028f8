/* SPDX-License-Identifier: MIT */
#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/fault.h"

enum { LOOP_BATCH = 16 };

struct loop_source {
        struct loop *loop;
        int fd;
        bool is_timer;
        bool removed;
        loop_fn fn;
        void *userdata;
        struct loop_source *next_removed;
};

struct loop {
        int epoll_fd;
        bool stopped;
        int code;
        bool (*idle)(void *userdata);
        void *idle_userdata;
        /* Removed while a batch of events is being handled, which may still refer to it. */
        struct loop_source *removed;
};

int loop_new(struct loop **out) {
        struct loop *loop;
        int r;

        loop = calloc(1, sizeof(*loop));
        if (!loop)
                return -ENOMEM;
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (loop->epoll_fd < 0) {
                r = -errno;
                free(loop);
                return r;
        }
        *out = loop;
        return 0;
}

static void loop_sweep(struct loop *loop) {
        while (loop->removed) {
                struct loop_source *source = loop->removed;

                loop->removed = source->next_removed;
                free(source);
        }
}

struct loop *loop_free(struct loop *loop) {
        if (!loop)
                return NULL;
        loop_sweep(loop);
        close(loop->epoll_fd);
        free(loop);
        return NULL;
}

int loop_add(struct loop *loop, struct loop_source **out, int fd, uint32_t events, loop_fn fn,
             void *userdata) {
        struct epoll_event event = {.events = events};
        struct loop_source *source;
        int r = 0;

        source = calloc(1, sizeof(*source));
        if (!source)
                return -ENOMEM;
        source->loop = loop;
        source->fd = fd;
        source->fn = fn;
        source->userdata = userdata;
        event.data.ptr = source;
        if (fault_strikes(FAULT_EPOLL))
                r = -ENOSPC;
        else if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
                r = -errno;
        if (r < 0) {
                free(source);
                return r;
        }
        *out = source;
        return 0;
}

int loop_modify(struct loop_source *source, uint32_t events) {
        struct epoll_event event = {.events = events, .data.ptr = source};

        return epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno
                                                                                        : 0;
}

struct loop_source *loop_remove(struct loop_source *source) {
        if (!source || source->removed)
                return NULL;
        epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
        if (source->is_timer)
                close(source->fd);
        source->removed = true;
        source->next_removed = source->loop->removed;
        source->loop->removed = source;
        return NULL;
}

int loop_add_timer(struct loop *loop, struct loop_source **out, loop_fn fn, void *userdata) {
        int fd, r;

        fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        r = loop_add(loop, out, fd, EPOLLIN, fn, userdata);
        if (r < 0) {
                close(fd);
                return r;
        }
        (*out)->is_timer = true;
        return 0;
}

int loop_arm(struct loop_source *timer, uint64_t milliseconds) {
        struct itimerspec when = {
                .it_value.tv_sec = (time_t)(milliseconds / 1000),
                .it_value.tv_nsec = (long)(milliseconds % 1000) * 1000000,
        };

        return timerfd_settime(timer->fd, 0, &when, NULL) < 0 ? -errno : 0;
}

int loop_arm_soon(struct loop_source *timer) {
        struct itimerspec when = {.it_value.tv_nsec = 1};

        return timerfd_settime(timer->fd, 0, &when, NULL) < 0 ? -errno : 0;
}

void loop_set_idle(struct loop *loop, bool (*idle)(void *userdata), void *userdata) {
        loop->idle = idle;
        loop->idle_userdata = userdata;
}

static void source_tell(struct loop_source *source, uint32_t events) {
        uint64_t expirations;

        /* Nothing can be read from a timer that was armed again after it was reported. */
        if (source->is_timer && read(source->fd, &expirations, sizeof(expirations)) < 0)
                return;
        source->fn(source->userdata, events);
}

int loop_run(struct loop *loop) {
        struct epoll_event events[LOOP_BATCH];

        loop->stopped = false;
        while (!loop->stopped) {
                bool again = loop->idle && loop->idle(loop->idle_userdata);
                int n;

                if (loop->stopped)
                        break;
                n = epoll_wait(loop->epoll_fd, events, LOOP_BATCH, again ? 0 : -1);
                if (n < 0 && errno != EINTR)
                        return -errno;
                for (int i = 0; i < n && !loop->stopped; i++) {
                        struct loop_source *source = events[i].data.ptr;

                        if (!source->removed)
                                source_tell(source, events[i].events);
                }
                loop_sweep(loop);
        }
        return loop->code;
}

void loop_stop(struct loop *loop, int code) {
        if (loop->stopped)
                return;
        loop->stopped = true;
        loop->code = code;
}

bool loop_is_stopped(const struct loop *loop) {
        return loop->stopped;
}
