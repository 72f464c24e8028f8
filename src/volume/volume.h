/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * volume: the file system as both of its doors see it: FUSE, and the commands of `.ctl` and of the
 * socket.
 *
 * It decides what a change consists of: the parts of a new file, the events, the notifications of
 * the kernel, the lifetime of a region, the set-user-id bits that are cleared.  A door decodes the
 * request, checks rights where the kernel has not, calls one of these functions, and replies.
 *
 * Everything happens in the current transaction (txn.h).  A function that fails may have changed
 * something, so the door must abort the transaction.  A step that the kernel cannot take back comes
 * last in each function, and the door can add only a little after it.
 *
 *   volume.c         construction, names, limits
 *   volume_region.c  regions: making, opening, sizes, seals
 *   volume_attrs.c   attributes, and set-user-id
 *   volume_xattr.c   extended attributes and access lists
 *   volume_limit.c   limits of bytes and inodes
 *
 * Owns all modules below it.  Never: knows by which door a request came, checks rights, replies.
 */

#include "base/loop.h"
#include "volume/access.h"
#include "volume/event.h"
#include "volume/invalidation.h"
#include "volume/lifetime.h"
#include "volume/room.h"
#include "volume/owner.h"
#include "volume/reclaim.h"
#include "volume/work.h"

/* Services of the connection to the kernel.  Members are NULL where there are none. */
struct volume_kernel {
        /* A backing id above 0 for a node's file, or negative errno. */
        int (*backing_open)(void *userdata, uint32_t node, int fd);
        void (*backing_close)(void *userdata, int id);
        void *userdata;
        struct invalidation_teller teller;
};

/* Doors may read the parts directly; they change them only by the functions below. */
struct volume {
        struct loop *loop;
        struct journal *journal;
        struct root *root;
        struct txn *txn;
        struct tree *tree;
        struct regions *regions;
        struct invalidations *invalidations;
        struct lifetimes *lifetimes;
        struct reclaims *reclaims;
        struct owners *owners;
        struct works *works;
        struct allocator *allocator;
        struct job_queue *memory_jobs;
        struct room *room;
        bool can_wait; /* the reply to the current request can wait for memory to be freed */
        struct volume_kernel kernel;
        uint64_t cut_logged_ms; /* when the last line about a cut was logged; 0: never */
        int new_backing;        /* backing id that this transaction opened, 0 for none */
};

/* The author of a change, and its kind. */
struct change {
        struct caller *caller; /* NULL: the daemon itself */
        bool waits;            /* its reply waits if invalidations_reply_later() says so */
        bool unasked;          /* the kernel did not ask for it, and must be told */
        bool kills_setid;      /* it clears set-user-id bits, and the kernel leaves that to us */
};

/* Builds the volume; makes the root directory if there is none, and commits.  0 or negative
 * errno. */
int volume_new(struct volume **out, struct journal *journal, struct loop *loop,
               struct allocator *allocator, struct job_queue *memory_jobs);
struct volume *volume_free(struct volume *volume);
void volume_set_kernel(struct volume *volume, const struct volume_kernel *kernel);

/* Makes all that is to be given to the service manager, and commits.  0 or negative errno. */
int volume_prepare_store(struct volume *volume);

/* For a worker that replaces another one: */
/* Closes backing ids that the worker before was about to close, or opened without recording
 * them. */
void volume_close_backings(struct volume *volume);
/* Drops regions that it was populating; the resent request begins anew.  0 or negative errno. */
int volume_drop_pending(struct volume *volume);
/* Goes on with lifetimes and owners, in small steps. */
void volume_take_up(struct volume *volume);

/* Names.  Errors as of the functions of tree.h; commands that remove files also get -EISDIR. */
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
/* The defaults for a file that open(2) makes in dir: flags, and the permissions that it may have at
 * most, or LAYOUT_NO_MODE. */
void volume_defaults(const struct volume *volume, const struct node *dir, uint32_t *flags,
                     uint32_t *mode);
void volume_set_defaults(struct volume *volume, struct node *dir, bool none, uint32_t flags,
                         uint32_t mode);

/* The properties of a region that a command makes. */
struct region_order {
        struct create_attrs attrs;
        uint64_t size;
        uint32_t flags; /* NODE_EPHEMERAL, NODE_OWNER_PROCESS, … */
};
/*
 * Makes a region of a given size, and reserves all of it.  0 and the region.  Or -EINPROGRESS and a
 * region without a name, which has to be populated first: call volume_populate(), and after that
 * volume_create_finish(), which gives it its name.  -ENOSPC, -EFBIG, the errors of tree_link() and
 * owner_add().
 */
int volume_create(struct volume *volume, const struct change *by, struct node *dir,
                  const char *name, size_t length, const struct region_order *order,
                  struct node **out);
int volume_populate(struct volume *volume, const struct node *node, work_fn done, void *userdata,
                    struct work **out);
int volume_create_finish(struct volume *volume, const struct change *by, struct node *node,
                         struct node *dir, const char *name, size_t length, uint64_t huge);
/* Drops a region that was to be populated. */
void volume_drop(struct volume *volume, struct node *node);
/* Makes a file without a name (O_TMPFILE), with the attributes that it would get in dir. */
int volume_make_unnamed(struct volume *volume, const struct change *by, const struct node *dir,
                        const struct create_attrs *attrs, struct node **out);

/* Opens through the mount.  *backing: its backing id, 0 without passthrough.  -EPERM: sealed. */
int volume_open(struct volume *volume, struct node *node, bool writable, int *backing);
/* Closes a handle; the node may be freed by that. */
void volume_release(struct volume *volume, const struct change *by, struct node *node,
                    bool writable);
