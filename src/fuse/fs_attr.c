/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <utlist.h>

enum { TMPFS_DIRENT_SIZE = 20 }; /* as tmpfs counts an entry in the size of its directory */

/*
 * How long the kernel may keep attributes.  It knows of writes through passthrough and of changes
 * by request.  It does not know of changes through exported descriptors.  Nor does it know what is
 * done through a mapping of the memory itself: a store fills a hole and moves the times, and
 * MADV_REMOVE makes a hole.  A mapping of the page cache fills holes only.
 */
static bool has_holes(const struct stat *st) {
        return st->st_blocks * 512 < st->st_size;
}

static uint64_t fs_valid(struct fs *fs, struct node *node, const struct stat *st) {
        if (!node_has_memory(node))
                return FS_FOREVER;
        if (node->flags & NODE_EXPORTED)
                return 0;
        if (!(node->flags & NODE_WRITTEN) || (!fs->volume->root->passthrough && !has_holes(st)))
                return FS_FOREVER;
        if (node->opens > 0 || region_has_other_users(fs->volume->regions, node))
                return 0;
        JOURNAL_SET(fs->volume->journal, node->flags, node->flags & ~(uint32_t)NODE_WRITTEN);
        return FS_FOREVER;
}

static void fs_plain_attributes(const struct node *node, struct stat *st) {
        *st = (struct stat){0};
        st->st_atim = (struct timespec){node->atime.sec, node->atime.nsec};
        st->st_mtim = (struct timespec){node->mtime.sec, node->mtime.nsec};
        st->st_ctim = (struct timespec){node->ctime.sec, node->ctime.nsec};
        if (S_ISLNK(node->mode)) {
                st->st_size = node->text_length;
                st->st_blocks = (blkcnt_t)(node->charge / 512);
        }
        if (node_is_dir(node))
                st->st_size = ((off_t)node->children + 2) * TMPFS_DIRENT_SIZE; /* "." and ".." */
}

int fs_attributes(struct fs *fs, struct node *node, struct wire_attributes *out) {
        struct stat *st = &out->st;
        struct stamp ctime;
        int r;

        if (node_is_region(node)) {
                r = region_stat(fs->volume->regions, node, st);
                if (r < 0)
                        return r;
                /* A write changes the ctime of the backing file, a rename that of the node. */
                ctime = stamp_max(node->ctime,
                                  (struct stamp){st->st_ctim.tv_sec, st->st_ctim.tv_nsec});
                st->st_ctim = (struct timespec){ctime.sec, ctime.nsec};
        } else {
                fs_plain_attributes(node, st);
        }
        st->st_ino = node->ino;
        st->st_mode = node->mode;
        st->st_nlink = node->nlink;
        st->st_uid = node->uid;
        st->st_gid = node->gid;
        st->st_rdev = node->rdev;
        st->st_blksize = 4096;
        out->btime = (struct timespec){node->btime.sec, node->btime.nsec};
        out->valid = fs_valid(fs, node, st);
        return 0;
}

void fs_ctl_attributes(struct fs *fs, enum ctl_kind kind, struct node *dir,
                       struct wire_attributes *out) {
        ctl_stat(fs->ctl, kind, dir, &out->st);
        /* They are small, so that 32-bit programs can read them. */
        out->st.st_ino = dir->ino + kind;
        out->btime = (struct timespec){dir->btime.sec, dir->btime.nsec};
        out->valid = 0;
}

/* The attributes of a node, or of a file of .ctl. */
static int fs_attributes_of(struct fs *fs, uint64_t id, struct wire_attributes *out) {
        struct node *node = fs_node(fs, id);

        if (!node)
                return -ESTALE;
        if (fs_kind(id) == CTL_NONE)
                return fs_attributes(fs, node, out);
        fs_ctl_attributes(fs, fs_kind(id), node, out);
        return 0;
}

