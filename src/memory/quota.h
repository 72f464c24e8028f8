/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * quota: the bytes that regions count for, and the limits of them.
 *
 * What counts in a limit of bytes is
 *
 *   charged   in records: the charge of each memfd, and the limits of directories inside;
 *   in use    what its private tmpfs has allocated.  The kernel knows that;
 *   asked     in records: what files of the tmpfs have asked for by their size beyond that.
 *
 * No sum needs a walk over files.  A mapping fills a file without our knowing, so that `asked` can
 * be larger than it should be.  Therefore the files that have asked for something are a list, of
 * which quota_next_asking() gives the one that was looked at the longest time ago.
 *
 * The private tmpfs of a limit is a detached mount, made for the first file that needs it.  Its
 * limit is what the charges leave.  So the kernel stops write(2) and mappings, which nobody asks us
 * about.  It lets them take also what others have only asked for.
 *
 * Owns each limit's sums of bytes and its private tmpfs.  Changes are part of the current
 * transaction; the limit of a tmpfs is lowered at once, and raised at the commit.  Never: touches
 * the backing file of a region.
 */

#include "memory/limit.h"

struct quota;

/* 0, -ENOMEM. */
int quota_new(struct quota **out, struct journal *journal);
struct quota *quota_free(struct quota *quota);

/* fn is called with each private tmpfs that is made, and with -1 when that of the limit is not
 * needed any more. */
void quota_on_tmpfs(struct quota *quota, void (*fn)(void *userdata, uint32_t limit, int fd),
                    void *userdata);

/* Bytes in use and limit, as df shows them. */
struct space {
        uint64_t limit; /* 0: none */
        uint64_t used;  /* at most the limit, if there is one */
        uint64_t over;  /* what was asked for beyond the limit, because others have taken it */
};
/* limit: of a node, or any other; 0 for the mount's. */
void quota_space(const struct quota *quota, uint32_t limit, struct space *out);
/* Bytes that can be reserved now; UINT64_MAX without a limit. */
uint64_t quota_left(const struct quota *quota, uint32_t limit);

/* Sets the charge of a node if that fits, or if it is not more than before.  0, -ENOSPC. */
int quota_reserve(struct quota *quota, struct node *node, uint64_t charge);
/* Sets it in any case. */
void quota_set_charge(struct quota *quota, struct node *node, uint64_t charge);
/* Whether the node's limit of bytes is a limit, so that its growth must be watched. */
bool quota_is_limited(const struct quota *quota, const struct node *node);

/* The file of this limit's tmpfs that has asked for memory and was looked at the longest time ago,
 * or NULL.  The caller looks, and sets its charge; the next call gives another one. */
struct node *quota_next_asking(struct quota *quota, uint32_t limit);

/* The private tmpfs of a limit, made if there is none yet.  A descriptor, which stays the quota's;
 * errors of backing_tmpfs(). */
int quota_tmpfs(struct quota *quota, uint32_t limit);

/* Changes the bytes of a limit; only the mount's can be 0, for none.  0, -EBUSY (more is in use),
 * -ENOSPC (above). */
int quota_set_bytes(struct quota *quota, struct limit *limit, uint64_t bytes);
/* Makes a limit for a directory, which is empty, and moves it there.  Errors as of limit_add(). */
int quota_add_limit(struct quota *quota, struct node *dir, uint64_t bytes, uint64_t nodes);
/* Takes the limit away, and moves its directory, the only node in it, to the limit above.  *fd: its
 * private tmpfs, to be closed after the commit, or -1. */
void quota_take_limit(struct quota *quota, struct node *dir, int *fd);
/* Ends a limit that is over, see limit_is_over().  *fd: as above.  Returns the limit above. */
struct limit *quota_end_limit(struct quota *quota, struct limit *limit, int *fd);

/* At the end of a transaction; quota_abort() after the records were rolled back. */
void quota_commit(struct quota *quota);
void quota_abort(struct quota *quota);
