/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * file: the file that a region's memory comes from, whether the region holds a descriptor of it or
 * it has a name in a store.
 *
 * All functions want a node with memory (node_has_memory()); otherwise they return -ESTALE.
 *
 * Owns nothing.  Never: keeps accounts, decides what may be done.
 */

#include <stdbool.h>
#include <sys/stat.h>
#include "records/layout.h"

/*
 * A descriptor for reading and writing, to be used now: the region's own, or one that is opened for
 * this.  Give it back with file_unuse().  Or -ENOSPC (no descriptor left) and errors of open(2).
 */
int file_use(const struct journal *journal, const struct node *node);
void file_unuse(const struct node *node, int fd);
/* A fresh open, which is the caller's.  flags: O_RDONLY, O_RDWR or O_ACCMODE. */
int file_open(const struct journal *journal, const struct node *node, int flags);

/* As pread(2), and as lseek(2) with SEEK_DATA or SEEK_HOLE. */
ssize_t file_read(const struct journal *journal, const struct node *node, char *bytes, size_t size,
                  uint64_t offset);
int64_t file_seek(const struct journal *journal, const struct node *node, uint64_t offset,
                  int whence);

int file_stat(const struct journal *journal, const struct node *node, struct stat *st);
int file_truncate(const struct journal *journal, const struct node *node, uint64_t size);
int file_utimens(const struct journal *journal, const struct node *node,
                 const struct timespec times[2]);
/* Sets owner and permissions of the file.  If only root may change the owner, it stays, and nobody
 * else gets permissions. */
int file_own(const struct journal *journal, const struct node *node, uid_t uid, gid_t gid,
             mode_t mode);
/* Whether anybody but the daemon has the file open or mapped. */
bool file_has_other_users(const struct journal *journal, const struct node *node);
