/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * volume: the file system, as both of its doors see it: FUSE, and the commands of `.ctl` and of the
 * socket.
 *
 * It decides what a change is: what a new file is made of, which events happen, what the kernel has
 * to be told, how long a region lives, which set-user-id bits go.  A door decodes, checks rights
 * where the kernel has not, calls one of these functions, and replies.
 *
 * Everything happens within the current transaction (txn.h).  A function that fails may have
 * changed something; the door aborts the transaction with the error, or keeps nothing of it.  What
 * the kernel cannot take back comes last in each function, and little can follow it.
 *
 *   volume.c         putting together, names
 *   volume_region.c  the regions: making, opening, sizes, seals
 *   volume_attrs.c   attributes, and set-user-id
 *
 * Owns all below it.  Never: knows who asked by which door, checks rights, replies.
 */

#include "base/loop.h"
#include "volume/access.h"
#include "volume/event.h"
#include "volume/invalidation.h"
#include "volume/lifetime.h"
#include "volume/work.h"

/* What the connection to the kernel does for the volume; members are NULL where there is none. */
struct volume_kernel {
        int (*backing_open)(void *userdata, int fd); /* a backing id above 0, or negative errno */
        void (*backing_close)(void *userdata, int id);
        void *userdata;
        struct invalidation_teller teller;
};

/* Doors read the parts and look things up in them; they change them by the functions below. */
struct volume {
        struct loop *loop;
        struct journal *journal;
        struct root *root;
        struct txn *txn;
        struct tree *tree;
        struct regions *regions;
        struct invalidations *invalidations;
        struct lifetimes *lifetimes;
        struct works *works;
        struct allocator *allocator;
        struct job_queue *memory_jobs;
        struct volume_kernel kernel;
        int new_backing; /* backing id that was opened in this transaction, 0 for none */
};

/* Who changes something, and how. */
struct change {
        struct caller *caller; /* NULL: the daemon itself */
        bool unasked;          /* the kernel did not ask for it, and has to be told */
        bool kills_setid;      /* set-user-id bits are ours to take, and this takes them */
};

/* Makes the root directory where there is none, and commits.  0 or negative errno. */
int volume_new(struct volume **out, struct journal *journal, struct loop *loop,
               struct allocator *allocator, struct job_queue *memory_jobs,
               struct job_queue *notify_jobs);
struct volume *volume_free(struct volume *volume);
void volume_set_kernel(struct volume *volume, const struct volume_kernel *kernel);

/* In a worker that comes after another. */
/* Closes backing ids that it had no time for, and those that were opened and are no record's. */
void volume_close_backings(struct volume *volume);
/* Gives up regions that it was populating: they are begun anew when the request is resent. */
int volume_drop_pending(struct volume *volume);

/* Names.  As the functions of tree.h; by command also -EISDIR where only files may be removed. */
int volume_make(struct volume *volume, const struct change *by, struct node *dir, const char *name,
                size_t length, const struct create_attrs *attrs, struct node **out);
int volume_symlink(struct volume *volume, struct node *dir, const char *name, size_t length,
                   const struct create_attrs *attrs, const char *target, struct node **out);
int volume_link(struct volume *volume, struct node *node, struct node *dir, const char *name,
                size_t length);
int volume_unlink(struct volume *volume, const struct change *by, struct node *dir,
                  const char *name, size_t length);
int volume_rmdir(struct volume *volume, struct node *dir, const char *name, size_t length);
int volume_rename(struct volume *volume, const struct change *by, struct node *dir,
                  const char *name, size_t length, struct node *new_dir, const char *new_name,
                  size_t new_length, unsigned int flags);
/* What holds for a file that open(2) makes in dir: flags, and LAYOUT_NO_MODE or the permissions that
 * it may have at most. */
void volume_defaults(const struct volume *volume, const struct node *dir, uint32_t *flags,
                     uint32_t *mode);
void volume_set_defaults(struct volume *volume, struct node *dir, bool none, uint32_t flags,
                         uint32_t mode);

/* What a command asks of a region that it makes. */
struct region_order {
        struct create_attrs attrs;
        uint64_t size;
        uint32_t flags; /* NODE_EPHEMERAL, … */
};
/*
 * Makes a region of a given size, all of which is reserved.  0 and the region; or -EINPROGRESS and
 * a region that has no name yet, because it is to be populated first, with volume_populate(), after
 * which volume_create_finish() gives it its name.  -ENOSPC, -EFBIG and the errors of tree_link().
 */
