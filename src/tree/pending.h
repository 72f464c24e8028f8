/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pending: regions that are being populated, and the names that they will get.
 *
 * Such a region is a node without a name (NODE_PENDING), so that nobody can open it.  A record
 * beside it has the name that it will get, for listings only.  The name stays free until the region
 * is populated; another file may take it first.
 *
 * Owns the pending records.  Changes are part of the current transaction.  Never: makes a name,
 * frees a node.
 */

#include "tree/tree.h"

/* Marks a node that has no name yet, and makes its record.  0, -ENOSPC. */
int pending_add(struct tree *tree, struct node *node, const struct node *dir, const char *name,
                size_t length);
/* Removes the mark and the record, if there are any, because the region gets its name or is
 * released. */
void pending_end(struct tree *tree, struct node *node);

/* The next record after *at, which must be 0 at the first call; NULL at the end. */
const struct pending *pending_next(const struct tree *tree, uint32_t *at);
/* The live record with that id, or NULL; and the largest id that there may be. */
const struct pending *pending_get(const struct tree *tree, uint32_t id);
uint32_t pending_high(const struct tree *tree);
/* The directory of the future name; NULL if it has been removed. */
const struct node *pending_dir(const struct tree *tree, const struct pending *record);
