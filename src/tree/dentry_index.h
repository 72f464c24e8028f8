/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * dentry_index: finds a name in a directory, a directory's entries in order, and a node's names.
 *
 * Three structures link the dentry records.  They are records themselves, and change in the
 * transaction that changes what they index.  So a new worker builds nothing, and a rollback undoes
 * them with everything else.
 *
 *   - A hash over (directory, name), by linear hashing.  Each added name splits one bucket, so that
 *     no request has to pay for growing the whole table.  The hash is keyed (SipHash, from
 *     libsodium) with a random key, drawn when the records are made, so that nobody can choose
 *     names that fall into one bucket.
 *   - For each directory a treap of its entries in the order of their cookies.  The priorities are
 *     the keyed hashes, so that nobody can choose names that make it deep.  Finding a cookie takes
 *     a number of steps that grows with the logarithm of the directory's size.
 *   - For each node a list of its names.
 *
 * Owns the bucket records, the links in the dentry records, and the links to them in the node
 * records.  Never: makes or frees a dentry, allocates on the heap, fails.
 */

#include "records/layout.h"

/* Draws the key.  Call it once, when the records are made, before the first name is added. */
void dentry_index_init(struct journal *journal);

/*
 * Adds the dentry to the hash and to its directory's order; not to the node's list of names.
 * parent, cookie (the largest in its directory so far), name, length and node must be set.
 */
void dentry_index_add(struct journal *journal, struct dentry *dentry);
void dentry_index_remove(struct journal *journal, struct dentry *dentry);

/* The dentry of that name, or NULL. */
struct dentry *dentry_index_find(const struct journal *journal, uint32_t dir, const char *name,
                                 size_t length);
/* The entry of dir with the smallest cookie above `after`, or the largest below `before`; or
 * NULL. */
const struct dentry *dentry_index_next(const struct journal *journal, const struct node *dir,
                                       uint64_t after);
const struct dentry *dentry_index_before(const struct journal *journal, const struct node *dir,
                                         uint64_t before);

/* Puts the dentry at the head of the node's list of names; and takes it out of that list. */
void dentry_index_attach(struct journal *journal, struct dentry *dentry, struct node *node);
void dentry_index_detach(struct journal *journal, struct dentry *dentry);