static void fs_reply_attributes(struct fuse_request *req, struct fs *fs) {
        struct wire_attributes attributes;
        int r = fs_attributes_of(fs, req->node, &attributes);

        if (r < 0)
                reply_error(req, r);
        else
                reply_attributes(req, &attributes);
}

static void fs_reply_statx(struct fuse_request *req, struct fs *fs) {
        struct wire_attributes attributes;
        int r = fs_attributes_of(fs, req->node, &attributes);

        if (r < 0)
                reply_error(req, r);
        else
                reply_statx(req, &attributes);
}

/*
 * Whether a hole of the region may have been filled in the page cache: programs that copy take a
 * file without blocks for one without data.  But while the kernel writes its pages it takes no new
 * size from a reply (it compares versions of the attributes).  So a size that it does not know goes
 * first.
 */
static bool fs_misses_blocks(struct fs *fs, uint64_t id) {
        struct node *node = fs_kind(id) == CTL_NONE ? fs_node(fs, id) : NULL;
        struct stat st;
        uint64_t size;

        if (!node || !fs_has_unwritten(fs, node))
                return false;
        size = node->size;
        if (region_stat(fs->volume->regions, node, &st) < 0 || !has_holes(&st))
                return false;
        if ((node->flags & NODE_EXPORTED) && node->size != size)
                return false;
        return !volume_take_resized(fs->volume, node);
}

static void fs_written_getattr(struct fuse_request *req, struct fs *fs,
                               const struct fs_waiting *waiting, bool written) {
        (void)waiting;
        (void)written; /* if not, the number of blocks is the one known so far */
        fs_reply_attributes(req, fs);
}

static void fs_written_statx(struct fuse_request *req, struct fs *fs,
                             const struct fs_waiting *waiting, bool written) {
        (void)waiting;
        (void)written;
        fs_reply_statx(req, fs);
}

/*
 * The size of a listing: rsync copies as many bytes as stat(2) says.  It is made as the caller would
 * read it, and thrown away.  One that takes more than the caller's share of a turn has the size 0.
 */
static off_t fs_listing_size(struct fuse_request *req, struct fs *fs) {
        struct caller caller = fs_caller(req);
        uint32_t handle;
        size_t size = 0;
        ssize_t n;

        n = ctl_open(fs->ctl, fs_kind(req->node), fs_node(fs, req->node), &caller, false, &handle);
        caller_clear(&caller);
        while (n >= 0) {
                n = ctl_read(fs->ctl, handle, fs->buffer, FS_READDIRPLUS_MAX, size, false);
                if (n <= 0)
                        break;
                size += (size_t)n;
        }
        txn_abort(fs->volume->txn);
        return n == 0 ? (off_t)size : 0;
}

static void fs_getattr_listing(struct fuse_request *req, struct fs *fs) {
        off_t size = fs_node(fs, req->node) ? fs_listing_size(req, fs) : 0;
        struct wire_attributes attributes;
        int r = fs_attributes_of(fs, req->node, &attributes);

        if (r < 0) {
                reply_error(req, r);
                return;
        }
        attributes.st.st_size = size;
        reply_attributes(req, &attributes);
}

static bool is_listing(enum ctl_kind kind) {
        return kind == CTL_REGIONS || kind == CTL_REGIONS_JSON;
}

void fs_getattr(struct fuse_request *req) {
        struct fs *fs = fs_of(req);

        if (is_listing(fs_kind(req->node)))
                fs_getattr_listing(req, fs);
        else if (fs_misses_blocks(fs, req->node))
                fs_write_back(req, fs, 0, 0, fs_written_getattr);
        else
                fs_reply_attributes(req, fs);
}

void fs_statx(struct fuse_request *req) {
        struct fs *fs = fs_of(req);

        if (fs_misses_blocks(fs, req->node))
                fs_write_back(req, fs, 0, 0, fs_written_statx);
        else
                fs_reply_statx(req, fs);
}

