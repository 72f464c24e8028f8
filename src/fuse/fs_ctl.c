/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

/* Waiting */

static struct fs_waiting *fs_wait(struct fs *fs, struct fs_waiting **list, fuse_req_t req) {
        struct fs_waiting *waiting = calloc(1, sizeof(*waiting));

        if (!waiting)
                abort(); /* the next worker gets the request again, and all else is written down */
        waiting->fs = fs;
        waiting->req = req;
        waiting->next = *list;
        *list = waiting;
        return waiting;
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

void fs_open_ctl(fuse_req_t req, struct fs *fs, fuse_ino_t ino, struct node *dir,
                 struct fuse_file_info *fi) {
        struct caller caller = fs_caller(req);
        uint32_t handle;
        int r;

        r = ctl_open(fs->parts.ctl, fs_kind(ino), dir, &caller, &handle);
        caller_clear(&caller);
        if (r < 0) {
                fuse_reply_err(req, -r);
                return;
        }
        fi->fh = handle;
        fi->direct_io = 1;
        fi->nonseekable = fs_kind(ino) == CTL_EVENTS;
        fuse_reply_open(req, fi);
}

/* Reading */

/* The reader was interrupted while it waited. */
static void fs_reader_interrupted(fuse_req_t req, void *userdata) {
        struct fs_waiting *waiting = userdata;

        fs_forget_waiting(&waiting->fs->readers, waiting);
        free(waiting);
        fuse_reply_err(req, EINTR);
}

static void fs_await_events(fuse_req_t req, struct fs *fs, uint32_t handle, size_t size) {
        struct fs_waiting *waiting = fs_wait(fs, &fs->readers, req);

        waiting->handle = handle;
        waiting->size = size;
        fuse_req_interrupt_func(req, fs_reader_interrupted, waiting);
}

void fs_read_ctl(fuse_req_t req, struct fs *fs, fuse_ino_t ino, size_t size, off_t offset,
                 struct fuse_file_info *fi) {
        struct caller caller = fs_caller(req);
        ssize_t n;

        /* A reply that moves a cursor must fit into an outcome. */
        if (size > FS_READDIRPLUS_MAX)
                size = FS_READDIRPLUS_MAX;
        n = ctl_read(fs->parts.ctl, (uint32_t)fi->fh, &caller, fs->buffer, size, (uint64_t)offset);
        caller_clear(&caller);
        if (n == -EAGAIN && fs_kind(ino) == CTL_EVENTS && !(fi->flags & O_NONBLOCK))
                fs_await_events(req, fs, (uint32_t)fi->fh, size);
        else if (n < 0)
                fuse_reply_err(req, (int)-n);
        else
                fuse_reply_buf(req, fs->buffer, (size_t)n);
}

static void fs_tell_reader(struct fs *fs, struct fs_waiting **at) {
        struct fs_waiting *waiting = *at;
        ssize_t n = ctl_read(fs->parts.ctl, waiting->handle, NULL, fs->buffer, waiting->size, 0);
        fuse_req_t req = waiting->req;

        if (n == -EAGAIN) {
                /* Events of elsewhere moved the cursor. */
                journal_commit(fs->parts.journal);
                return;
        }
        *at = waiting->next;
        free(waiting);
        fuse_req_interrupt_func(req, NULL, NULL);
        if (n < 0)
                fuse_reply_err(req, (int)-n);
        else
                fuse_reply_buf(req, fs->buffer, (size_t)n);
}

static void fs_wake(void *userdata, uint64_t key) {
        struct fs *fs = userdata;

        channel_wake_poll(tree_root_record(fs->parts.tree)->fuse_fd, key);
}

void fs_tell_readers(struct fs *fs) {
        uint64_t next = event_next(fs->parts.tree);

        if (fs->told == next)
                return;
        fs->told = next;
        for (struct fs_waiting **at = &fs->readers; *at;) {
                struct fs_waiting *waiting = *at;

                fs_tell_reader(fs, at);
                if (*at == waiting)
                        at = &waiting->next;
        }
        ctl_wake(fs->parts.ctl, fs_wake, fs);
        journal_commit(fs->parts.journal);
}

void fs_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
             struct fuse_pollhandle *handle) {
        struct fs *fs = fs_of(req);
        unsigned int events = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

        if (fs_kind(ino) == CTL_EVENTS &&
            !ctl_poll(fs->parts.ctl, (uint32_t)fi->fh, channel_poll_key(fs->channel)))
                events = 0;
        if (handle)
                fuse_pollhandle_destroy(handle);
        fuse_reply_poll(req, events);
}

/* Writing */

static void fs_writer_interrupted(fuse_req_t req, void *userdata) {
        const struct fs_waiting *waiting = userdata;

        (void)req;
        ctl_cancel(waiting->fs->parts.ctl, waiting->unique);
}

static void fs_await_answer(fuse_req_t req, struct fs *fs, uint64_t unique) {
        struct fs_waiting *waiting = fs_wait(fs, &fs->waiting, req);

        waiting->unique = unique;
        fuse_req_interrupt_func(req, fs_writer_interrupted, waiting);
}

void fs_write_ctl(fuse_req_t req, struct fs *fs, const char *bytes, size_t size,
                  struct fuse_file_info *fi) {
        uint64_t unique = channel_current(fs->channel);
        struct caller caller = fs_caller(req);
        int result = 0;

        switch (invalidations_resume(fs->parts.invalidations, unique, &result)) {
        case INVALIDATIONS_WAITING:
                fs_await_answer(req, fs, unique);
                return;
        case INVALIDATIONS_DONE:
                break;
        case INVALIDATIONS_NONE:
                result = (int)ctl_write(fs->parts.ctl, (uint32_t)fi->fh, &caller, unique, bytes,
                                        size);
                caller_clear(&caller);
                if (result != -EINPROGRESS &&
                    !invalidations_answer_later(fs->parts.invalidations, unique, result))
                        break;
                fs_await_answer(req, fs, unique);
                return;
        }
        if (result < 0)
                fuse_reply_err(req, -result);
        else
                fuse_reply_write(req, (size_t)result);
}

/* A write that had to wait for a region is through. */
void fs_written(void *userdata, uint64_t unique, int result) {
        struct fs *fs = userdata;

        if (!invalidations_answer_later(fs->parts.invalidations, unique, result))
                fs_answer(fs, unique, result);
        if (journal_dirty(fs->parts.journal))
                journal_commit(fs->parts.journal);
        fs_settle(fs);
}

bool fs_answer(void *userdata, uint64_t unique, int result) {
        struct fs *fs = userdata;
        struct fs_waiting *waiting = fs->waiting;
        fuse_req_t req;

        while (waiting && waiting->unique != unique)
                waiting = waiting->next;
        if (!waiting)
                return false;
        req = waiting->req;
        fs_forget_waiting(&fs->waiting, waiting);
        free(waiting);
        fuse_req_interrupt_func(req, NULL, NULL);
        if (result < 0)
                fuse_reply_err(req, -result);
        else
                fuse_reply_write(req, (size_t)result);
        return true;
}
