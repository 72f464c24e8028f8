/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * store: files with names in a private tmpfs.  They are the memory of regions for which no
 * descriptor has to be held.
 *
 * A store is the private tmpfs of a limit (quota.h); there can be several.  A file's name is made of its node's id and inode number.  Such a name is never used
 * twice, and it tells the node.  A file is opened only for as long as it is needed.
 *
 * Files are made before the transaction that needs them is committed.  So before each is made, its
 * name is written to root.made.  store_undo_made() removes those that no node has: after an abort,
 * and in a new worker.
 *
 * Owns root.made.  Never: keeps accounts of memory, makes or closes a tmpfs.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "memory/limit.h"

/* The limit with that id if it has a private tmpfs, or NULL. */
struct limit *store_get(const struct journal *journal, uint32_t id);

/* Makes an empty file for the node, which is new.  It gets its mode, but for permission to write.  Sets node->store.  0 or
 * negative errno. */
int store_make(struct journal *journal, struct limit *store, struct node *node);
/* To be called when the transaction was committed. */
void store_keep_made(struct journal *journal);
/* To be called when it was rolled back. */
void store_undo_made(struct journal *journal);

/* Removes a file.  Its memory stays until nobody has it open or mapped. */
void store_unlink(const struct limit *store, uint32_t node, uint64_t ino);
/* Opens a file; the descriptor is the caller's.  -ENOSPC if there are no descriptors left. */
int store_open(const struct limit *store, uint32_t node, uint64_t ino, int flags);
/* As the system calls, on the node's file. */
int store_stat(const struct limit *store, const struct node *node, struct stat *st);
int store_chown(const struct limit *store, const struct node *node, uid_t uid, gid_t gid);
int store_chmod(const struct limit *store, const struct node *node, mode_t mode);
int store_utimens(const struct limit *store, const struct node *node,
                  const struct timespec times[2]);

/* The node that a name in a store is for.  False: it is no such name. */
bool store_parse(const char *name, uint32_t *node, uint64_t *ino);