static struct timespec fs_new_time(uint64_t sec, uint32_t nsec, bool now) {
        return now ? (struct timespec){0, UTIME_NOW} : (struct timespec){(time_t)sec, nsec};
}

static struct volume_attrs fs_new_attributes(const struct wire_setattr_in *in) {
        static const struct {
                uint32_t wire, volume;
        } sets[] = {
                {WIRE_SET_MODE, ATTR_MODE},       {WIRE_SET_UID, ATTR_UID},
                {WIRE_SET_GID, ATTR_GID},         {WIRE_SET_SIZE, ATTR_SIZE},
                {WIRE_SET_ATIME, ATTR_ATIME},     {WIRE_SET_MTIME, ATTR_MTIME},
                {WIRE_SET_ATIME_NOW, ATTR_ATIME}, {WIRE_SET_MTIME_NOW, ATTR_MTIME},
        };
        struct volume_attrs attrs = {
                .mode = in->mode,
                .uid = in->uid,
                .gid = in->gid,
                .size = in->size,
                .atime = fs_new_time(in->atime, in->atime_nsec, in->valid & WIRE_SET_ATIME_NOW),
                .mtime = fs_new_time(in->mtime, in->mtime_nsec, in->valid & WIRE_SET_MTIME_NOW),
        };

        for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
                if (in->valid & sets[i].wire)
                        attrs.set |= sets[i].volume;
        return attrs;
}

static int fs_set_attributes(struct fuse_request *req, struct fs *fs, struct node *node,
                             const struct wire_setattr_in *in) {
        struct volume_attrs attrs = fs_new_attributes(in);
        struct caller caller;
        struct change by = fs_change(req, &caller);
        int r = volume_set_attrs(fs->volume, &by, node, &attrs);

        caller_clear(&caller);
        return r;
}

/* ftruncate(2) of a huge region: its new pages are made before the reply. */

static void fs_grown(void *userdata, int result, uint64_t huge) {
        struct fs_waiting *waiting = userdata;
        struct fs *fs = waiting->fs;
        struct fuse_request req = channel_undefer(&waiting->deferred);

        (void)huge;
        free(waiting);
        if (result < 0)
                reply_error(&req, result == -ECANCELED ? -EINTR : result);
        else
                fs_reply_attributes(&req, fs);
}

static void fs_growth_interrupted(struct deferred_request *deferred) {
        work_signalled(((struct fs_waiting *)deferred)->work);
}

/* False: there is nothing to wait for. */
static bool fs_await_growth(struct fuse_request *req, struct fs *fs, struct node *node,
                            uint64_t before) {
        struct caller caller;
        struct change by = fs_change(req, &caller);
        struct fs_waiting *waiting;
        int r;

        if (fs_kind(req->node) != CTL_NONE || node->size <= before)
                return false;
        waiting = fs_waiting_new(fs);
        if (!waiting)
                return false; /* small pages are good enough */
        if (!volume_populate_growth(fs->volume, &by, node, before, fs_grown, waiting,
                                    &waiting->work)) {
                free(waiting);
                return false;
        }
        r = txn_commit(fs->volume->txn);
        if (r < 0) {
                free(waiting);
                reply_error(req, r);
        } else {
                channel_defer(&waiting->deferred, req, fs_growth_interrupted);
        }
        return true;
}

static void fs_change_attributes(struct fuse_request *req, const struct wire_setattr_in *in) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        uint64_t before = node ? node->size : 0;
        int r = 0;

        if (!node)
                r = -ESTALE;
        else if (fs_kind(req->node) == CTL_NONE)
                r = fs_set_attributes(req, fs, node, in);
        else if (in->valid & (WIRE_SET_MODE | WIRE_SET_UID | WIRE_SET_GID))
                r = -EPERM; /* truncating a file of .ctl is allowed, because `echo … >` does it */
        if (r < 0)
                reply_error(req, r);
        else if (!fs_await_growth(req, fs, node, before))
                fs_getattr(req);
}

