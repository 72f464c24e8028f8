/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <sys/statvfs.h>

enum { TMPFS_DIRENT_SIZE = 20 }; /* what tmpfs says that an entry adds to a directory's size */

/*
 * Writes through passthrough and changes by request are known to the kernel.  What is not: pages
 * that a mapping fills in a sparse region, and what holders of a exported descriptor do.
 */
static double fs_timeout(struct fs *fs, struct node *node, const struct stat *st) {
        if (!node_is_region(node) || node->fd < 0)
                return FS_FOREVER;
        if (node->flags & NODE_EXPORTED)
                return 0;
        if (!(node->flags & NODE_WRITTEN) || st->st_blocks * 512 >= st->st_size)
                return FS_FOREVER;
        if (node->opens > 0 || region_has_other_users(fs->parts.regions, node))
                return 0;
        JOURNAL_SET(fs->parts.journal, node->flags, node->flags & ~(uint32_t)NODE_WRITTEN);
        return FS_FOREVER;
}

static void fs_plain_attributes(const struct node *node, struct stat *st) {
        *st = (struct stat){0};
        st->st_atim = (struct timespec){node->atime.sec, node->atime.nsec};
        st->st_mtim = (struct timespec){node->mtime.sec, node->mtime.nsec};
        st->st_ctim = (struct timespec){node->ctime.sec, node->ctime.nsec};
        if (S_ISLNK(node->mode))
                st->st_size = node->text_length;
        if (node_is_dir(node))
                st->st_size = ((off_t)node->children + 2) * TMPFS_DIRENT_SIZE; /* and . and .. */
}

int fs_attributes(struct fs *fs, struct node *node, struct stat *st, double *timeout) {
        struct stamp ctime;
        int r;

        if (node_is_region(node)) {
                r = region_stat(fs->parts.regions, node, st);
                if (r < 0)
                        return r;
                /* A write moves that of the store, a rename that of the node. */
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
        *timeout = fs_timeout(fs, node, st);
        return 0;
}

void fs_ctl_attributes(struct fs *fs, enum ctl_kind kind, struct node *dir, struct stat *st) {
        ctl_stat(fs->parts.ctl, kind, dir, st);
        /* Above all that nodes get: those count up from 1. */
        st->st_ino = (ino_t)kind << 56 | dir->ino;
}

void fs_reply_attributes(fuse_req_t req, struct fs *fs, fuse_ino_t ino, struct node *node) {
        struct stat st;
        double timeout = 0;
        int r = 0;

        if (fs_kind(ino) != CTL_NONE)
                fs_ctl_attributes(fs, fs_kind(ino), node, &st);
        else
                r = fs_attributes(fs, node, &st, &timeout);
        if (r < 0)
                fuse_reply_err(req, -r);
        else
                fuse_reply_attr(req, &st, timeout);
}

int fs_statx(void *userdata, uint64_t ino, struct stat *st, struct timespec *btime,
             double *timeout) {
        struct fs *fs = userdata;
        struct node *node = fs_node(fs, ino);

        *timeout = 0;
        if (!node)
                return -ESTALE;
        *btime = (struct timespec){node->btime.sec, node->btime.nsec};
        if (fs_kind(ino) == CTL_NONE)
                return fs_attributes(fs, node, st, timeout);
        fs_ctl_attributes(fs, fs_kind(ino), node, st);
        return 0;
}

void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);

        (void)fi;
        if (!node)
                fuse_reply_err(req, ESTALE);
        else
                fs_reply_attributes(req, fs, ino, node);
}

static struct timespec fs_new_time(const struct timespec *given, int valid, int set, int now) {
        if (!(valid & set))
                return (struct timespec){0, UTIME_OMIT};
        return valid & now ? (struct timespec){0, UTIME_NOW} : *given;
}

static void fs_set_stamp(struct fs *fs, struct stamp *stamp, const struct timespec *time) {
        if (time->tv_nsec == UTIME_OMIT)
                return;
        JOURNAL_SET(fs->parts.journal, *stamp,
                    time->tv_nsec == UTIME_NOW ? stamp_now()
                                               : ((struct stamp){time->tv_sec, time->tv_nsec}));
}

