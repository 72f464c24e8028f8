/* SPDX-License-Identifier: MIT */
#include "base/fanotify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <unistd.h>
#include "base/fault.h"

struct fanotify {
        int fd;
        pid_t pid; /* of this process, whose own closes are no news */
        fanotify_fn fn;
        void *userdata;
        struct loop_source *source;
};

int fanotify_group(void) {
        /* The queue has a limit, because anybody can fill it. */
        int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_NONBLOCK | FAN_CLOEXEC,
                               O_RDONLY);

        return fd < 0 ? -errno : fd;
}

int fanotify_watch(int group_fd, int dir_fd) {
        if (fault_strikes(FAULT_WATCH))
                return -ENOSPC;
        return fanotify_mark(group_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_CLOSE, dir_fd, ".") <
                               0
                       ? -errno
                       : 0;
}

/* The name follows a file handle, which follows the header of the first record. */
static const char *name_in(const struct fanotify_event_metadata *event) {
        const struct fanotify_event_info_fid *info = (const void *)(event + 1);
        const struct file_handle *handle = (const void *)info->handle;
        size_t at =
                sizeof(*event) + offsetof(struct fanotify_event_info_fid, handle) + sizeof(*handle);

        if (event->event_len < at || info->hdr.info_type != FAN_EVENT_INFO_TYPE_DFID_NAME ||
            event->event_len <= at + handle->handle_bytes)
                return "";
        return (const char *)event + at + handle->handle_bytes;
}

static void fanotify_handle(const struct fanotify *fanotify,
                            const struct fanotify_event_metadata *event) {
        if (event->mask & FAN_Q_OVERFLOW)
                fanotify->fn(fanotify->userdata, NULL);
        else if (event->pid != fanotify->pid)
                fanotify->fn(fanotify->userdata, name_in(event));
}

static void fanotify_on_readable(void *userdata, uint32_t events) {
        struct fanotify *fanotify = userdata;
        _Alignas(struct fanotify_event_metadata) char buffer[16 * 1024];
        const struct fanotify_event_metadata *event = (const void *)buffer;
        ssize_t left = read(fanotify->fd, buffer, sizeof(buffer));

        (void)events;
        for (; FAN_EVENT_OK(event, left); event = FAN_EVENT_NEXT(event, left))
                fanotify_handle(fanotify, event);
}

int fanotify_new(struct fanotify **out, struct loop *loop, int group_fd, fanotify_fn fn,
                 void *userdata) {
        struct fanotify *fanotify = calloc(1, sizeof(*fanotify));
        int r;

        if (!fanotify)
                return -ENOMEM;
        *fanotify = (struct fanotify){
                .fd = group_fd,
                .pid = getpid(),
                .fn = fn,
                .userdata = userdata,
        };
        r = loop_add(loop, &fanotify->source, group_fd, EPOLLIN, fanotify_on_readable, fanotify);
        if (r < 0) {
                free(fanotify);
                return r;
        }
        *out = fanotify;
        return 0;
}

struct fanotify *fanotify_free(struct fanotify *fanotify) {
        if (!fanotify)
                return NULL;
        loop_remove(fanotify->source);
        free(fanotify);
        return NULL;
}