/* ftruncate(2) of a large region to a smaller size: the memory is freed first, away from the loop.
 * What lies beyond the new size is lost in any case. */

static void fs_tail_freed(void *userdata, int result, uint64_t huge) {
        struct fs_waiting *waiting = userdata;
        struct fuse_request req = channel_undefer(&waiting->deferred);
        const struct wire_setattr_in in = waiting->setattr;

        (void)result; /* if it failed, the memory is freed by what follows */
        (void)huge;
        free(waiting);
        fs_change_attributes(&req, &in);
}

/* False: there is nothing to wait for. */
static bool fs_await_tail(struct fuse_request *req, struct fs *fs,
                          const struct wire_setattr_in *in) {
        struct node *node = fs_node(fs, req->node);
        struct fs_waiting *waiting;

        if (!node || fs_kind(req->node) != CTL_NONE || !(in->valid & WIRE_SET_SIZE) ||
            in->size >= node->size)
                return false;
        waiting = fs_waiting_new(fs);
        if (!waiting)
                return false;
        waiting->setattr = *in;
        if (!volume_free_tail(fs->volume, node, in->size, fs_tail_freed, waiting)) {
                fs_waiting_return(fs, waiting);
                return false;
        }
        if (txn_commit(fs->volume->txn) == 0) {
                channel_defer(&waiting->deferred, req, NULL);
                return true;
        }
        free(waiting);
        return false;
}

void fs_setattr(struct fuse_request *req) {
        const struct wire_setattr_in *in = req->in->args;

        if (!fs_await_tail(req, fs_of(req), in))
                fs_change_attributes(req, in);
}

/* What df -i shows: what the limit leaves, and what records and descriptors leave. */
static void fs_stat_inodes(const struct fs *fs, const struct limit *limit, struct statvfs *st) {
        uint64_t free = limit->nodes > limit->used_nodes ? limit->nodes - limit->used_nodes : 0;
        uint64_t possible = volume_files_left(fs->volume);

        if (limit->nodes == 0)
                return;
        st->f_files = free > possible ? limit->used_nodes + possible : limit->nodes;
        st->f_ffree = st->f_favail = free > possible ? possible : free;
}

/* Of the limit that the node counts in; as on tmpfs, a mount without a limit shows zeros. */
static void fs_reply_statfs(struct fuse_request *req, struct fs *fs) {
        struct node *node = fs_node(fs, req->node);
        struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = LAYOUT_NAME_MAX};
        struct space space;

        if (!node) {
                reply_error(req, -ESTALE);
                return;
        }
        volume_space(fs->volume, node, &space);
        if (space.limit > 0) {
                st.f_blocks = space.limit / st.f_frsize;
                st.f_bfree = st.f_bavail = (space.limit - space.used) / st.f_frsize;
        }
        fs_stat_inodes(fs, limit_of_nodes(fs->volume->journal, node->limit), &st);
        reply_statfs(req, &st);
}

static void fs_space_is_free(void *userdata, bool done) {
        struct fs_waiting *waiting = userdata;
        struct fuse_request req = channel_undefer(&waiting->deferred);
        struct fs *fs = waiting->fs;

        (void)done;
        LL_DELETE(fs->unfreed, waiting);
        free(waiting);
        fs_reply_statfs(&req, fs);
}

/* Waits for memory that is being freed: close(2) and unlink(2) on tmpfs return when it is free. */
void fs_statfs(struct fuse_request *req) {
        struct fs *fs = fs_of(req);
        struct reclaims *reclaims = fs->volume->reclaims;
        struct fs_waiting *waiting = reclaims_are_busy(reclaims) ? fs_waiting_new(fs) : NULL;

        if (!waiting || reclaim_after(reclaims, fs_space_is_free, waiting) < 0) {
                free(waiting);
                fs_reply_statfs(req, fs);
                return;
        }
        channel_defer(&waiting->deferred, req, NULL);
        LL_APPEND(fs->unfreed, waiting);
}
