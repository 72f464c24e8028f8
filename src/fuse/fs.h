/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fs: translates FUSE requests into calls of the volume and of ctl.
 *
 * Each handler is one transaction, which the channel commits with the reply, or aborts with an
 * error.  Node ids of files are those of the tree.  Those of .ctl and its files have the kind in
 * bits 32 and up, and the directory's id below.
 *
 *   fs.c         the table of operations, construction
 *   fs_common.c  functions for all others: nodes, callers, entries
 *   fs_attr.c    attributes, and those of the whole: statfs
 *   fs_names.c   looking up, making and removing names
 *   fs_dir.c     reading directories
 *   fs_io.c      open files: regions, with and without passthrough
 *   fs_write_back.c  requests that wait for the kernel to write its dirty pages
 *   fs_xattr.c   extended attributes
 *   fs_ctl.c     open files of .ctl, and requests that wait for them
 *
 * A request that is replied to later commits its changes and is put aside.  The memory for that is
 * allocated before any change, so that the request cannot fail afterwards.
 *
 * Owns only the requests that wait.  Never: decides what a change consists of; the volume does.
 */

#include "fuse/channel.h"
#include "control/ctl.h"

struct fs;
struct notifier;

/* The table of handlers, for channel_new(). */
const struct channel_operations *fs_operations(void);
/* volume and ctl stay the caller's and must outlive the fs.  0, -ENOMEM. */
int fs_new(struct fs **out, struct volume *volume, struct ctl *ctl);
/* To be called after the channel was made with the fs as its userdata.  The notifier may be NULL:
 * then the fs does not know what is in dirty pages, and replies with care. */
void fs_set_channel(struct fs *fs, struct channel *channel, struct notifier *notifier);

/* For the channel: the kernel drops `count` lookups of a node. */
void fs_forget(void *userdata, uint64_t id, uint64_t count);
