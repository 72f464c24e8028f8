/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * region: one piece of shared memory, and the bytes that it is charged for.
 *
 * Owns the descriptors of the backing files, and says what each region counts for (quota.h).  A
 * region's memory comes from one of two kinds of file:
 *
 *   BACKING_MEMFD  a memfd.  Made by commands.  It can be sealed and handed out.
 *   BACKING_TMPFS  a named file (store.h) of a tmpfs that nobody else sees: no descriptor is held,
 *                so there can be millions.  Made by open(O_CREAT) when
 *                there is passthrough: write(2) then grows a file without asking us, and only the
 *                kernel can stop it.  The limit of the tmpfs is what the memfds leave.
 *
 * Without passthrough every write(2) is ours, and every region is a memfd.
 *
 * What counts.  A region that was made by a command counts its page-rounded size in full
 * (NODE_RESERVED).  Any other file counts the larger of what its size has asked for and the pages
 * that it has.  A size is asked for by ftruncate(2); a smaller one lowers it.  write(2) asks for
 * nothing, and NODE_SPARSE files never do.
 *
 * The descriptor that a node records is a reopened one (open of /proc/self/fd/N).  Only for those
 * is the lease probe right, which tells whether anybody else has the region open or mapped.
 *
 * Changes are part of the current transaction.  A step that the kernel cannot take back comes last
 * in each function.  So, if a function fails, the kernel has changed nothing.
 *
 * Never: knows names or FUSE, blocks for long (callers give such work to a job queue).
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "memory/quota.h"

struct regions;

/* Bytes of the largest region, the limit of physical addresses.  More is -EFBIG. */
#define REGION_MAX (UINT64_C(1) << 46)

/* 0 or negative errno. */
int regions_new(struct regions **out, struct journal *journal);
struct regions *regions_free(struct regions *regions);
/* The limits, and what counts in them. */
struct quota *regions_quota(const struct regions *regions);

/* Whether regions shall outlive all processes of the daemon (process/store.h). */
bool regions_are_kept(const struct regions *regions);
/* Makes the private tmpfs before the first file needs it, so that it can be given away.  0 or
 * negative errno. */
int regions_prepare(struct regions *regions);

/* Gives node (a new regular file) its memory: `size` bytes of BACKING_MEMFD, or an empty file of
 * the kind that open(O_CREAT) makes.  The record keeps the descriptor; if the transaction is
 * aborted, the caller closes it.  0, -ENOSPC (limit, or out of descriptors), -EFBIG, -ENOMEM. */
int region_create(struct regions *regions, struct node *node, uint64_t size);
int region_create_growable(struct regions *regions, struct node *node);

/*
 * As ftruncate(2).  Reserves memory, or gives it back.  0, -ENOSPC, -EFBIG, -EPERM (sealed),
 * -EINVAL.
 */
int region_resize(struct regions *regions, struct node *node, uint64_t size);
/*
 * Checks the arguments of fallocate(2) and reserves what it needs.  The call itself takes long, and
 * can then be made on file_use() by another process; region_fallocate_end() and region_stat()
 * afterwards.  0, -EOPNOTSUPP for modes that tmpfs has not, -EFBIG, -ENOSPC, -EPERM (sealed).
 */
int region_fallocate_begin(struct regions *regions, struct node *node, int mode, uint64_t offset,
                           uint64_t length);
/* To be called after the call: from then on the region counts for the pages that it has got.  asked:
 * node->asked before region_fallocate_begin(). */
void region_fallocate_end(struct regions *regions, struct node *node, uint64_t asked);
/* Reserves what a write needs that comes to the daemon, or less, and then lowers *size.  0, -ENOSPC
 * (nothing fits), -EFBIG, -EPERM (sealed). */
int region_reserve_write(struct regions *regions, struct node *node, uint64_t offset, size_t *size);
/* To be called after region_write(). */
void region_wrote(struct regions *regions, struct node *node);
/*
 * As pwrite(2), within what has been reserved.  Returns the bytes written, or negative errno.
 * Fewer bytes than size are written only if the rest failed.  The next region_stat() records the
 * new size.
 */
ssize_t region_write(struct regions *regions, const struct node *node, const char *bytes,
                     size_t size, uint64_t offset);
/* The largest size that the region could have now, in bytes. */
uint64_t region_room(struct regions *regions, const struct node *node);

/*
 * Adds seals (F_SEAL_…).  A region that was handed out for writing takes F_SEAL_WRITE only, and the
 * others along with it; it is then kept by us and not by the kernel.  0, -EBUSY (F_SEAL_WRITE while
 * somebody can write), -EPERM (was handed out for writing), -EOPNOTSUPP (no memfd), -EINVAL.
 */
int region_seal(struct regions *regions, struct node *node, unsigned int seals);

/*
 * Reads size, blocks and times of the backing file into *st and the record.  A memfd that has grown
 * beyond what can be reserved is cut back.  on_cut() is called for that, if it is set; it may add to
 * the transaction.
 */
int region_stat(struct regions *regions, struct node *node, struct stat *st);
void regions_on_cut(struct regions *regions, void (*fn)(void *userdata, struct node *node),
                    void *userdata);
/* Sets owner and permissions of the backing file to those of the node, without those to write. */
int region_own(struct regions *regions, struct node *node);

/*
 * A new descriptor of the region, for another process; it is the caller's.  flags: O_RDONLY or
 * O_RDWR.  The region is NODE_EXPORTED from then on.  Before a writable one leaves the daemon, call
 * region_seal_export().
 */
int region_export(struct regions *regions, struct node *node, int flags);
/*
 * Seals a memfd against further seals, so that no holder of a descriptor can seal it.  If `owner` is
 * false, or others than the owner may write to the region, it also seals it against shrinking and
 * growing: nobody but the owner changes the size behind our back.  -EPERM: that is not possible any
 * more, because its owner got it for writing when nobody else could.
 */
int region_seal_export(struct regions *regions, struct node *node, bool owner);
/* Whether anybody but the daemon has the region open or mapped. */
bool region_has_other_users(struct regions *regions, const struct node *node);

/*
 * Releases the memory: the region is charged for nothing any more.  Other processes that map or
 * hold it keep it.  The file that it had is the caller's from then on (volume/reclaim.h).
 */
void region_release(struct regions *regions, struct node *node);
/* Whether files that open(2) makes need no descriptors. */
bool regions_name_files(const struct regions *regions);

/*
 * The target of a symbolic link counts as on tmpfs: a long one takes a page.  0, -ENOSPC.  Call
 * regions_uncharge_link() before the link leaves its limit.
 */
int regions_charge_link(struct regions *regions, struct node *link);
void regions_uncharge_link(struct regions *regions, struct node *link);

/* To be called at the end of a transaction; regions_abort() after the records were rolled back. */
void regions_commit(struct regions *regions);
void regions_abort(struct regions *regions);

/* Looks at some of the files of this limit that have asked for memory: they may have got it.
 * Returns their number. */
unsigned int regions_look_at_asking(struct regions *regions, uint32_t limit);
