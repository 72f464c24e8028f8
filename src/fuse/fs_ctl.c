/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include "base/fault.h"
#include "fuse/notify.h"

/* Waiting */

struct fs_waiting *fs_waiting_new(struct fs *fs) {
        struct fs_waiting *waiting = fs->spare;

        if (fault_strikes(FAULT_MEMORY))
                return NULL;
        if (!waiting)
                waiting = malloc(sizeof(*waiting));
        if (waiting)
                *waiting = (struct fs_waiting){.fs = fs};
        fs->spare = NULL;
        return waiting;
}

void fs_waiting_return(struct fs *fs, struct fs_waiting *waiting) {
        free(fs->spare);
        fs->spare = waiting;
}

static void fs_wait(struct fs_waiting **list, struct fs_waiting *waiting) {
        waiting->next = *list;
        *list = waiting;
}

static void fs_forget_waiting(struct fs_waiting **list, const struct fs_waiting *waiting) {
        while (*list && *list != waiting)
                list = &(*list)->next;
        if (*list)
                *list = waiting->next;
}

void fs_drop_waiting(struct fs_waiting **list) {
        while (*list) {
                struct fs_waiting *next = (*list)->next;

                free(*list);
                *list = next;
        }
}

/* Opening */

void fs_open_ctl(struct fuse_request *req, struct fs *fs, struct node *dir) {
        enum ctl_kind kind = fs_kind(req->node);
        uint32_t flags = WIRE_OPEN_DIRECT_IO;
        struct caller caller = fs_caller(req);
        uint32_t handle;
        int r;

        r = ctl_open(fs->ctl, kind, dir, &caller, &handle);
        caller_clear(&caller);
        if (r < 0) {
                reply_error(req, r);
                return;
        }
        if (kind == CTL_EVENTS)
                flags |= WIRE_OPEN_NONSEEKABLE;
        reply_open(req, handle, flags, 0);
}

/* Reading */

/* The reader was interrupted while it waited. */
static void fs_reader_interrupted(struct deferred_request *deferred) {
        struct fs_waiting *waiting = (struct fs_waiting *)deferred;
        struct fuse_request req = channel_undefer(deferred);

        fs_forget_waiting(&waiting->fs->readers, waiting);
        free(waiting);
        reply_error(&req, -EINTR);
}

static void fs_await_events(struct fuse_request *req, struct fs *fs, uint32_t handle, size_t size) {
        struct fs_waiting *waiting = fs_waiting_new(fs);
        int r = waiting ? txn_commit(fs->volume->txn) : -ENOMEM;

        if (r < 0) {
                free(waiting);
                reply_error(req, r);
                return;
        }
        waiting->handle = handle;
        waiting->size = size;
        fs_wait(&fs->readers, waiting);
        channel_defer(&waiting->deferred, req, fs_reader_interrupted);
}

void fs_read_ctl(struct fuse_request *req, struct fs *fs) {
        const struct wire_read_in *in = req->in->args;
        size_t size = in->size;
        struct caller caller = fs_caller(req);
        ssize_t n;

        /* A reply that moves a cursor must fit into an outcome. */
        if (size > FS_READDIRPLUS_MAX)
                size = FS_READDIRPLUS_MAX;
        n = ctl_read(fs->ctl, (uint32_t)in->fh, &caller, fs->buffer, size, in->offset);
        caller_clear(&caller);
        if (n == -EAGAIN && fs_kind(req->node) == CTL_EVENTS && !(in->flags & O_NONBLOCK))
                fs_await_events(req, fs, (uint32_t)in->fh, size);
        else if (n < 0)
                reply_error(req, (int)n);
        else
                reply_bytes(req, fs->buffer, (size_t)n);
}

static void fs_tell_reader(struct fs *fs, struct fs_waiting **at) {
        struct fs_waiting *waiting = *at;
        ssize_t n = ctl_read(fs->ctl, waiting->handle, NULL, fs->buffer, waiting->size, 0);
        struct fuse_request req;

        if (n == -EAGAIN) {
                /* Events of elsewhere moved the cursor. */
                (void)txn_commit(fs->volume->txn);
                return;
        }
        *at = waiting->next;
        req = channel_undefer(&waiting->deferred);
        free(waiting);
        if (n < 0)
                reply_error(&req, (int)n);
        else
                reply_bytes(&req, fs->buffer, (size_t)n);
}

