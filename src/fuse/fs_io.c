/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FALLOCATE_AT_ONCE = 4 * 1024 * 1024 }; /* bytes; more is the helper's work */

static bool flags_write(uint32_t flags) {
        return (flags & O_ACCMODE) != O_RDONLY;
}

/* Opening */

/*
 * The region's one backing id: made at the first open and kept for the life of the region, because
 * the kernel refuses a second one while the first is in use.  0 without passthrough.
 */
static int fs_backing(struct fs *fs, struct node *node) {
        int id;

        if (node->backing_id > 0 || !channel_has_passthrough(fs->channel))
                return node->backing_id;
        id = channel_backing_open(fs->channel, node->fd);
        if (id > 0)
                JOURNAL_SET(fs->parts.journal, node->backing_id, id);
        return id;
}

static int fs_may_open(struct fs *fs, struct node *node, uint32_t flags) {
        struct stat st;

        if (!node_is_region(node) || node->fd < 0)
                return -ESTALE;
        /* Its owner may have sealed it through a descriptor that was exported. */
        if (flags_write(flags) && (node->flags & NODE_EXPORTED))
                region_stat(fs->parts.regions, node, &st);
        /* Through passthrough the kernel would let a sealed memfd be mapped for writing. */
        if (flags_write(flags) && (node->seals & F_SEAL_WRITE))
                return -EPERM;
        return 0;
}

void fs_open(struct fuse_request *req) {
        const struct wire_open_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        int r, backing = 0;

        if (node && fs_kind(req->node) != CTL_NONE) {
                fs_open_ctl(req, fs, node);
                return;
        }
        r = node ? fs_may_open(fs, node, in->flags) : -ESTALE;
        if (r == 0)
                r = backing = fs_backing(fs, node);
        if (r < 0) {
                reply_error(req, r);
                return;
        }
        tree_opened(fs->parts.tree, node, flags_write(in->flags));
        lifetime_opened(fs->parts.lifetimes, node, flags_write(in->flags));
        /* Without passthrough, what holders of a descriptor wrote is seen at the next open. */
        reply_open(req, 0, node->flags & NODE_EXPORTED ? 0 : WIRE_OPEN_KEEP_CACHE, backing);
}

/* A file without a name, until it is linked. */
static int fs_make_unnamed(struct fuse_request *req, struct node *dir,
                           const struct create_attrs *birth, struct node **out) {
        struct tree *tree = fs_of(req)->parts.tree;
        int r;

        r = tree_create_unnamed(tree, dir, birth, out);
        if (r < 0)
                return r;
        r = fs_furnish(req, dir, *out);
        if (r < 0)
                tree_reap(tree, *out);
        return r;
}

static void fs_make_open(struct fuse_request *req, bool named) {
        const struct wire_create_in *in = req->in->args;
        const char *name = req->in->name[0];
        struct fs *fs = fs_of(req);
        struct node *dir = fs_node(fs, req->node), *node = NULL;
        struct create_attrs birth = fs_create_attrs(req, S_IFREG | (in->mode & 07777), 0);
        struct wire_entry entry;
        int r, backing = 0;

        if (!dir)
                r = -ESTALE;
        else if (fs_kind(req->node) != CTL_NONE)
                r = -EPERM;
        else if (named)
                r = fs_make_region(req, dir, name, &birth, &node);
        else
                r = fs_make_unnamed(req, dir, &birth, &node);
        if (r < 0) {
                reply_error(req, r);
                return;
        }
        r = backing = fs_backing(fs, node);
        if (r >= 0) {
                tree_opened(fs->parts.tree, node, flags_write(in->flags));
                lifetime_opened(fs->parts.lifetimes, node, flags_write(in->flags));
                r = fs_entry(fs, node, &entry);
        }
        if (r < 0) {
                if (node->nlink > 0)
                        tree_unlink(fs->parts.tree, dir, name, strlen(name));
                reply_error(req, r);
                return;
        }
        reply_create(req, &entry, 0, 0, backing);
}

void fs_create(struct fuse_request *req) {
        fs_make_open(req, true);
}

void fs_tmpfile(struct fuse_request *req) {
        fs_make_open(req, false);
}

static void fs_release_region(struct fuse_request *req, struct fs *fs, struct node *node,
                              uint32_t flags) {
        struct caller caller = fs_caller(req);
        uint64_t ino = node->id;

        if (node->opens == 1)
                event_add_node(fs->parts.tree, EVENT_LAST_CLOSE, node, &caller);
        tree_closed(fs->parts.tree, node, flags_write(flags));
        node = fs_node(fs, ino);
        if (node)
                lifetime_closed(fs->parts.lifetimes, node);
}

void fs_release(struct fuse_request *req) {
        const struct wire_release_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);

        if (node && fs_kind(req->node) != CTL_NONE)
                ctl_close(fs->parts.ctl, (uint32_t)in->fh);
        else if (node)
                fs_release_region(req, fs, node, in->flags);
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
        n = node && node->fd >= 0 ? pread(node->fd, fs->buffer, size, (off_t)in->offset) : -ESTALE;
        if (n < 0 && n != -ESTALE)
                n = -errno;
        if (n < 0)
                reply_error(req, (int)n);
        else
                reply_bytes(req, fs->buffer, (size_t)n);
}

/* Like tmpfs: as much as fits, and only then an error. */
static ssize_t fs_write_region(struct fs *fs, struct node *node, const char *bytes, size_t size,
                               off_t offset) {
        uint64_t room;
        int r;

        r = region_reserve_write(fs->parts.regions, node, (uint64_t)offset + size);
        if (r == -ENOSPC) {
                room = region_room(fs->parts.regions, node);
                if (room <= (uint64_t)offset)
                        return r;
                size = (size_t)(room - (uint64_t)offset);
                r = region_reserve_write(fs->parts.regions, node, room);
        }
        if (r < 0)
                return r;
        return region_write(fs->parts.regions, node, bytes, size, (uint64_t)offset);
}

