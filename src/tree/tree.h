/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * tree: names, directories and nodes.
 *
 * Owns the node, dentry and text records.  The indexes over names are records as well, see
 * dentry_index.h.  All changes are made in the journal's current transaction; the caller commits.
 * Functions check their arguments before they change anything.  But -ENOSPC may come later; a
 * caller that gets it must abort the transaction.
 *
 * A node lives as long as it has a name, an open handle, or a lookup of the kernel.  When names and
 * handles are gone, the tree calls its owner's `release` function, so that the memory of a region
 * is freed without waiting until the kernel forgets the node.  `release` may keep the node by
 * returning false; its owner must then call tree_reap() later.
 *
 * Never: checks permissions (the kernel or access.h does), touches memfds, knows FUSE.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "memory/limit.h"
#include "tree/stamp.h"

struct tree;

/* Called when a node has neither names nor handles.  True: free it.  False: keep it for now. */
typedef bool (*tree_release_fn)(void *userdata, struct node *node);

/* The attributes of a new node. */
struct create_attrs {
        uint32_t mode;  /* type and permissions, without those of the umask */
        uint32_t umask; /* for the volume, which applies it where no default access list holds */
        uint32_t uid, gid;
        uint64_t rdev;
};

/* Builds the tree over the journal.  Makes the root directory if there is none; the caller commits
 * that.  0, -ENOMEM. */
int tree_new(struct tree **out, struct journal *journal, tree_release_fn release, void *userdata);
struct tree *tree_free(struct tree *tree);

/* fn is called when a limit has ended: its directory and all nodes in it are gone. */
void tree_on_limit_over(struct tree *tree, void (*fn)(void *userdata, struct limit *limit),
                        void *userdata);
/* fn is called when something gets a name.  That is before the commit, so fn must look at names
 * only later. */
void tree_on_name(struct tree *tree, void (*fn)(void *userdata), void *userdata);

/* The journal of the tree, and its root record. */
struct journal *tree_journal(const struct tree *tree);
struct root *tree_root_record(const struct tree *tree);

/* The live node, or NULL. */
struct node *tree_node(const struct tree *tree, uint64_t id);

/* 0 and the node, -ENOENT, -ENOTDIR, -ENAMETOOLONG.  "." and ".." are not names here. */
int tree_lookup(const struct tree *tree, const struct node *dir, const char *name, size_t length,
                struct node **out);

/*
 * Makes a node and its first name.  A directory with S_ISGID passes on its group, and to
 * directories also S_ISGID.  0, -EEXIST (also for the name of .ctl), -ENOENT (dir was removed),
 * -ENOTDIR, -ENAMETOOLONG, -EINVAL (an empty name, ".", ".." or one with a slash), -ENOSPC
 * (the limit of inodes), -EMLINK, -ENOMEM.
 */
int tree_create(struct tree *tree, struct node *dir, const char *name, size_t length,
                const struct create_attrs *attrs, struct node **out);
/* As tree_create(), for a symbolic link to target (at most PATH_MAX - 1 bytes, else
 * -ENAMETOOLONG). */
int tree_symlink(struct tree *tree, struct node *dir, const char *name, size_t length,
                 const struct create_attrs *attrs, const char *target, struct node **out);
/* Makes a node without a name (O_TMPFILE), with the group that it would have in dir.  0,
 * -ENOSPC, -ENOENT (dir was removed, and had a limit). */
int tree_create_unnamed(struct tree *tree, const struct node *dir, const struct create_attrs *attrs,
                        struct node **out);
/* Copies the target to buffer, terminated. */
void tree_readlink(const struct tree *tree, const struct node *node, char buffer[PATH_MAX]);

/* Gives a node another name.  Errors as of tree_create(), -EPERM for directories, and -EXDEV between
 * limits. */
int tree_link(struct tree *tree, struct node *node, struct node *dir, const char *name,
              size_t length);
/* Removes a name of a node that is no directory.  0, -ENOENT, -EISDIR. */
int tree_unlink(struct tree *tree, struct node *dir, const char *name, size_t length);
/* Removes an empty directory.  0, -ENOENT, -ENOTDIR, -ENOTEMPTY. */
int tree_rmdir(struct tree *tree, struct node *dir, const char *name, size_t length);
/* -EXDEV between limits.  flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT; -EINVAL for impossible
 * combinations. */
/* attrs: owner and group of the whiteout, if one is made. */
int tree_rename(struct tree *tree, struct node *dir, const char *name, size_t length,
                struct node *new_dir, const char *new_name, size_t new_length, unsigned int flags,
                const struct create_attrs *attrs);

/*
 * The entry of dir with the smallest cookie above `after`, or NULL at the end.  Cookies are never
 * used twice in a directory.  So a reader that goes on after the last cookie it saw meets no entry
 * twice, and misses none that was there all the time.  The first cookie is 3.
 */
const struct dentry *tree_next(const struct tree *tree, const struct node *dir, uint64_t after);
/*
 * The entry with the largest cookie below `before`, or NULL.  In this direction a reader comes to
 * an end even if somebody adds an entry for each one that it reads.  tmpfs lists directories so,
 * too.
 */
const struct dentry *tree_before(const struct tree *tree, const struct node *dir, uint64_t before);

/* Inodes in use, as df -i counts them on the whole mount.  Nodes that only the kernel's lookups keep
 * do not count.  Each KiB of extended attributes counts as an inode, as on tmpfs. */
uint64_t tree_inodes(const struct tree *tree);

/* The kernel's references. */
void tree_lookup_ref(struct tree *tree, struct node *node);
void tree_lookup_unref(struct tree *tree, struct node *node, uint64_t count);
void tree_opened(struct tree *tree, struct node *node, bool writable);
void tree_closed(struct tree *tree, struct node *node, bool writable);
void tree_lookup_ref_ctl(struct tree *tree, struct node *dir);
void tree_lookup_unref_ctl(struct tree *tree, struct node *dir, uint64_t count);

/* Frees the node if nothing uses it any more; see `release` above. */
void tree_reap(struct tree *tree, struct node *node);

/* One of the node's names, or NULL if it has none. */
const struct dentry *tree_name_of(const struct tree *tree, const struct node *node);

/* Sets the node's ctime to the current time. */
void tree_touch_ctime(struct tree *tree, struct node *node);
