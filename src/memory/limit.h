/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * limit: the records of limits, and what counts in them.
 *
 * The mount has a limit, and directories can have limits of their own, which nest.  A node belongs
 * to the limit of the directory that it was made in, for life.  A directory with a limit belongs to
 * its own.  A limit is reserved in full in the one above it.  So a node counts in one limit of
 * bytes and in one of inodes, and in no other, however deep the limits nest.
 *
 * A limit ends with its last node: when its directory was removed and the last file that somebody
 * still had open is gone.
 *
 * Owns the limit records, except their private tmpfs and their sums of bytes, which are quota's.
 * All changes are made in the journal's current transaction.  Never: checks rights.
 */

#include "records/layout.h"

enum { LIMIT_DEPTH_MAX = 16 }; /* limits of directories inside each other */

/* Makes the mount's limit from the settings, if there is none.  The caller commits that.  0, -ENOMEM. */
int limits_init(struct journal *journal);
/* The live limit, or NULL. */
struct limit *limit_get(const struct journal *journal, uint32_t id);
/* The mount's. */
struct limit *limit_mount(const struct journal *journal);
/* The limits in which bytes and inodes of a node with this limit count.  0 is taken for the
 * mount's. */
struct limit *limit_of_bytes(const struct journal *journal, uint32_t id);
struct limit *limit_of_nodes(const struct journal *journal, uint32_t id);

/* Makes a limit inside `above` for a directory; its nodes are reserved there, its bytes are not
 * (quota.h).  bytes, nodes: 0 for none of its own.  0, -ENOSPC, -EMLINK (too deep). */
int limit_add(struct journal *journal, uint32_t above, uint32_t dir, uint64_t bytes, uint64_t nodes,
              struct limit **out);
/* Changes the number of inodes of a limit that has one.  0, -ENOSPC (above), -EBUSY (in use). */
int limit_set_nodes(struct journal *journal, struct limit *limit, uint64_t nodes);
/* Whether nothing refers to it any more. */
bool limit_is_over(const struct limit *limit);
/* Gives back the inodes that it reserved, and deletes the record. */
void limit_delete(struct journal *journal, struct limit *limit);

/* Whether one more inode fits. */
bool limit_has_node(const struct journal *journal, uint32_t id);
/* A name of a file beyond its first, which counts as an inode; n: 1 or -1. */
void limit_add_link(struct journal *journal, uint32_t id, int n);
/* Bytes of extended attributes, of which each KiB counts as an inode: whether more of them fit, and
 * their change. */
bool limit_has_xattr(const struct journal *journal, uint32_t id, uint64_t bytes);
void limit_add_xattr(struct journal *journal, uint32_t id, int64_t bytes);
/* Makes the node, which belongs to no limit, belong to this one; or to none. */
void limit_join(struct journal *journal, struct node *node, uint32_t id);
void limit_leave(struct journal *journal, struct node *node);
