/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * dentry_index: finds a name in a directory, a directory's entries in order, and a node's names.
 *
 * Three structures over the dentry records.  They are records themselves, and change in the
 * transaction that changes what they index: a worker that takes over builds nothing, and a rollback
 * undoes them with everything else.
 *
 *   - A hash over (directory, name), by linear hashing: with each name that is added one bucket is
 *     split, so that no request ever pays for a table that grows.  The hash is keyed (SipHash, from
 *     libsodium) with a key that is drawn when the records are made, so that nobody can choose
 *     names that fall into one bucket.
 *   - For each directory a treap of its entries in the order of their cookies.  The priorities are
 *     the keyed hashes, so that nobody can choose an order of names that makes it deep: looking for a
 *     cookie takes a number of steps that grows with the logarithm of the directory's size.
 *   - For each node a list of its names.
 *
 * Owns the bucket records, the links in the dentry records, and the links to them in the node
 * records.  Never: makes or frees a dentry, allocates on the heap, fails.
 */

#include "records/layout.h"

/* Draws the key.  Once, when the records are made, before the first name is added. */
void dentry_index_init(struct journal *journal);

/*
 * The dentry has parent, cookie (the largest in its directory so far), name, length and node, and is
 * put into the hash and the directory's order.  It stays out of the node's list of names.
 */
void dentry_index_add(struct journal *journal, struct dentry *dentry);
void dentry_index_remove(struct journal *journal, struct dentry *dentry);

/* The dentry of that name, or NULL. */
struct dentry *dentry_index_find(const struct journal *journal, uint32_t dir, const char *name,
                                 size_t length);
/* The entry of dir with the smallest cookie above `after`, the largest below `before`, or NULL. */
const struct dentry *dentry_index_next(const struct journal *journal, const struct node *dir,
                                       uint64_t after);
const struct dentry *dentry_index_before(const struct journal *journal, const struct node *dir,
                                         uint64_t before);

/* Makes the dentry a name of the node, the first of its list; and takes it out of the list. */
void dentry_index_attach(struct journal *journal, struct dentry *dentry, struct node *node);
void dentry_index_detach(struct journal *journal, struct dentry *dentry);
