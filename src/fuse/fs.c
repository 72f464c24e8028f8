/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kernel may keep what only changes through it for as long as it likes; seconds. */
static const double FS_FOREVER = 86400.0;

enum {
        TMPFS_DIRENT_SIZE = 20, /* what tmpfs says that an entry adds to a directory's size */
        BURY_AT_ONCE = 64 * 1024 * 1024, /* bytes that are freed without the helper */
        BURY_STEP = 64 * 1024 * 1024,    /* bytes that the helper frees at a time */
};

struct fs *fs_of(fuse_req_t req) {
        return fuse_req_userdata(req);
}

struct node *fs_node(struct fs *fs, fuse_ino_t ino) {
        return tree_node(fs->parts.tree, ino & UINT32_MAX);
}

struct caller fs_caller(fuse_req_t req) {
        const struct fuse_ctx *ctx = fuse_req_ctx(req);

        return (struct caller){
                .uid = ctx->uid, .gid = ctx->gid, .pid = ctx->pid, .ask_power = true};
}

struct create_attrs fs_create_attrs(fuse_req_t req, mode_t mode, dev_t rdev) {
        const struct fuse_ctx *ctx = fuse_req_ctx(req);

        return (struct create_attrs){.mode = mode, .uid = ctx->uid, .gid = ctx->gid, .rdev = rdev};
}

/* Attributes */

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

int fs_entry(struct fs *fs, struct node *node, struct fuse_entry_param *entry) {
        int r;

        memset(entry, 0, sizeof(*entry));
        entry->ino = node->id;
        entry->generation = node->generation;
        entry->entry_timeout = FS_FOREVER;
        r = fs_attributes(fs, node, &entry->attr, &entry->attr_timeout);
        if (r == 0)
                tree_lookup_ref(fs->parts.tree, node);
        return r;
}

static void fs_reply_entry(fuse_req_t req, struct fs *fs, struct node *node) {
        struct fuse_entry_param entry;
        int r = fs_entry(fs, node, &entry);

        if (r < 0)
                fuse_reply_err(req, -r);
        else
                fuse_reply_entry(req, &entry);
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

static int fs_statx(void *userdata, uint64_t ino, struct stat *st, struct timespec *btime,
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

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
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

static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid,
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

/* Names */

static void fs_reply_ctl(fuse_req_t req, struct fs *fs, enum ctl_kind kind, struct node *dir) {
        struct fuse_entry_param entry = {
                .ino = fs_ctl_ino(kind, dir),
                .generation = dir->generation,
                .entry_timeout = FS_FOREVER,
        };

        fs_ctl_attributes(fs, kind, dir, &entry.attr);
        tree_lookup_ref_ctl(fs->parts.tree, dir);
        fuse_reply_entry(req, &entry);
}

static void fs_lookup_ctl(fuse_req_t req, struct fs *fs, struct node *dir, const char *name) {
        enum ctl_kind kind = ctl_lookup(fs->parts.ctl, dir, name, strlen(name));

        if (kind == CTL_NONE || kind == CTL_DIR)
                fuse_reply_err(req, ENOENT);
        else
                fs_reply_ctl(req, fs, kind, dir);
}

static void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        struct fs *fs = fs_of(req);
        struct node *dir = fs_node(fs, parent), *node;
        int r;

        if (!dir) {
                fuse_reply_err(req, ESTALE);
        } else if (fs_kind(parent) == CTL_DIR) {
                fs_lookup_ctl(req, fs, dir, name);
        } else if (strcmp(name, ".ctl") == 0) {
                fs_reply_ctl(req, fs, CTL_DIR, dir);
        } else {
                r = tree_lookup(fs->parts.tree, dir, name, strlen(name), &node);
                if (r < 0)
                        fuse_reply_err(req, -r);
                else
                        fs_reply_entry(req, fs, node);
        }
}

/* The directory in which a name is to be made or removed; NULL after an error was replied. */
static struct node *fs_dir_for_change(fuse_req_t req, fuse_ino_t parent) {
        struct node *dir = fs_node(fs_of(req), parent);

        if (!dir)
                fuse_reply_err(req, ESTALE);
        else if (fs_kind(parent) != CTL_NONE)
                fuse_reply_err(req, EPERM);
        else
                return dir;
        return NULL;
}

/* Gives a fresh node of a regular file its memory, and notes who made it. */
int fs_furnish(fuse_req_t req, const struct node *dir, struct node *node) {
        struct fs *fs = fs_of(req);
        struct caller caller = fs_caller(req);
        uint32_t flags, mode;
        int r;

        node->creator_uid = caller.uid;
        node->creator_pid = caller.pid;
        caller_command(&caller, node->creator_name);
        command_defaults(fs->parts.tree, dir, &flags, &mode);
        node->flags |= flags;
        if (mode != LAYOUT_NO_MODE)
                node->mode = S_IFREG | mode;
        /* Huge pages of the private tmpfs are not ours to ask for. */
        if (flags & NODE_HUGE)
                r = region_create(fs->parts.regions, node, 0);
        else
                r = region_create_growable(fs->parts.regions, node);
        if (r == 0)
                r = region_own(fs->parts.regions, node);
        if (r == 0)
                r = lifetime_created(fs->parts.lifetimes, node);
        return r;
}

int fs_make_region(fuse_req_t req, struct node *dir, const char *name,
                   const struct create_attrs *birth, struct node **out) {
        struct fs *fs = fs_of(req);
        struct caller caller = fs_caller(req);
        int r;

        r = tree_create(fs->parts.tree, dir, name, strlen(name), birth, out);
        if (r < 0)
                return r;
        r = fs_furnish(req, dir, *out);
        if (r < 0)
                tree_unlink(fs->parts.tree, dir, name, strlen(name));
        else
                event_add(fs->parts.tree, EVENT_CREATE, *out, dir, name, strlen(name), &caller);
        return r;
}

static void fs_make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev) {
        struct fs *fs = fs_of(req);
        struct create_attrs birth = fs_create_attrs(req, mode, rdev);
        struct node *dir = fs_dir_for_change(req, parent), *node; /* may answer: last */
        int r;

        if (!dir)
                return;
        if (S_ISREG(mode))
                r = fs_make_region(req, dir, name, &birth, &node);
        else
                r = tree_create(fs->parts.tree, dir, name, strlen(name), &birth, &node);
        if (r < 0)
                fuse_reply_err(req, -r);
        else
                fs_reply_entry(req, fs, node);
}

