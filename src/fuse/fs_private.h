/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fs_private: declarations that the files of fs share.
 */

#include "control/report_json.h"
#include "fuse/fs.h"
#include "fuse/notifier.h"
#include "fuse/reply.h"

/* Seconds; for data that changes only through the kernel, which may keep it as long as it likes. */
static const uint64_t FS_FOREVER = 86400;

_Static_assert((int)_CTL_N <= (int)LAYOUT_DIR_INODES, "each file of .ctl has a number");

enum {
        FS_BUFFER_SIZE = 1024 * 1024,
        /* Replies that count lookups must fit into an outcome. */
        FS_READDIRPLUS_MAX = JOURNAL_OUTCOME_MAX - 4096,
};

struct fs;
struct fs_waiting;
/* Replies to a request for which the kernel has written its dirty pages; written: it has. */
typedef void (*fs_written_back_fn)(struct fuse_request *req, struct fs *fs,
                                   const struct fs_waiting *waiting, bool written);

/* A request that is replied to later: when the kernel was told of its invalidations or has written
 * its pages, or on an event. */
struct fs_waiting {
        struct deferred_request deferred; /* first */
        struct fs *fs;
        uint64_t unique; /* of a request that waits for invalidations */
        uint32_t handle; /* handle of a reader of a .ctl file, and its request; LSEEK's whence */
        bool blocks;
        bool plain; /* the reply has no body */
        size_t size;
        uint64_t offset;
        struct turns_job job;
        fs_written_back_fn then;        /* of fs_write_back(), with the offset */
        bool begun;                     /* the kernel has been asked to write */
        struct wire_setattr_in setattr; /* of a request that waits for memory to be freed */
        struct work *work;              /* the work that it waits for, NULL for none */
        struct fs_waiting *next;
};

struct fs {
        struct volume *volume;
        struct ctl *ctl;
        struct channel *channel;
        struct notifier *notifier;
        struct fs_waiting *unwritten; /* for pages that the kernel writes, the oldest first */
        uint64_t writing_back;        /* the node that it writes now, 0 for none */
        struct fs_waiting *unfreed;   /* for memory that is being freed */
        struct fs_waiting *waiting;   /* for invalidations */
        struct fs_waiting *spare;     /* for the next one that has to wait */
        char *buffer;                 /* FS_BUFFER_SIZE bytes, for the current reply */
};

static inline struct fs *fs_of(const struct fuse_request *req) {
        return req->userdata;
}

/*
 * Ids of .ctl and its files.  Each user has nodes of its own for them: the kernel lets one writer of
 * a node in at a time, and a write whose text never comes would keep all others out.
 *
 *   bits 0 to 23   node id of the directory
 *   bits 24 to 31  upper byte of the uid
 *   bits 32 to 39  enum ctl_kind; CTL_NONE: the directory or file itself, and no uid
 *   bits 40 to 63  the rest of the uid
 */
enum { FS_NODE_MASK = (1 << 24) - 1 };
_Static_assert((int)LAYOUT_NODES_MAX <= (int)FS_NODE_MASK, "a node id does not fit");

static inline enum ctl_kind fs_kind(uint64_t id) {
        return (enum ctl_kind)(id >> 32 & 0xff);
}
static inline uint64_t fs_ctl_id(enum ctl_kind kind, const struct node *dir, uid_t uid) {
        return (uint64_t)(uid & 0xffffff) << 40 | (uint64_t)kind << 32 |
               (uint64_t)(uid >> 24) << 24 | dir->id;
}

/* Functions with only a request as argument are handlers: see fs.c. */

