/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FALLOCATE_AT_ONCE = 4 * 1024 * 1024 }; /* bytes; more is the helper's work */

static bool flags_write(int flags) {
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

static int fs_may_open(struct fs *fs, struct node *node, int flags) {
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

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);
        int r, backing = 0;

        if (node && fs_kind(ino) != CTL_NONE) {
                fs_open_ctl(req, fs, ino, node, fi);
                return;
        }
        r = node ? fs_may_open(fs, node, fi->flags) : -ESTALE;
        if (r == 0)
                r = backing = fs_backing(fs, node);
        if (r < 0) {
                fuse_reply_err(req, -r);
                return;
        }
        tree_opened(fs->parts.tree, node, flags_write(fi->flags));
        lifetime_opened(fs->parts.lifetimes, node, flags_write(fi->flags));
        /* Without passthrough, what holders of a descriptor wrote is seen at the next open. */
        fi->keep_cache = !(node->flags & NODE_EXPORTED);
        channel_reply_open(req, NULL, fi, backing);
}

/* With name "/" the file has none: the channel turns O_TMPFILE into that. */
static int fs_make_open_region(fuse_req_t req, struct node *dir, const char *name,
                               const struct create_attrs *birth, struct node **out) {
        struct tree *tree = fs_of(req)->parts.tree;
        int r;

        if (strcmp(name, "/") != 0)
                return fs_make_region(req, dir, name, birth, out);
        r = tree_create_unnamed(tree, dir, birth, out);
        if (r < 0)
                return r;
        r = fs_furnish(req, dir, *out);
        if (r < 0)
                tree_reap(tree, *out);
        return r;
}

void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *dir = fs_node(fs, parent), *node = NULL;
        struct create_attrs birth = fs_create_attrs(req, S_IFREG | (mode & 07777), 0);
        struct fuse_entry_param entry;
        int r, backing = 0;

        if (!dir)
                r = -ESTALE;
        else if (fs_kind(parent) != CTL_NONE)
                r = -EPERM;
        else
                r = fs_make_open_region(req, dir, name, &birth, &node);
        if (r < 0) {
                fuse_reply_err(req, -r);
                return;
        }
        r = backing = fs_backing(fs, node);
        if (r >= 0) {
                tree_opened(fs->parts.tree, node, flags_write(fi->flags));
                lifetime_opened(fs->parts.lifetimes, node, flags_write(fi->flags));
                r = fs_entry(fs, node, &entry);
        }
        if (r < 0) {
                if (node->nlink > 0)
                        tree_unlink(fs->parts.tree, dir, name, strlen(name));
                fuse_reply_err(req, -r);
                return;
        }
        channel_reply_open(req, &entry, fi, backing);
}

static void fs_release_region(fuse_req_t req, struct fs *fs, struct node *node, int flags) {
        struct caller caller = fs_caller(req);
        fuse_ino_t ino = node->id;

        if (node->opens == 1)
                event_add_node(fs->parts.tree, EVENT_LAST_CLOSE, node, &caller);
        tree_closed(fs->parts.tree, node, flags_write(flags));
        node = fs_node(fs, ino);
        if (node)
                lifetime_closed(fs->parts.lifetimes, node);
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);

        if (node && fs_kind(ino) != CTL_NONE)
                ctl_close(fs->parts.ctl, (uint32_t)fi->fh);
        else if (node)
                fs_release_region(req, fs, node, fi->flags);
        fuse_reply_err(req, 0);
}

/* Reading and writing without passthrough */

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);
        ssize_t n;

        if (node && fs_kind(ino) != CTL_NONE) {
                fs_read_ctl(req, fs, ino, size, offset, fi);
                return;
        }
        if (size > FS_BUFFER_SIZE)
                size = FS_BUFFER_SIZE;
        n = node && node->fd >= 0 ? pread(node->fd, fs->buffer, size, offset) : -ESTALE;
        if (n < 0 && n != -ESTALE)
                n = -errno;
        if (n < 0)
                fuse_reply_err(req, (int)-n);
        else
                fuse_reply_buf(req, fs->buffer, (size_t)n);
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

void fs_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
              struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);
        ssize_t n;

        if (node && fs_kind(ino) != CTL_NONE) {
                fs_write_ctl(req, fs, bytes, size, fi);
                return;
        }
        n = node ? fs_write_region(fs, node, bytes, size, offset) : -ESTALE;
        if (n > 0)
                fs_drop_setid_written(fs, node);
        if (n < 0)
                fuse_reply_err(req, (int)-n);
        else
                fuse_reply_write(req, (size_t)n);
}

/* Space */

