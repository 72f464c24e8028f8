/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * index: the tree's indexes over dentry records.
 *
 * Owns, on the heap, a hash of (directory, name) and for each directory an array of its entries in
 * the order of their cookies.  Both are derived from the records and are rebuilt from them.
 * Removed entries leave gaps in the array, which is packed when half of it is gaps, so that adding,
 * finding and removing cost the same in a directory of ten and of a million.
 *
 * Never: changes a record.
 */

#include "records/layout.h"

struct dentry_index;

/* Indexes every live dentry record.  0, -ENOMEM. */
int dentry_index_new(struct dentry_index **out, struct journal *journal);
struct dentry_index *dentry_index_free(struct dentry_index *index);

/* The dentry's id, or 0. */
uint32_t dentry_index_find(const struct dentry_index *index, uint32_t dir, const char *name,
                           size_t length);

/* Makes sure that one more dentry_index_add() to dir cannot fail.  0, -ENOMEM. */
int dentry_index_reserve(struct dentry_index *index, uint32_t dir);
/* Adds a dentry whose cookie is the largest of its directory; after dentry_index_reserve(). */
void dentry_index_add(struct dentry_index *index, const struct dentry *dentry);
/* Before its record is changed. */
void dentry_index_remove(struct dentry_index *index, const struct dentry *dentry);

/* The entry of dir with the smallest cookie above `after`, or NULL. */
const struct dentry *dentry_index_next(const struct dentry_index *index, uint32_t dir,
                                       uint64_t after);
/* The entry of dir with the largest cookie below `before`, or NULL. */
const struct dentry *dentry_index_before(const struct dentry_index *index, uint32_t dir,
                                         uint64_t before);
/* Drops what is kept for a directory that is no more. */
void dentry_index_drop(struct dentry_index *index, uint32_t dir);
