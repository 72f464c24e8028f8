/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * tree: names, directories and nodes.
 *
 * Owns the node, dentry and text records.  The indexes over names are records as well, see
 * dentry_index.h.  All changes are made inside the journal's
 * current transaction; the caller commits.  Functions check what is asked for before they change
 * anything; but -ENOSPC may come in the middle, and whoever gets it aborts the transaction.
 *
 * A node lives as long as it has a name, an open handle, or a lookup of the kernel.  When names
 * and handles are gone the tree tells its owner through `abandon`, so that the memory of a region
 * is given up without waiting for the kernel to forget the node; `abandon` may keep the node by
 * returning false and call tree_reap() later.
 *
 * Never: checks permissions (the kernel or access.h does), touches memfds, knows FUSE.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "tree/stamp.h"

struct tree;

/* Called when a node has neither names nor handles.  True: let it go. */
typedef bool (*tree_abandon_fn)(void *userdata, struct node *node);

/* How a node is born. */
struct create_attrs {
        uint32_t mode; /* type and permissions, umask applied */
        uint32_t uid, gid;
        uint64_t rdev;
};

/* Builds the tree over the journal, making the root directory if there is none, which the caller
 * commits.  0, -ENOMEM. */
int tree_new(struct tree **out, struct journal *journal, tree_abandon_fn abandon, void *userdata);
struct tree *tree_free(struct tree *tree);

/* fn is called whenever something gets a name, before the commit: look only afterwards. */
void tree_on_name(struct tree *tree, void (*fn)(void *userdata), void *userdata);

struct journal *tree_arena(const struct tree *tree);
struct root *tree_root_record(const struct tree *tree);

/* The live node, or NULL. */
struct node *tree_node(const struct tree *tree, uint64_t id);

/* 0 and the node, -ENOENT, -ENOTDIR, -ENAMETOOLONG.  Neither "." nor ".." is known here. */
int tree_lookup(const struct tree *tree, const struct node *dir, const char *name, size_t length,
                struct node **out);

/*
 * Makes a node and its first name.  A directory with S_ISGID hands its group down, and S_ISGID to
 * directories.  0, -EEXIST, -ENOENT (dir was removed), -ENOTDIR, -ENAMETOOLONG, -EINVAL (an empty
 * name, ".", ".." or one with a slash), -EEXIST also for the name of .ctl, -ENOSPC (nr_inodes), -EMLINK,
 * -ENOMEM.
 */
int tree_create(struct tree *tree, struct node *dir, const char *name, size_t length,
                const struct create_attrs *birth, struct node **out);
/* As tree_create(), of a symbolic link to target (at most PATH_MAX - 1 bytes, or -ENAMETOOLONG). */
int tree_symlink(struct tree *tree, struct node *dir, const char *name, size_t length,
                 const struct create_attrs *birth, const char *target, struct node **out);
/* Makes a node without a name (O_TMPFILE), as it would be in dir. */
int tree_create_unnamed(struct tree *tree, const struct node *dir, const struct create_attrs *birth,
                        struct node **out);
/* Copies the target, terminated, to buffer. */
void tree_readlink(const struct tree *tree, const struct node *node, char buffer[PATH_MAX]);

/* Gives a node another name.  As tree_create(), and -EPERM for directories. */
int tree_link(struct tree *tree, struct node *node, struct node *dir, const char *name,
              size_t length);
/* Removes a name of something that is no directory.  -ENOENT, -EISDIR. */
int tree_unlink(struct tree *tree, struct node *dir, const char *name, size_t length);
/* -ENOENT, -ENOTDIR, -ENOTEMPTY. */
int tree_rmdir(struct tree *tree, struct node *dir, const char *name, size_t length);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT; -EINVAL for what cannot be. */
/* birth: whose a whiteout is, if one is made. */
int tree_rename(struct tree *tree, struct node *dir, const char *name, size_t length,
                struct node *new_dir, const char *new_name, size_t new_length, unsigned int flags,
                const struct create_attrs *birth);

/*
 * The entry of dir with the smallest cookie above `after`, or NULL at the end.  Cookies are never
 * used twice in a directory, so that a reader that goes on from the last one it saw meets no entry
 * twice and misses none that was there all along.  The first cookie is 3.
 */
const struct dentry *tree_next(const struct tree *tree, const struct node *dir, uint64_t after);
/*
 * The entry with the largest cookie below `before`, or NULL: the way of a reader who must come to
 * an end even if somebody adds an entry for each that it reads, as tmpfs does it, too.
 */
const struct dentry *tree_before(const struct tree *tree, const struct node *dir, uint64_t before);

/* Inodes in use, as df -i counts them: without those that only the kernel's lookups keep. */
uint64_t tree_inodes(const struct tree *tree);

/* The kernel's references. */
void tree_lookup_ref(struct tree *tree, struct node *node);
void tree_lookup_unref(struct tree *tree, struct node *node, uint64_t count);
void tree_opened(struct tree *tree, struct node *node, bool writable);
void tree_closed(struct tree *tree, struct node *node, bool writable);
void tree_lookup_ref_ctl(struct tree *tree, struct node *dir);
void tree_lookup_unref_ctl(struct tree *tree, struct node *dir, uint64_t count);

/* Frees the node if nothing holds it any more; see `abandon` above. */
void tree_reap(struct tree *tree, struct node *node);

/* Any one name of the node, or NULL if it has none. */
const struct dentry *tree_name_of(const struct tree *tree, const struct node *node);

void tree_touch_ctime(struct tree *tree, struct node *node);