/* A descriptor for another process, which must have the right to open the region so.  It belongs to
 * the transaction until the commit.  -EPERM: sealed. */
int volume_lend(struct volume *volume, const struct change *by, struct node *node, bool writable);

/* As ftruncate(2).  -ENOSPC, -EFBIG, -EPERM (sealed), -EINVAL (no region). */
int volume_resize(struct volume *volume, const struct change *by, struct node *node, uint64_t size);
/*
 * Populates the new part of a huge region that was `before` bytes long, then calls done().  If that
 * fails, the region gets its old size back.  False: nothing has to be populated.
 */
bool volume_populate_growth(struct volume *volume, const struct change *by, struct node *node,
                            uint64_t before, work_fn done, void *userdata, struct work **out);
/*
 * Frees the memory of a large region beyond `size`, away from the loop, so that a resize to that
 * size, which done() then makes, is quick.  False: it is quick already, or cannot be helped.
 */
bool volume_free_tail(struct volume *volume, struct node *node, uint64_t size, work_fn done,
                      void *userdata);
/* As fallocate(2).  0, negative errno, or -EINPROGRESS: done() will be called. */
int volume_fallocate(struct volume *volume, const struct change *by, struct node *node, int mode,
                     uint64_t offset, uint64_t length, work_fn done, void *userdata);
/* As pwrite(2) on tmpfs: writes as much as fits; an error only if nothing does. */
ssize_t volume_write(struct volume *volume, const struct change *by, struct node *node,
                     const char *bytes, size_t size, uint64_t offset);
/* The same for what was stored through a mapping.  That never makes a file longer, so bytes beyond
 * its end are dropped: the file may have been cut meanwhile.  Returns size, or negative errno. */
ssize_t volume_write_back(struct volume *volume, const struct change *by, struct node *node,
                          const char *bytes, size_t size, uint64_t offset);
int volume_seal(struct volume *volume, const struct change *by, struct node *node,
                unsigned int seals);

/* The space that a file in this directory has, or this file. */
void volume_space(struct volume *volume, const struct node *node, struct space *out);
/* As remounting tmpfs.  A limit whose `set_…` is false stays.  -EINVAL: more than that is in
 * use. */
struct volume_limits {
        bool set_bytes, set_nodes;
        uint64_t bytes, nodes;
};
int volume_set_limits(struct volume *volume, const struct volume_limits *limits);

/*
 * Limits of directories; see limit.h.  Sets the limit of a directory, changes it, or takes it away.
 * -ENOTEMPTY (the directory has entries, and has no limit or is to lose it), -EBUSY (more is in use,
 * or files that were removed are still open), -ENOSPC (the limit above), -EMLINK (nested too deep),
 * -ENODATA (there is no limit to take away), -EINVAL (the root directory; or one that does not limit
 * this so far), -ENOENT (the directory was removed).
 */
struct limit_order {
        bool none; /* take it away */
        bool set_bytes, set_nodes;
        uint64_t bytes, nodes; /* above 0 */
};
int volume_limit_dir(struct volume *volume, struct node *dir, const struct limit_order *order);
/* The directory's own limit, or NULL. */
struct limit *volume_own_limit(const struct volume *volume, const struct node *dir);
/* The limit in which the directory's own is reserved, or would be. */
struct limit *volume_limit_above(const struct volume *volume, const struct node *dir);

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
        uint32_t set; /* ATTR_…; 0: only clears set-user-id bits */
        uint32_t mode, uid, gid;
        uint64_t size;
        struct timespec atime, mtime; /* tv_nsec may be UTIME_NOW */
};
int volume_set_attrs(struct volume *volume, const struct change *by, struct node *node,
                     const struct volume_attrs *attrs);

/* How many files open(2) can still make, by what the records and the system can hold. */
uint64_t volume_files_left(const struct volume *volume);
/*
 * Extended attributes.  The kernel has checked who may.  The lists XATTR_ACL_ACCESS and
 * XATTR_ACL_DEFAULT have their meaning for mode and new files.  Errors as of xattr.h; -ENOSPC also
 * where nr_inodes= is used up.
 */
int volume_set_xattr(struct volume *volume, const struct change *by, struct node *node,
                     const char *name, const void *value, size_t size, int flags);
int volume_remove_xattr(struct volume *volume, struct node *node, const char *name);

/* For the files of the volume module only. */
/* Closes the backing id after the commit. */
void volume_close_backing(struct volume *volume, int id);
/* A limit is over: gives back what it had reserved.  userdata: the volume. */
void volume_limit_over(void *userdata, struct limit *limit);
void volume_event(struct volume *volume, const struct change *by, enum event_kind kind,
                  const struct node *node, const struct node *dir, const char *name, size_t length);
void volume_event_node(struct volume *volume, const struct change *by, enum event_kind kind,
                       struct node *node);
/* Tells the kernel of a change if it did not ask for it; otherwise returns 0. */
int volume_tell(struct volume *volume, const struct change *by, const struct node *node);
/* Gives a new regular file its memory, and records its creator. */
int volume_init_storage(struct volume *volume, const struct change *by, struct node *node,
                        const struct node *dir);
/* The attributes of a new node in dir, with the umask applied if it has to be. */
struct create_attrs volume_attrs_in(const struct node *dir, const struct create_attrs *attrs);
/* Gives a new node the access lists that it gets from dir, and the mode that goes with them. */
int volume_inherit_acl(struct volume *volume, struct node *node, const struct node *dir);
/* The node has got another mode by chmod(2): its access list follows. */
int volume_acl_follows_mode(struct volume *volume, struct node *node);
/* Clears set-user-id bits, as the kernel does when somebody without privileges changes the
 * content. */
int volume_drop_setid(struct volume *volume, const struct change *by, struct node *node);
