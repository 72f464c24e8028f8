/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fs_private: what the files of fs share.
 */

#include "fuse/fs.h"
#include "control/report.h"

/* The kernel may keep what only changes through it for as long as it likes; seconds. */
static const double FS_FOREVER = 86400.0;

enum {
        FS_BUFFER_SIZE = 1024 * 1024,
        /* Replies that count lookups must fit into an outcome. */
        FS_READDIRPLUS_MAX = JOURNAL_OUTCOME_MAX - 4096,
};

/* A SETATTR without any of these sets nothing. */
static const int FS_SETS = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID |
                           FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
                           FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;

/* A request that is answered later: when its invalidations have been told, or something happens. */
struct fs_waiting {
        struct fs *fs;
        fuse_req_t req;
        uint64_t unique; /* invalidations */
        uint32_t handle; /* events */
        size_t size;
        struct fs_waiting *next;
};

struct fs {
        struct fs_parts parts;
        struct channel *channel;
        struct fs_waiting *waiting; /* for invalidations */
        struct fs_waiting *readers; /* for events */
        uint64_t told;              /* sequence number of the next event that readers wait for */
        char *buffer;               /* FS_BUFFER_SIZE bytes, for the reply that is being made */
};

/* fs_common.c */
struct fs *fs_of(fuse_req_t req);

/* Ids of .ctl and its files. */
static inline enum ctl_kind fs_kind(fuse_ino_t ino) {
        return (enum ctl_kind)(ino >> 32);
}
static inline fuse_ino_t fs_ctl_ino(enum ctl_kind kind, const struct node *dir) {
        return (uint64_t)kind << 32 | dir->id;
}
/* The node, or for a file of .ctl its directory; NULL if it is gone. */
struct node *fs_node(struct fs *fs, fuse_ino_t ino);

struct caller fs_caller(fuse_req_t req);
struct create_attrs fs_create_attrs(fuse_req_t req, mode_t mode, dev_t rdev);
/* The entry of a node; counts a lookup. */
int fs_entry(struct fs *fs, struct node *node, struct fuse_entry_param *entry);
void fs_reply_entry(fuse_req_t req, struct fs *fs, struct node *node);

/* fs_attr.c */
/* Attributes and how long the kernel may keep them, seconds. */
int fs_attributes(struct fs *fs, struct node *node, struct stat *st, double *timeout);
void fs_ctl_attributes(struct fs *fs, enum ctl_kind kind, struct node *dir, struct stat *st);
void fs_reply_attributes(fuse_req_t req, struct fs *fs, fuse_ino_t ino, struct node *node);
int fs_statx(void *userdata, uint64_t ino, struct stat *st, struct timespec *btime,
             double *timeout);
void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid,
                struct fuse_file_info *fi);
void fs_statfs(fuse_req_t req, fuse_ino_t ino);

/* fs_names.c */
/* Gives a fresh node of a regular file its memory, and notes who made it. */
int fs_furnish(fuse_req_t req, const struct node *dir, struct node *node);
/* Makes a regular file with its memory; leaves nothing behind on failure. */
int fs_make_region(fuse_req_t req, struct node *dir, const char *name,
                   const struct create_attrs *birth, struct node **out);
void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned int flags);

/* fs_dir.c */
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi);
void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi);

/* fs_ctl.c */
void fs_open_ctl(fuse_req_t req, struct fs *fs, fuse_ino_t ino, struct node *dir,
                 struct fuse_file_info *fi);
void fs_read_ctl(fuse_req_t req, struct fs *fs, fuse_ino_t ino, size_t size, off_t offset,
                 struct fuse_file_info *fi);
void fs_write_ctl(fuse_req_t req, struct fs *fs, const char *bytes, size_t size,
                  struct fuse_file_info *fi);
void fs_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
             struct fuse_pollhandle *handle);
/* For ctl_set_answer(). */
void fs_written(void *userdata, uint64_t unique, int result);
/* Wakes those who wait for events, if there are new ones. */
void fs_tell_readers(struct fs *fs);
void fs_drop_waiting(struct fs_waiting **list);

/* fs_setid.c */
/* Whether a SETATTR that sets nothing may take the bits that it takes: 0 or -EPERM. */
int fs_may_drop_setid(fuse_req_t req, const struct node *node);
/* What a SETATTR takes, besides what it sets; group is what the file's was before. */
void fs_drop_setid(fuse_req_t req, struct fs *fs, struct node *node, gid_t group, int valid);
/* The same for a WRITE. */
void fs_drop_setid_written(struct fs *fs, struct node *node);

/* fs_xattr.c */
void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags);
void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* fs_io.c */
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
              struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi);
/* Has a huge region populated that was smaller `before`, and answers then; false: it need not. */
bool fs_populate_huge(fuse_req_t req, struct fs *fs, struct node *node, uint64_t before);
void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);
