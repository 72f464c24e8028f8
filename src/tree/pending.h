/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pending: regions that are being populated, and the names that they are to get.
 *
 * Such a region is a node without a name (NODE_PENDING), so that nobody can open it.  What it will
 * be called is in a record beside it, for listings only: the name is nobody's before the region is
 * whole, and whoever takes it first has it.
 *
 * Owns the pending records.  Changes are part of the current transaction.  Never: makes a name,
 * frees a node.
 */

#include "tree/tree.h"

/* Marks a node that has no name yet.  0, -ENOSPC. */
int pending_add(struct tree *tree, struct node *node, const struct node *dir, const char *name,
                size_t length);
/* Takes the mark and the record away, if it has any: it gets its name now, or is given up. */
void pending_end(struct tree *tree, struct node *node);

/* The next record after *at, which begins at 0; NULL at the end. */
const struct pending *pending_next(const struct tree *tree, uint32_t *at);
/* The live record with that id, or NULL; and the largest id that there may be. */
const struct pending *pending_get(const struct tree *tree, uint32_t id);
uint32_t pending_high(const struct tree *tree);
/* The directory where it will be, NULL if that is gone. */
const struct node *pending_dir(const struct tree *tree, const struct pending *record);
