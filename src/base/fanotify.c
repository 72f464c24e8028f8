/* SPDX-License-Identifier: MIT */
#include "base/fanotify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
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

/* Reads a structure from the event, which is not aligned.  False: it is too short. */
static bool take(void *out, size_t size, const char *event, size_t length, size_t at) {
        if (at + size > length)
                return false;
        memcpy(out, event + at, size);
        return true;
}

/* The name follows a file handle, which follows the head of the first record.  "": there is none. */
static const char *name_in(const char *event, size_t length) {
        size_t at = sizeof(struct fanotify_event_metadata);
        struct fanotify_event_info_fid info;
        struct file_handle handle;

        if (!take(&info, sizeof(info), event, length, at) ||
            info.hdr.info_type != FAN_EVENT_INFO_TYPE_DFID_NAME)
                return "";
        at += offsetof(struct fanotify_event_info_fid, handle);
        if (!take(&handle, sizeof(handle), event, length, at))
                return "";
        at += sizeof(handle) + handle.handle_bytes;
        return at < length ? event + at : "";
}

static void fanotify_handle(const struct fanotify *fanotify,
                            const struct fanotify_event_metadata *head, const char *event) {
        if (head->mask & FAN_Q_OVERFLOW)
                fanotify->fn(fanotify->userdata, NULL);
        else if (head->pid != fanotify->pid)
                fanotify->fn(fanotify->userdata, name_in(event, head->event_len));
}

static void fanotify_on_readable(void *userdata, uint32_t events) {
        struct fanotify *fanotify = userdata;
        struct fanotify_event_metadata head;
        char buffer[16 * 1024];
        ssize_t n = read(fanotify->fd, buffer, sizeof(buffer));
        size_t length = n > 0 ? (size_t)n : 0;

        (void)events;
        for (size_t at = 0; take(&head, sizeof(head), buffer, length, at); at += head.event_len) {
                if (head.event_len < sizeof(head) || head.event_len > length - at)
                        break;
                fanotify_handle(fanotify, &head, buffer + at);
        }
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
