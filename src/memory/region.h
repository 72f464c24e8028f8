/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * region: one piece of shared memory and what it counts for.
 *
 * Owns the descriptors of the stores, the private tmpfs, and the sums that `size=` limits.
 * A region's memory comes from one of two stores:
 *
 *   BACKING_MEMFD  a memfd.  Made by commands.  Its page-rounded size is reserved in full; it can be
 *                sealed and handed out.
 *   BACKING_TMPFS  an unnamed file of a tmpfs that nobody else sees.  Made by open(O_CREAT) when
 *                there is passthrough: write(2) then grows a file without asking us, and the
 *                kernel itself has to stop it.  Its limit is what the memfds leave.
 *
 * Without passthrough every write(2) is ours, and every region is a memfd.
 *
 * The descriptor that a node records is a reopened one (open of /proc/self/fd/N): only those are
 * counted right by the lease probe that tells whether anybody else holds the region.
 *
 * Changes are part of the current transaction.  What the kernel cannot take back comes last in each
 * function, so that a caller that does nothing after it can rely on an error to mean no change.
 *
 * Never: knows names or FUSE, blocks for long (what can is given to the helper by the callers).
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "records/layout.h"

struct regions;

/* Bytes of the largest region: what can be addressed physically.  More is -EFBIG. */
#define REGION_MAX (UINT64_C(1) << 46)

/* 0 or negative errno. */
int regions_new(struct regions **out, struct journal *journal);
struct regions *regions_free(struct regions *regions);

/* Gives node (a regular file, fresh) its memory: size bytes of BACKING_MEMFD, or an empty file of
 * the store that files of open(O_CREAT) get.  The descriptor is in the record, and the caller's to
 * close if the transaction is aborted.  0, -ENOSPC (limit, or out of descriptors). */
int region_create(struct regions *regions, struct node *node, uint64_t size);
int region_create_growable(struct regions *regions, struct node *node);

/*
 * ftruncate.  Reserves, or gives back.  0, -ENOSPC, -EFBIG, -EPERM (sealed), -EINVAL.
 */
int region_resize(struct regions *regions, struct node *node, uint64_t size);
/*
 * Checks and reserves for fallocate(2) with these arguments, so that the call itself, which takes
 * long, can be made on node->fd by a helper; region_stat() afterwards.  -EOPNOTSUPP for modes that
 * tmpfs has not, -EFBIG, -ENOSPC, -EPERM (sealed).
 */
int region_fallocate_begin(struct regions *regions, struct node *node, int mode, uint64_t offset,
                           uint64_t length);
/* Reserves what a write of the given end would need: for writes that come to the daemon. */
int region_reserve_write(struct regions *regions, struct node *node, uint64_t end);
/*
 * As pwrite(2), of what has been reserved: bytes written, fewer than size only if the rest could
 * not be, or negative errno.  What it has grown to is in the record after the next region_stat().
 */
ssize_t region_write(struct regions *regions, const struct node *node, const char *bytes,
                     size_t size, uint64_t offset);
/* The largest size that the region could have now, bytes. */
uint64_t region_room(struct regions *regions, const struct node *node);

/* Adds seals (F_SEAL_…).  0, -EBUSY (F_SEAL_WRITE and somebody can write), -EPERM, -EINVAL. */
int region_seal(struct regions *regions, struct node *node, unsigned int seals);

/* Looks at the store: size, blocks and times as they are now go to *st and to the record. */
int region_stat(struct regions *regions, struct node *node, struct stat *st);
int region_utimens(struct regions *regions, struct node *node, const struct timespec times[2]);
/* Carries owner and permissions of the node over to the store. */
int region_own(struct regions *regions, struct node *node);

/* A new descriptor of the region with O_RDONLY or O_RDWR; the caller's. */
int region_reopen(struct regions *regions, const struct node *node, int flags);
/*
 * As region_reopen(), for somebody outside; the region is NODE_EXPORTED from then on.  Who is not the
 * owner gets a writable descriptor of a memfd only when it can take no more seals, because with
 * one anybody could seal it, for good and against the owner's will.
 */
int region_export(struct regions *regions, struct node *node, int flags, bool owner);
/* Whether anybody but us has the region open or mapped, anywhere. */
bool region_has_other_users(struct regions *regions, const struct node *node);

/*
 * Gives the memory up: the region counts for nothing any more.  What others still map or hold
 * lives on by itself.  The descriptor (-1: it had none) is the caller's from then on, to be closed
 * when the transaction is committed; *blocks are bytes allocated, as last known.
 */
int region_release(struct regions *regions, struct node *node, uint64_t *blocks);

/* The end of a transaction; regions_abort() when the records have been rolled back. */
void regions_commit(struct regions *regions);
void regions_abort(struct regions *regions);

/*
 * Files of the private tmpfs grow behind our back, and holes that are filled look like growth until
 * one looks at each file.  regions_see() looks at some of the files after *at, which begins at 0;
 * true: there are more, once this transaction has been committed.
 */
bool regions_have_unseen(const struct regions *regions);
bool regions_see(struct regions *regions, uint32_t *at);

/* Bytes in use and limit, as df shows them. */
struct space {
        uint64_t limit; /* 0: none */
        uint64_t used;
};
void regions_space(struct regions *regions, struct space *out);
/* Changes size=.  -ENOSPC if more is in use. */
int regions_set_limit(struct regions *regions, uint64_t bytes);