/* fs_common.c */
/* The node, or the directory of a file of .ctl; NULL if it is gone. */
struct node *fs_node(struct fs *fs, uint64_t id);
struct caller fs_caller(const struct fuse_request *req);
/* The author of a change.  The handler must clear the caller. */
struct change fs_change(const struct fuse_request *req, struct caller *caller);
struct create_attrs fs_create_attrs(const struct fuse_request *req, mode_t mode, mode_t umask);
/* Fills in the entry of a node, and counts a lookup. */
int fs_entry(struct fs *fs, struct node *node, struct wire_entry *entry);
void fs_reply_entry(struct fuse_request *req, struct fs *fs, struct node *node);

/* fs_attr.c */
int fs_attributes(struct fs *fs, struct node *node, struct wire_attributes *out);
void fs_ctl_attributes(struct fs *fs, enum ctl_kind kind, struct node *dir,
                       struct wire_attributes *out);
void fs_getattr(struct fuse_request *req);
void fs_setattr(struct fuse_request *req);
void fs_statx(struct fuse_request *req);
void fs_statfs(struct fuse_request *req);

/* fs_names.c */
void fs_lookup(struct fuse_request *req);
void fs_mknod(struct fuse_request *req);
void fs_mkdir(struct fuse_request *req);
void fs_symlink(struct fuse_request *req);
void fs_readlink(struct fuse_request *req);
void fs_link(struct fuse_request *req);
void fs_unlink(struct fuse_request *req);
void fs_rmdir(struct fuse_request *req);
void fs_rename(struct fuse_request *req);
void fs_rename2(struct fuse_request *req);

/* fs_dir.c */
void fs_opendir(struct fuse_request *req);
void fs_releasedir(struct fuse_request *req);
void fs_readdir(struct fuse_request *req);
void fs_readdirplus(struct fuse_request *req);

/* fs_ctl.c */
void fs_open_ctl(struct fuse_request *req, struct fs *fs, struct node *dir);
void fs_read_ctl(struct fuse_request *req, struct fs *fs);
void fs_write_ctl(struct fuse_request *req, struct fs *fs);
void fs_poll(struct fuse_request *req);
/* For ctl_set_reply(), for invalidations_set_reply(), and for TXN_AFTER_EVENTS. */
void fs_written(void *userdata, uint64_t unique, int result);
bool fs_answer(void *userdata, uint64_t unique, int result);
/* For a request whose change may release memory, and whose reply has no body: whether it was carried
 * out before a death; then this function sees to the reply.  Otherwise fs_reply_change() does, after
 * the change. */
bool fs_resume_change(struct fuse_request *req, struct fs *fs);
void fs_reply_change(struct fuse_request *req, struct fs *fs, int result);
void fs_tell_readers(void *userdata);
/* For ctl_set_wake(). */
void fs_wake(void *userdata, uint64_t key, void *readers);
/* Takes the spare waiting structure, or allocates one; it is the caller's.  NULL: out of memory. */
struct fs_waiting *fs_waiting_new(struct fs *fs);
/* Gives it back unused; it becomes the spare one. */
void fs_waiting_return(struct fs *fs, struct fs_waiting *waiting);

/* fs_xattr.c */
void fs_getxattr(struct fuse_request *req);
void fs_listxattr(struct fuse_request *req);
void fs_setxattr(struct fuse_request *req);
void fs_removexattr(struct fuse_request *req);

/* fs_write_back.c */
/* Whether what was stored through mappings of the region may not have come here yet. */
bool fs_has_unwritten(const struct fs *fs, const struct node *node);
/* Has the kernel write such pages from `offset` on, and calls then(), which replies. */
void fs_write_back(struct fuse_request *req, struct fs *fs, uint64_t offset, uint32_t whence,
                   fs_written_back_fn then);

/* fs_io.c */
void fs_open(struct fuse_request *req);
void fs_create(struct fuse_request *req);
void fs_tmpfile(struct fuse_request *req);
void fs_read(struct fuse_request *req);
void fs_write(struct fuse_request *req);
void fs_release(struct fuse_request *req);
void fs_fallocate(struct fuse_request *req);
void fs_lseek(struct fuse_request *req);
