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

/* Opening */

void fs_open_ctl(struct fuse_request *req, struct fs *fs, struct node *dir) {
        const struct wire_open_in *in = req->in->args;
        enum ctl_kind kind = fs_kind(req->node);
        uint32_t flags = WIRE_OPEN_DIRECT_IO;
        struct caller caller = fs_caller(req);
        uint32_t handle;
        int r;

        r = ctl_open(fs->ctl, kind, dir, &caller, (in->flags & O_ACCMODE) != O_RDONLY, &handle);
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

static void fs_reply_read(struct fuse_request *req, struct fs *fs, ssize_t n) {
        if (n == -EAGAIN)
                reply_error_kept(req, (int)n); /* commit how far the reader has come */
        else if (n < 0)
                reply_error(req, (int)n);
        else
                reply_bytes(req, fs->buffer, (size_t)n);
}

/* The reader was interrupted while it waited. */
static void fs_reader_interrupted(struct deferred_request *deferred) {
        struct fs_waiting *waiting = (struct fs_waiting *)deferred;
        struct fuse_request req = channel_undefer(deferred);
        struct ctl *ctl = waiting->fs->ctl;
        struct fs_waiting **readers = (struct fs_waiting **)ctl_readers(ctl, waiting->handle);

        ctl_cancel_turn(ctl, &waiting->job);
        if (readers)
                fs_forget_waiting(readers, waiting);
        free(waiting);
        reply_error(&req, -EINTR);
}

static void fs_read_on(struct fs_waiting *waiting, bool again);

static void fs_read_in_turn(struct turns_job *job) {
        fs_read_on((struct fs_waiting *)((char *)job - offsetof(struct fs_waiting, job)), true);
}

/* There is nothing to read yet, so it waits for an event, or for a later turn of the loop.  Changes
 * up to now are committed. */
static int fs_reader_wait(struct fs_waiting *waiting, ssize_t why) {
        struct ctl *ctl = waiting->fs->ctl;
        struct fs_waiting **readers;
        int r;

        r = txn_commit(waiting->fs->volume->txn);
        if (r < 0)
                return r;
        if (why == -EINPROGRESS)
                return ctl_wait_turn(ctl, &waiting->job);
        readers = (struct fs_waiting **)ctl_await(ctl, waiting->handle);
        if (!readers)
                return -ENOMEM;
        fs_wait(readers, waiting);
        return 0;
}

static bool fs_reader_must_wait(const struct fs_waiting *waiting, ssize_t n) {
        return n == -EINPROGRESS || (n == -EAGAIN && waiting->blocks);
}

/* Reads for a reader that has waited, and replies if there is something. */
static void fs_read_on(struct fs_waiting *waiting, bool again) {
        struct fs *fs = waiting->fs;
        ssize_t n = ctl_read(fs->ctl, waiting->handle, fs->buffer, waiting->size, waiting->offset,
                             again);
        struct fuse_request req;

        if (fs_reader_must_wait(waiting, n)) {
                n = fs_reader_wait(waiting, n);
                if (n == 0)
                        return;
        }
        req = channel_undefer(&waiting->deferred);
        free(waiting);
        fs_reply_read(&req, fs, n);
}

/* Defers a read that cannot be replied to yet. */
static void fs_defer_read(struct fuse_request *req, struct fs *fs, const struct fs_waiting *reader,
                          ssize_t why) {
        struct fs_waiting *waiting = fs_waiting_new(fs);
        int r = -ENOMEM;

        if (waiting) {
                *waiting = *reader;
                r = fs_reader_wait(waiting, why);
        }
        if (r == 0) {
                channel_defer(&waiting->deferred, req, fs_reader_interrupted);
                return;
        }
        free(waiting);
        reply_error(req, r);
}

void fs_read_ctl(struct fuse_request *req, struct fs *fs) {
        const struct wire_read_in *in = req->in->args;
        const struct fs_waiting reader = {
                .fs = fs,
                .handle = (uint32_t)in->fh,
                /* A reply that moves a cursor must fit into an outcome. */
                .size = in->size < FS_READDIRPLUS_MAX ? in->size : FS_READDIRPLUS_MAX,
                .offset = in->offset,
                .blocks = !(in->flags & O_NONBLOCK),
                .job = {.uid = req->uid, .run = fs_read_in_turn},
        };
        ssize_t n;

        n = ctl_read(fs->ctl, reader.handle, fs->buffer, reader.size, reader.offset, false);
        if (fs_reader_must_wait(&reader, n))
                fs_defer_read(req, fs, &reader, n);
        else
                fs_reply_read(req, fs, n);
}

void fs_wake(void *userdata, uint64_t key, void *readers) {
        struct fs *fs = userdata;
        struct fs_waiting *waiting = readers, *next;

        if (key != 0)
                notify_poll(fs->volume->root->fuse_fd, key);
        for (; waiting; waiting = next) {
                next = waiting->next;
                fs_read_on(waiting, false);
        }
}

void fs_tell_readers(void *userdata) {
        const struct fs *fs = userdata;

        ctl_tell(fs->ctl);
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

        ctl_signalled(waiting->fs->ctl, waiting->unique);
}

static void fs_await_answer(struct fuse_request *req, struct fs *fs, struct fs_waiting *waiting) {
        waiting->unique = fuse_request_key(req);
        fs_wait(&fs->waiting, waiting);
        channel_defer(&waiting->deferred, req, fs_writer_interrupted);
}

static void fs_reply_result(struct fuse_request *req, bool plain, int result) {
        /* The record of the error, which the caller has waited for, must be committed. */
        if (result < 0 || plain)
                reply_error_kept(req, result);
        else
                reply_written(req, (size_t)result);
}

/* Begins a write that was not seen before.  True: it is replied to later. */
static bool fs_begin_write(struct fuse_request *req, struct fs *fs, int *result) {
        const struct wire_write_in *in = req->in->args;
        uint64_t unique = fuse_request_key(req);
        struct caller caller = fs_caller(req);
        int r;

        *result = (int)ctl_write(fs->ctl, (uint32_t)in->fh, &caller, unique, req->in->payload,
                                 in->size, !channel_can_retry(req));
        if (*result == -ENOSPC && channel_can_retry(req)) {
                if (channel_retry(req)) {
                        caller_clear(&caller);
                        return false;
                }
                *result = (int)ctl_write(fs->ctl, (uint32_t)in->fh, &caller, unique,
                                         req->in->payload, in->size, true);
        }
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
        if (req->deferred)
                return; /* it is tried once more */
        fs_reply_result(req, false, result);
}

/* A write that had to wait for a region has ended. */
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
        bool plain;

        while (waiting && waiting->unique != unique)
                waiting = waiting->next;
        if (!waiting)
                return false;
        req = channel_undefer(&waiting->deferred);
        fs_forget_waiting(&fs->waiting, waiting);
        plain = waiting->plain;
        free(waiting);
        fs_reply_result(&req, plain, result);
        return true;
}