static void fs_wake(void *userdata, uint64_t key) {
        struct fs *fs = userdata;

        notify_poll(fs->volume->root->fuse_fd, key);
}

void fs_tell_readers(void *userdata) {
        struct fs *fs = userdata;
        uint64_t next = event_next(fs->volume->tree);

        if (fs->told == next)
                return;
        fs->told = next;
        for (struct fs_waiting **at = &fs->readers; *at;) {
                struct fs_waiting *waiting = *at;

                fs_tell_reader(fs, at);
                if (*at == waiting)
                        at = &waiting->next;
        }
        ctl_wake(fs->ctl, fs_wake, fs);
        (void)txn_commit(fs->volume->txn);
}

void fs_poll(struct fuse_request *req) {
        const struct wire_poll_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        unsigned int events = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

        if (fs_kind(req->node) == CTL_EVENTS && !ctl_poll(fs->ctl, (uint32_t)in->fh, in->kh))
                events = 0;
        reply_poll(req, events);
}

/* Writing */

static void fs_writer_interrupted(struct deferred_request *deferred) {
        const struct fs_waiting *waiting = (struct fs_waiting *)deferred;

        ctl_cancel(waiting->fs->ctl, waiting->unique);
}

static void fs_await_answer(struct fuse_request *req, struct fs *fs, struct fs_waiting *waiting) {
        waiting->unique = fuse_request_key(req);
        fs_wait(&fs->waiting, waiting);
        channel_defer(&waiting->deferred, req, fs_writer_interrupted);
}

static void fs_reply_result(struct fuse_request *req, int result) {
        /* What goes with an error is its record, which was waited for. */
        if (result < 0)
                reply_error_kept(req, result);
        else
                reply_written(req, (size_t)result);
}

/* A write that has not been seen.  True: it is answered later. */
static bool fs_begin_write(struct fuse_request *req, struct fs *fs, int *result) {
        const struct wire_write_in *in = req->in->args;
        uint64_t unique = fuse_request_key(req);
        struct caller caller = fs_caller(req);
        int r;

        *result = (int)ctl_write(fs->ctl, (uint32_t)in->fh, &caller, unique, req->in->payload,
                                 in->size);
        caller_clear(&caller);
        if (*result == -EINPROGRESS)
                return true;
        if (!invalidations_reply_later(fs->volume->invalidations, unique, *result))
                return false;
        r = txn_commit(fs->volume->txn);
        if (r < 0)
                *result = r;
        return r == 0;
}

void fs_write_ctl(struct fuse_request *req, struct fs *fs) {
        struct fs_waiting *waiting = fs_waiting_new(fs);
        bool later = false;
        int result = -ENOMEM;

        if (!waiting) {
                reply_error(req, result);
                return;
        }
        switch (invalidations_resume(fs->volume->invalidations, fuse_request_key(req), &result)) {
        case INVALIDATIONS_WAITING:
                later = true;
                break;
        case INVALIDATIONS_DONE:
                break;
        case INVALIDATIONS_NONE:
                later = fs_begin_write(req, fs, &result);
                break;
        }
        if (later) {
                fs_await_answer(req, fs, waiting);
                return;
        }
        fs_waiting_return(fs, waiting);
        fs_reply_result(req, result);
}

/* A write that had to wait for a region is through. */
void fs_written(void *userdata, uint64_t unique, int result) {
        struct fs *fs = userdata;

        if (invalidations_reply_later(fs->volume->invalidations, unique, result)) {
                int r = txn_commit(fs->volume->txn);

                if (r == 0)
                        return;
                result = r;
        }
        fs_answer(fs, unique, result);
}

bool fs_answer(void *userdata, uint64_t unique, int result) {
        struct fs *fs = userdata;
        struct fs_waiting *waiting = fs->waiting;
        struct fuse_request req;

        while (waiting && waiting->unique != unique)
                waiting = waiting->next;
        if (!waiting)
                return false;
        req = channel_undefer(&waiting->deferred);
        fs_forget_waiting(&fs->waiting, waiting);
        free(waiting);
        fs_reply_result(&req, result);
        return true;
}