/* fallocate(2) of much memory, on the helper's thread. */
struct allocation {
        struct job job;
        struct fs *fs;
        fuse_req_t req;
        fuse_ino_t ino;
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

static void fs_reply_allocated(fuse_req_t req, struct fs *fs, struct node *node, int r) {
        struct stat st;

        if (node) {
                region_stat(fs->parts.regions, node, &st);
                tree_touch_ctime(fs->parts.tree, node);
        }
        fuse_reply_err(req, -r);
        fs_settle(fs);
}

static void allocation_done(struct job *job) {
        struct allocation *a = (struct allocation *)job;

        fs_reply_allocated(a->req, a->fs, fs_node(a->fs, a->ino), a->result);
        free(a);
}

static int fs_allocate_later(fuse_req_t req, struct fs *fs, struct node *node, int mode,
                             off_t offset, off_t length) {
        struct allocation *a = calloc(1, sizeof(*a));

        if (!a)
                return -ENOMEM;
        a->job.run = allocation_run;
        a->job.done = allocation_done;
        a->fs = fs;
        a->req = req;
        a->ino = node->id;
        a->mode = mode;
        a->offset = offset;
        a->length = length;
        /* One of its own: the region may be given up meanwhile, and its number be another's. */
        a->fd = dup(node->fd);
        if (a->fd < 0) {
                free(a);
                return -ENOSPC;
        }
        job_queue_submit(fs->parts.memory_jobs, &a->job);
        return 0;
}

void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);
        int r;

        (void)fi;
        if (!node || fs_kind(ino) != CTL_NONE) {
                fuse_reply_err(req, node ? ENODEV : ESTALE);
                return;
        }
        r = region_fallocate_begin(fs->parts.regions, node, mode, (uint64_t)offset,
                                   (uint64_t)length);
        if (r == 0 && length > FALLOCATE_AT_ONCE) {
                r = fs_allocate_later(req, fs, node, mode, offset, length);
                if (r == 0)
                        return;
        } else if (r == 0 && fallocate(node->fd, mode, offset, length) < 0) {
                r = -errno;
        }
        if (r == 0)
                fs_reply_allocated(req, fs, node, 0);
        else
                fuse_reply_err(req, -r);
}

/* ftruncate(2) of a huge region: its new pages are made before it is answered. */
struct sizing {
        struct fs *fs;
        fuse_req_t req;
        uint32_t node;
        uint64_t before;
        struct population *population;
};

static void sizing_done(void *userdata, int result, uint64_t huge) {
        struct sizing *sizing = userdata;
        struct fs *fs = sizing->fs;
        struct node *node = fs_node(fs, sizing->node);

        fuse_req_interrupt_func(sizing->req, NULL, NULL);
        if (node && result == 0)
                JOURNAL_SET(fs->parts.journal, node->huge, huge);
        else if (node)
                region_resize(fs->parts.regions, node, sizing->before);
        if (!node)
                fuse_reply_err(sizing->req, ESTALE);
        else if (result < 0)
                fuse_reply_err(sizing->req, result == -ECANCELED ? EINTR : -result);
        else
                fs_reply_attributes(sizing->req, fs, sizing->node, node);
        free(sizing);
        fs_settle(fs);
}

static void sizing_interrupted(fuse_req_t req, void *userdata) {
        struct sizing *sizing = userdata;

        (void)req;
        population_cancel(sizing->population);
}

bool fs_populate_huge(fuse_req_t req, struct fs *fs, struct node *node, uint64_t before) {
        struct sizing *sizing;

        if (!node_is_region(node) || !(node->flags & NODE_HUGE) || node->size <= before)
                return false;
        sizing = malloc(sizeof(*sizing));
        if (!sizing)
                return false;
        *sizing = (struct sizing){.fs = fs, .req = req, .node = node->id, .before = before};
        if (population_start(&sizing->population, fs->parts.memory_jobs, node->fd, node->size, true,
                             sizing_done, sizing) < 0) {
                free(sizing);
                return false; /* small pages will do */
        }
        fuse_req_interrupt_func(req, sizing_interrupted, sizing);
        return true;
}

void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);
        off_t r;

        (void)fi;
        if (!node || fs_kind(ino) != CTL_NONE || node->fd < 0) {
                fuse_reply_err(req, node ? EINVAL : ESTALE);
                return;
        }
        /* SEEK_DATA and SEEK_HOLE only, which do not use the position of our descriptor. */
        r = lseek(node->fd, offset, whence);
        if (r < 0)
                fuse_reply_err(req, errno);
        else
                fuse_reply_lseek(req, r);
}