static void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev) {
        fs_make(req, parent, name, mode, rdev);
}

static void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
        fs_make(req, parent, name, S_IFDIR | (mode & 07777), 0);
}

static void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name) {
        struct fs *fs = fs_of(req);
        struct create_attrs birth = fs_create_attrs(req, S_IFLNK | 0777, 0);
        struct node *dir = fs_dir_for_change(req, parent), *node; /* may answer: last */
        int r;

        if (!dir)
                return;
        r = tree_symlink(fs->parts.tree, dir, name, strlen(name), &birth, target, &node);
        if (r < 0)
                fuse_reply_err(req, -r);
        else
                fs_reply_entry(req, fs, node);
}

static void fs_readlink(fuse_req_t req, fuse_ino_t ino) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, ino);
        char target[PATH_MAX];

        if (!node) {
                fuse_reply_err(req, ESTALE);
        } else if (fs_kind(ino) == CTL_SOCKET) {
                fuse_reply_readlink(req, tree_root_record(fs->parts.tree)->settings.socket);
        } else {
                tree_readlink(fs->parts.tree, node, target);
                fuse_reply_readlink(req, target);
        }
}

static void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name) {
        struct fs *fs = fs_of(req);
        struct node *dir = fs_dir_for_change(req, parent), *node = fs_node(fs, ino);
        int r;

        if (!dir)
                return;
        if (!node)
                r = -ESTALE;
        else if (fs_kind(ino) != CTL_NONE)
                r = -EPERM;
        else
                r = tree_link(fs->parts.tree, node, dir, name, strlen(name));
        if (r < 0)
                fuse_reply_err(req, -r);
        else
                fs_reply_entry(req, fs, node);
}

/* Before a name goes, if it is a region's. */
static void fs_tell_removal(fuse_req_t req, struct node *dir, const char *name) {
        struct tree *tree = fs_of(req)->parts.tree;
        struct caller caller = fs_caller(req);
        struct node *node;

        if (tree_lookup(tree, dir, name, strlen(name), &node) == 0 && node_is_region(node))
                event_add(tree, EVENT_REMOVE, node, dir, name, strlen(name), &caller);
}

static void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
        struct node *dir = fs_dir_for_change(req, parent);

        if (!dir)
                return;
        fs_tell_removal(req, dir, name);
        fuse_reply_err(req, -tree_unlink(fs_of(req)->parts.tree, dir, name, strlen(name)));
}

static void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
        struct node *dir = fs_dir_for_change(req, parent);

        if (!dir)
                return;
        if (strcmp(name, ".ctl") == 0)
                fuse_reply_err(req, EBUSY);
        else
                fuse_reply_err(req, -tree_rmdir(fs_of(req)->parts.tree, dir, name, strlen(name)));
}

static int fs_move(fuse_req_t req, struct node *dir, const char *name, struct node *new_dir,
                   const char *new_name, unsigned int flags) {
        struct tree *tree = fs_of(req)->parts.tree;
        struct caller caller = fs_caller(req);
        struct create_attrs birth = fs_create_attrs(req, 0, 0);
        struct node *node = NULL, *replaced = NULL;
        bool removal;
        int r;

        if (strcmp(name, ".ctl") == 0 || strcmp(new_name, ".ctl") == 0)
                return -EBUSY;
        tree_lookup(tree, dir, name, strlen(name), &node);
        tree_lookup(tree, new_dir, new_name, strlen(new_name), &replaced);
        removal = replaced && replaced != node && node_is_region(replaced) &&
                  !(flags & RENAME_EXCHANGE);
        r = tree_rename(tree, dir, name, strlen(name), new_dir, new_name, strlen(new_name), flags,
                        &birth);
        if (r < 0)
                return r;
        /* The replaced node may be gone by now; its event says no more than its name. */
        if (removal)
                event_add(tree, EVENT_REMOVE, NULL, new_dir, new_name, strlen(new_name), &caller);
        if (node_is_region(node))
                event_add(tree, EVENT_RENAME, node, new_dir, new_name, strlen(new_name), &caller);
        return 0;
}