int volume_create(struct volume *volume, const struct change *by, struct node *dir,
                  const char *name, size_t length, const struct region_order *order,
                  struct node **out);
int volume_populate(struct volume *volume, const struct node *node, work_fn done, void *userdata,
                    struct work **out);
int volume_create_finish(struct volume *volume, const struct change *by, struct node *node,
                         struct node *dir, const char *name, size_t length, uint64_t huge);
/* Gives up a region that was to be populated. */
void volume_drop(struct volume *volume, struct node *node);
/* Makes a file without a name (O_TMPFILE), as it would be in dir. */
int volume_make_unnamed(struct volume *volume, const struct change *by, const struct node *dir,
                        const struct create_attrs *attrs, struct node **out);

/* Opens through the mount.  *backing: its backing id, 0 without passthrough.  -EPERM: sealed. */
int volume_open(struct volume *volume, struct node *node, bool writable, int *backing);
/* The end of a handle; the node may be gone then. */
void volume_release(struct volume *volume, const struct change *by, struct node *node,
                    bool writable);
/* A descriptor for somebody outside, who may open the region so.  It is the transaction's, until
 * that is committed.  -EPERM: sealed. */
int volume_lend(struct volume *volume, const struct change *by, struct node *node, bool writable);

/* As ftruncate(2).  -ENOSPC, -EFBIG, -EPERM (sealed), -EINVAL (no region). */
int volume_resize(struct volume *volume, const struct change *by, struct node *node, uint64_t size);
/*
 * A huge region was smaller `before`: has what is new populated, and calls done(); on failure the
 * region is as small as before.  False: that need not be.
 */
bool volume_populate_growth(struct volume *volume, const struct change *by, struct node *node,
                            uint64_t before, work_fn done, void *userdata, struct work **out);
/* As fallocate(2).  -EINPROGRESS: done() will be called. */
int volume_fallocate(struct volume *volume, const struct change *by, struct node *node, int mode,
                     uint64_t offset, uint64_t length, work_fn done, void *userdata);
/* As pwrite(2) on tmpfs: as much as fits, and only then an error. */
ssize_t volume_write(struct volume *volume, const struct change *by, struct node *node,
                     const char *bytes, size_t size, uint64_t offset);
int volume_seal(struct volume *volume, const struct change *by, struct node *node,
                unsigned int seals);

/* Space.  volume_space() begins with a transaction that has changed nothing, and so leaves it. */
void volume_space(struct volume *volume, struct space *out);
/* As remount(2) of tmpfs; limits of which `set_…` is false stay.  -EINVAL: less than is in use. */
struct volume_limits {
        bool set_bytes, set_nodes;
        uint64_t bytes, nodes;
};
int volume_set_limits(struct volume *volume, const struct volume_limits *limits);

/* Attributes */
enum {
        ATTR_MODE = 1 << 0,
        ATTR_UID = 1 << 1,
        ATTR_GID = 1 << 2,
        ATTR_SIZE = 1 << 3,
        ATTR_ATIME = 1 << 4,
        ATTR_MTIME = 1 << 5,
};
struct volume_attrs {
        uint32_t set; /* ATTR_…; nothing at all takes set-user-id bits, and no more */
        uint32_t mode, uid, gid;
        uint64_t size;
        struct timespec atime, mtime; /* tv_nsec may be UTIME_NOW */
};
int volume_set_attrs(struct volume *volume, const struct change *by, struct node *node,
                     const struct volume_attrs *attrs);

/* For the files of the volume. */
void volume_event(struct volume *volume, const struct change *by, enum event_kind kind,
                  const struct node *node, const struct node *dir, const char *name, size_t length);
void volume_event_node(struct volume *volume, const struct change *by, enum event_kind kind,
                       struct node *node);
/* Tells the kernel of a change that it did not ask for; 0 for others. */
int volume_tell(struct volume *volume, const struct change *by, const struct node *node);
/* Gives a fresh regular file its memory, and notes who made it. */
int volume_init_storage(struct volume *volume, const struct change *by, struct node *node,
                        const struct node *dir);
/* As the kernel does when somebody without privileges changes a file's content. */
int volume_drop_setid(struct volume *volume, const struct change *by, struct node *node);
/* As volume_resize(), without a second look for room. */
int volume_try_resize(struct volume *volume, const struct change *by, struct node *node,
                      uint64_t size);
/* Whether there is room after all, once the transaction has been aborted, and may be tried again. */
bool volume_finds_room(struct volume *volume, int error);