/* Changes that release memory */

static void fs_await_change(struct fuse_request *req, struct fs *fs, struct fs_waiting *waiting) {
        waiting->plain = true;
        waiting->unique = fuse_request_key(req);
        fs_wait(&fs->waiting, waiting);
        channel_defer(&waiting->deferred, req, NULL);
}

bool fs_resume_change(struct fuse_request *req, struct fs *fs) {
        struct fs_waiting *waiting;
        int result = 0;

        invalidations_begin(fs->volume->invalidations, (struct invalidation_mark){0});
        if (!(req->unique & WIRE_UNIQUE_RESENT))
                return false;
        switch (invalidations_resume(fs->volume->invalidations, fuse_request_key(req), &result)) {
        case INVALIDATIONS_WAITING:
                waiting = fs_waiting_new(fs);
                if (waiting)
                        fs_await_change(req, fs, waiting);
                else
                        reply_error_kept(req, 0); /* it was carried out */
                return true;
        case INVALIDATIONS_DONE:
                reply_error_kept(req, result);
                return true;
        default:
                return false;
        }
}

void fs_reply_change(struct fuse_request *req, struct fs *fs, int result) {
        struct fs_waiting *waiting = NULL;
        int r;

        if (result < 0 ||
            !invalidations_reply_later(fs->volume->invalidations, fuse_request_key(req), 0)) {
                reply_error(req, result);
                return;
        }
        waiting = fs_waiting_new(fs);
        r = waiting ? txn_commit(fs->volume->txn) : -ENOMEM;
        if (r == 0) {
                fs_await_change(req, fs, waiting);
                return;
        }
        free(waiting);
        reply_error(req, r);
}