void fs_write(struct fuse_request *req) {
        const struct wire_write_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        ssize_t n;

        if (node && fs_kind(req->node) != CTL_NONE) {
                fs_write_ctl(req, fs);
                return;
        }
        n = node ? fs_write_region(fs, node, req->in->payload, in->size, (off_t)in->offset)
                 : -ESTALE;
        if (n > 0)
                fs_drop_setid_written(req, fs, node);
        if (n < 0)
                reply_error(req, (int)n);
        else
                reply_written(req, (size_t)n);
}

/* Space */

/* fallocate(2) of much memory, on the helper's thread. */
struct allocation {
        struct job job;
        struct fs *fs;
        struct deferred_request deferred;
        int fd;
        int mode;
        off_t offset;
        off_t length;
        int result;
};

static void allocation_run(struct job *job) {
        struct allocation *a = (struct allocation *)job;

        if (fallocate(a->fd, a->mode, a->offset, a->length) < 0)
                a->result = -errno;
        close(a->fd);
}

static void fs_reply_allocated(struct fuse_request *req, struct fs *fs, struct node *node, int r) {
        struct stat st;

        if (node) {
                region_stat(fs->parts.regions, node, &st);
                tree_touch_ctime(fs->parts.tree, node);
        }
        reply_error(req, r);
        fs_settle(fs);
}

static void allocation_done(struct job *job) {
        struct allocation *a = (struct allocation *)job;
        struct fuse_request req = channel_undefer(&a->deferred);

        fs_reply_allocated(&req, a->fs, fs_node(a->fs, req.node), a->result);
        free(a);
}

static int fs_allocate_later(struct fuse_request *req, struct fs *fs, struct node *node) {
        const struct wire_fallocate_in *in = req->in->args;
        struct allocation *a = calloc(1, sizeof(*a));

        if (!a)
                return -ENOMEM;
        a->job.run = allocation_run;
        a->job.done = allocation_done;
        a->fs = fs;
        a->mode = (int)in->mode;
        a->offset = (off_t)in->offset;
        a->length = (off_t)in->length;
        /* One of its own: the region may be given up meanwhile, and its number be another's. */
        a->fd = dup(node->fd);
        if (a->fd < 0) {
                free(a);
                return -ENOSPC;
        }
        job_queue_submit(fs->parts.memory_jobs, &a->job);
        channel_defer(&a->deferred, req, NULL);
        return 0;
}

void fs_fallocate(struct fuse_request *req) {
        const struct wire_fallocate_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        int r;

        if (!node || fs_kind(req->node) != CTL_NONE) {
                reply_error(req, node ? -ENODEV : -ESTALE);
                return;
        }
        r = region_fallocate_begin(fs->parts.regions, node, (int)in->mode, in->offset, in->length);
        if (r == 0 && in->length > FALLOCATE_AT_ONCE) {
                r = fs_allocate_later(req, fs, node);
                if (r == 0)
                        return;
        } else if (r == 0 &&
                   fallocate(node->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0) {
                r = -errno;
        }
        if (r == 0)
                fs_reply_allocated(req, fs, node, 0);
        else
                reply_error(req, r);
}

/* ftruncate(2) of a huge region: its new pages are made before it is answered. */
struct sizing {
        struct deferred_request deferred; /* first */
        struct fs *fs;
        uint64_t before;
        struct population *population;
};

static void sizing_done(void *userdata, int result, uint64_t huge) {
        struct sizing *sizing = userdata;
        struct fs *fs = sizing->fs;
        struct fuse_request req = channel_undefer(&sizing->deferred);
        struct node *node = fs_node(fs, req.node);

        if (node && result == 0)
                JOURNAL_SET(fs->parts.journal, node->huge, huge);
        else if (node)
                region_resize(fs->parts.regions, node, sizing->before);
        if (!node)
                reply_error(&req, -ESTALE);
        else if (result < 0)
                reply_error(&req, result == -ECANCELED ? -EINTR : result);
        else
                fs_getattr(&req);
        free(sizing);
        fs_settle(fs);
}

static void sizing_interrupted(struct deferred_request *deferred) {
        struct sizing *sizing = (struct sizing *)deferred;

        population_cancel(sizing->population);
}

bool fs_populate_huge(struct fuse_request *req, struct fs *fs, struct node *node, uint64_t before) {
        struct sizing *sizing;

        if (!node_is_region(node) || !(node->flags & NODE_HUGE) || node->size <= before)
                return false;
        sizing = malloc(sizeof(*sizing));
        if (!sizing)
                return false;
        *sizing = (struct sizing){.fs = fs, .before = before};
        if (population_start(&sizing->population, fs->parts.memory_jobs, node->fd, node->size, true,
                             sizing_done, sizing) < 0) {
                free(sizing);
                return false; /* small pages will do */
        }
        channel_defer(&sizing->deferred, req, sizing_interrupted);
        return true;
}

void fs_lseek(struct fuse_request *req) {
        const struct wire_lseek_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        off_t r;

        if (!node || fs_kind(req->node) != CTL_NONE || node->fd < 0) {
                reply_error(req, node ? -EINVAL : -ESTALE);
                return;
        }
        /* SEEK_DATA and SEEK_HOLE only, which do not use the position of our descriptor. */
        r = lseek(node->fd, (off_t)in->offset, (int)in->whence);
        if (r < 0)
                reply_error(req, -errno);
        else
                reply_offset(req, (uint64_t)r);
}
