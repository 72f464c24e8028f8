/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "memory/file.h"

static bool flags_write(uint32_t flags) {
        return (flags & O_ACCMODE) != O_RDONLY;
}

/* Opening */

void fs_open(struct fuse_request *req) {
        const struct wire_open_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        int r, backing = 0;

        if (node && fs_kind(req->node) != CTL_NONE) {
                fs_open_ctl(req, fs, node);
                return;
        }
        r = node ? volume_open(fs->volume, node, flags_write(in->flags), &backing) : -ESTALE;
        if (r < 0)
                reply_error(req, r);
        else
                /* Without passthrough, writes through exported descriptors become visible at the
                 * next open. */
                reply_open(req, 0, node->flags & NODE_EXPORTED ? 0 : WIRE_OPEN_KEEP_CACHE, backing);
}

static int fs_make_region(struct fuse_request *req, struct fs *fs, bool named, struct node **out) {
        const struct wire_create_in *in = req->in->args;
        const char *name = req->in->name[0];
        struct node *dir = fs_node(fs, req->node);
        struct create_attrs attrs = fs_create_attrs(req, S_IFREG | (in->mode & 07777), in->umask);
        struct caller caller;
        struct change by = fs_change(req, &caller);
        int r;

        if (!dir)
                return -ESTALE;
        if (fs_kind(req->node) != CTL_NONE)
                return -ENOENT; /* there is no such control file */
        if (named)
                r = volume_make(fs->volume, &by, dir, name, strlen(name), &attrs, out);
        else
                r = volume_make_unnamed(fs->volume, &by, dir, &attrs, out);
        caller_clear(&caller);
        return r;
}

static void fs_make_open(struct fuse_request *req, bool named) {
        const struct wire_create_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node;
        struct wire_entry entry;
        int r, backing = 0;

        r = fs_make_region(req, fs, named, &node);
        if (r == 0)
                r = volume_open(fs->volume, node, flags_write(in->flags), &backing);
        if (r == 0)
                r = fs_entry(fs, node, &entry);
        if (r < 0)
                reply_error(req, r);
        else
                reply_create(req, &entry, 0, 0, backing);
}

void fs_create(struct fuse_request *req) {
        fs_make_open(req, true);
}

void fs_tmpfile(struct fuse_request *req) {
        fs_make_open(req, false);
}

static void fs_close(struct fuse_request *req, struct fs *fs) {
        const struct wire_release_in *in = req->in->args;
        struct node *node = fs_node(fs, req->node);
        struct caller caller;
        struct change by = fs_change(req, &caller);

        if (node && fs_kind(req->node) != CTL_NONE)
                ctl_close(fs->ctl, (uint32_t)in->fh);
        else if (node)
                volume_release(fs->volume, &by, node, flags_write(in->flags));
        caller_clear(&caller);
}

void fs_release(struct fuse_request *req) {
        struct fs *fs = fs_of(req);

        fs_close(req, fs);
        /* An error as the reply would have no effect: the file is closed. */
        if (txn_check(fs->volume->txn) < 0) {
                txn_abort(fs->volume->txn);
                fs_close(req, fs);
                txn_insist(fs->volume->txn);
        }
        reply_error(req, 0);
}

/* Reading and writing without passthrough */

void fs_read(struct fuse_request *req) {
        const struct wire_read_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        size_t size = in->size;
        ssize_t n;

        if (node && fs_kind(req->node) != CTL_NONE) {
                fs_read_ctl(req, fs);
                return;
        }
        if (size > FS_BUFFER_SIZE)
                size = FS_BUFFER_SIZE;
        n = node ? file_read(fs->volume->journal, node, fs->buffer, size, in->offset) : -ESTALE;
        if (n < 0)
                reply_error(req, (int)n);
        else
                reply_bytes(req, fs->buffer, (size_t)n);
}