static void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned int flags) {
        struct node *dir = fs_dir_for_change(req, parent), *new_dir;

        if (!dir)
                return;
        new_dir = fs_dir_for_change(req, new_parent);
        if (new_dir)
                fuse_reply_err(req, -fs_move(req, dir, name, new_dir, new_name, flags));
}

void fs_forget(void *userdata, uint64_t id, uint64_t count) {
        struct fs *fs = userdata;
        struct node *node = fs_node(fs, id);

        if (!node)
                return;
        if (fs_kind(id) != CTL_NONE)
                tree_lookup_unref_ctl(fs->parts.tree, node, count);
        else if (id != LAYOUT_ROOT_ID)
                tree_lookup_unref(fs->parts.tree, node, count);
}

static void fs_statfs(fuse_req_t req, fuse_ino_t ino) {
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

/* Putting together */

bool fs_abandon(void *userdata, struct node *node) {
        struct fs *fs = userdata;

        if (!node_is_region(node))
                return true;
        if (!lifetime_abandon(fs->parts.lifetimes, node))
                return false;
        /* In this transaction: an id that no record names any more could not be closed later. */
        if (node->backing_id > 0)
                channel_backing_close(fs->channel, node->backing_id);
        region_release(fs->parts.regions, node);
        return true;
}

/* Frees the memory of a large region, unless somebody else still has it. */
struct burial {
        struct job job;
        int fd;
        uint64_t size;
};

static void burial_run(struct job *job) {
        struct burial *burial = (struct burial *)job;
        struct stat st;

        /* In steps: a worker that is killed here is gone only when the system call is over. */
        if (fcntl(burial->fd, F_SETLEASE, F_WRLCK) == 0 && fstat(burial->fd, &st) == 0) {
                off_t size = st.st_size;

                while (size > 0) {
                        size = size > BURY_STEP ? size - BURY_STEP : 0;
                        if (ftruncate(burial->fd, size) < 0)
                                break; /* sealed: closing frees it all the same */
                }
        }
        close(burial->fd);
}

static void burial_done(struct job *job) {
        free(job);
}

static void fs_bury(void *userdata, const struct region_remains *remains) {
        struct fs *fs = userdata;
        struct burial *burial = NULL;

        if (remains->blocks > BURY_AT_ONCE)
                burial = calloc(1, sizeof(*burial));
        if (!burial) {
                close(remains->fd);
                return;
        }
        burial->job.run = burial_run;
        burial->job.done = burial_done;
        burial->fd = remains->fd;
        job_queue_submit(fs->parts.memory_jobs, &burial->job);
}

void fs_settle(struct fs *fs) {
        fs_tell_readers(fs);
        invalidations_send(fs->parts.invalidations);
        regions_bury(fs->parts.regions, fs_bury, fs);
}

static const struct fuse_lowlevel_ops operations = {
        .lookup = fs_lookup,
        .getattr = fs_getattr,
        .setattr = fs_setattr,
        .readlink = fs_readlink,
        .mknod = fs_mknod,
        .mkdir = fs_mkdir,
        .unlink = fs_unlink,
        .rmdir = fs_rmdir,
        .symlink = fs_symlink,
        .rename = fs_rename,
        .link = fs_link,
        .open = fs_open,
        .read = fs_read,
        .write = fs_write,
        .release = fs_release,
        .readdir = fs_readdir,
        .readdirplus = fs_readdirplus,
        .statfs = fs_statfs,
        .poll = fs_poll,
        .create = fs_create,
        .fallocate = fs_fallocate,
        .lseek = fs_lseek,
        .getxattr = fs_getxattr,
        .listxattr = fs_listxattr,
        .setxattr = fs_setxattr,
        .removexattr = fs_removexattr,
};

const struct fuse_lowlevel_ops *fs_operations(void) {
        return &operations;
}

int fs_new(struct fs **out) {
        struct fs *fs;

        fs = calloc(1, sizeof(*fs));
        if (!fs)
                return -ENOMEM;
        /* At the start of a page: the kernel then copies a page in one piece. */
        fs->buffer = aligned_alloc(4096, FS_BUFFER_SIZE);
        if (!fs->buffer) {
                free(fs);
                return -ENOMEM;
        }
        *out = fs;
        return 0;
}

void fs_set_parts(struct fs *fs, const struct fs_parts *parts) {
        fs->parts = *parts;
        ctl_set_answer(parts->ctl, fs_written, fs);
}

void fs_set_channel(struct fs *fs, struct channel *channel) {
        fs->channel = channel;
        channel_set_statx(channel, fs_statx);
}

struct fs *fs_free(struct fs *fs) {
        if (!fs)
                return NULL;
        fs_drop_waiting(&fs->waiting);
        fs_drop_waiting(&fs->readers);
        free(fs->buffer);
        free(fs);
        return NULL;
}