static int fs_set_times(struct fs *fs, struct node *node, const struct stat *attr, int valid) {
        struct timespec times[2] = {
                fs_new_time(&attr->st_atim, valid, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
                fs_new_time(&attr->st_mtim, valid, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW),
        };

        if (!(valid & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)))
                return 0;
        if (node_is_region(node))
                return region_utimens(fs->parts.regions, node, times);
        fs_set_stamp(fs, &node->atime, &times[0]);
        fs_set_stamp(fs, &node->mtime, &times[1]);
        return 0;
}

static int fs_resize(fuse_req_t req, struct fs *fs, struct node *node, uint64_t size) {
        struct caller caller = fs_caller(req);
        uint64_t before = node->size;
        int r;

        if (!node_is_region(node))
                return -EINVAL;
        r = region_resize(fs->parts.regions, node, size);
        if (r == 0 && node->size != before)
                event_add_node(fs->parts.tree, EVENT_RESIZE, node, &caller);
        return r;
}

static int fs_set_attributes(fuse_req_t req, struct fs *fs, struct node *node,
                             const struct stat *attr, int valid) {
        uint32_t mode = node->mode, uid = node->uid, gid = node->gid;
        int r = 0;

        if (!(valid & FS_SETS))
                r = fs_may_drop_setid(req, node);
        if (r == 0 && (valid & FUSE_SET_ATTR_SIZE))
                r = fs_resize(req, fs, node, (uint64_t)attr->st_size);
        if (r == 0)
                r = fs_set_times(fs, node, attr, valid);
        if (r < 0)
                return r;
        if (valid & FUSE_SET_ATTR_MODE)
                JOURNAL_SET(fs->parts.journal, node->mode,
                            (node->mode & S_IFMT) | (attr->st_mode & 07777));
        if (valid & FUSE_SET_ATTR_UID)
                JOURNAL_SET(fs->parts.journal, node->uid, attr->st_uid);
        if (valid & FUSE_SET_ATTR_GID)
                JOURNAL_SET(fs->parts.journal, node->gid, attr->st_gid);
        fs_drop_setid(req, fs, node, gid, valid);
        tree_touch_ctime(fs->parts.tree, node);
        if (node_is_region(node) && (node->mode != mode || node->uid != uid || node->gid != gid))
                r = region_own(fs->parts.regions, node);
        return r;
}

void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid,
                struct fuse_file_info *fi) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);
        uint64_t before = node ? node->size : 0;
        int r = 0;

        (void)fi;
        if (!node)
                r = -ESTALE;
        else if (fs_kind(ino) == CTL_NONE)
                r = fs_set_attributes(req, fs, node, attr, valid);
        else if (valid & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
                r = -EPERM; /* but truncating a file of .ctl is what `echo … >` does */
        if (r < 0)
                fuse_reply_err(req, -r);
        else if (!fs_populate_huge(req, fs, node, before))
                fs_reply_attributes(req, fs, ino, node);
}

void fs_statfs(fuse_req_t req, fuse_ino_t ino) {
        struct fs *fs = fs_of(req);
        const struct root *root = tree_root_record(fs->parts.tree);
        uint64_t nodes = tree_inodes(fs->parts.tree);
        struct space space;
        struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = LAYOUT_NAME_MAX};

        (void)ino;
        regions_space(fs->parts.regions, &space);
        if (space.limit > 0) {
                uint64_t left = space.limit > space.used ? space.limit - space.used : 0;

                st.f_blocks = space.limit / st.f_frsize;
                st.f_bfree = st.f_bavail = left / st.f_frsize;
        }
        if (root->limit_nodes > 0) {
                st.f_files = root->limit_nodes;
                st.f_ffree = st.f_favail =
                        root->limit_nodes > nodes ? root->limit_nodes - nodes : 0;
        }
        fuse_reply_statfs(req, &st);
}
