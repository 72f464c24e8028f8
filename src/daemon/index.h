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

#include "layout.h"

struct index;

/* Indexes every live dentry record.  0, -ENOMEM. */
int index_new(struct index **out, struct arena *arena);
struct index *index_free(struct index *index);

/* The dentry's id, or 0. */
uint32_t index_find(const struct index *index, uint32_t dir, const char *name, size_t length);

/* Makes sure that one more index_add() to dir cannot fail.  0, -ENOMEM. */
int index_reserve(struct index *index, uint32_t dir);
/* Adds a dentry whose cookie is the largest of its directory; after index_reserve(). */
void index_add(struct index *index, const struct dentry *dentry);
/* Before its record is changed. */
void index_remove(struct index *index, const struct dentry *dentry);

/* The entry of dir with the smallest cookie above `after`, or NULL. */
const struct dentry *index_next(const struct index *index, uint32_t dir, uint64_t after);
/* The entry of dir with the largest cookie below `before`, or NULL. */
const struct dentry *index_before(const struct index *index, uint32_t dir, uint64_t before);
/* Drops what is kept for a directory that is no more. */
void index_drop(struct index *index, uint32_t dir);