void fs_write(struct fuse_request *req) {
        const struct wire_write_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        struct caller caller;
        struct change by = fs_change(req, &caller);
        ssize_t n = -ESTALE;

        if (node && fs_kind(req->node) != CTL_NONE) {
                fs_write_ctl(req, fs);
                return;
        }
        if (node && (in->write_flags & WIRE_WRITE_CACHE))
                n = volume_write_back(fs->volume, &by, node, req->in->payload, in->size,
                                      in->offset);
        else if (node)
                n = volume_write(fs->volume, &by, node, req->in->payload, in->size, in->offset);
        caller_clear(&caller);
        if (n < 0)
                reply_error(req, (int)n);
        else
                reply_written(req, (size_t)n);
}

/* Space */

static void fs_allocated(void *userdata, int result, uint64_t huge) {
        struct fs_waiting *waiting = userdata;
        struct fuse_request req = channel_undefer(&waiting->deferred);

        (void)huge;
        free(waiting);
        /* The part that was allocated before the error stays, so commit it. */
        reply_error_kept(&req, result);
}

static void fs_await_allocation(struct fuse_request *req, struct fs *fs,
                                struct fs_waiting *waiting) {
        int r = txn_commit(fs->volume->txn);

        if (r == 0) {
                channel_defer(&waiting->deferred, req, NULL);
                return;
        }
        free(waiting);
        reply_error(req, r);
}

void fs_fallocate(struct fuse_request *req) {
        const struct wire_fallocate_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        struct caller caller;
        struct change by = fs_change(req, &caller);
        struct fs_waiting *waiting;
        int r;

        if (!node || fs_kind(req->node) != CTL_NONE) {
                reply_error(req, node ? -ENODEV : -ESTALE);
                return;
        }
        waiting = fs_waiting_new(fs);
        if (!waiting) {
                reply_error(req, -ENOMEM);
                return;
        }
        r = volume_fallocate(fs->volume, &by, node, (int)in->mode, in->offset, in->length,
                             fs_allocated, waiting);
        if (r == -EINPROGRESS) {
                fs_await_allocation(req, fs, waiting);
                return;
        }
        fs_waiting_return(fs, waiting);
        reply_error(req, r);
}

/* SEEK_DATA and SEEK_HOLE, as if there were no holes: where they are is not known. */
static int64_t fs_seek_blindly(struct fs *fs, struct node *node, uint64_t offset, uint32_t whence) {
        struct stat st;
        int r = region_stat(fs->volume->regions, node, &st);

        if (r < 0)
                return r;
        if (offset >= (uint64_t)st.st_size)
                return -ENXIO;
        return whence == SEEK_DATA ? (int64_t)offset : st.st_size;
}

static void fs_seek(struct fuse_request *req, struct fs *fs, const struct fs_waiting *call,
                    bool written) {
        struct node *node = fs_node(fs, req->node);
        int64_t r;

        if (!node || !node_has_memory(node)) {
                reply_error(req, -ESTALE);
                return;
        }
        /* These two do not depend on the position of our descriptor. */
        r = written ? file_seek(fs->volume->journal, node, call->offset, (int)call->handle)
                    : fs_seek_blindly(fs, node, call->offset, call->handle);
        if (r < 0)
                reply_error(req, (int)r);
        else
                reply_offset(req, (uint64_t)r);
}

/* Only SEEK_DATA and SEEK_HOLE come here. */
void fs_lseek(struct fuse_request *req) {
        const struct wire_lseek_in *in = req->in->args;
        const struct fs_waiting call = {.offset = in->offset, .handle = in->whence};
        struct fs *fs = fs_of(req);
        const struct node *node = fs_node(fs, req->node);

        if (!node || fs_kind(req->node) != CTL_NONE || !node_has_memory(node))
                reply_error(req, node ? -EINVAL : -ESTALE);
        else if (in->offset > INT64_MAX)
                reply_error(req, -ENXIO);
        else if (fs_has_unwritten(fs, node))
                fs_write_back(req, fs, in->offset, in->whence, fs_seek);
        else
                fs_seek(req, fs, &call, true);
}
