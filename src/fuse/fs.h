/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fs: FUSE requests, translated to calls on the volume and on ctl.
 *
 * Each handler is one transaction, which the channel commits with the reply, or aborts with an
 * error.  Node ids of files
 * are those of the tree; those of .ctl and its files have the kind in bits 32 and up and the
 * directory's id below.
 *
 *   fs.c         the table of operations, putting together
 *   fs_common.c  what all of these need: nodes, callers, entries
 *   fs_attr.c    attributes, and those of the whole: statfs
 *   fs_names.c   looking up, making and removing names
 *   fs_dir.c     reading directories
 *   fs_io.c      open files: regions, with and without passthrough
 *   fs_xattr.c   extended attributes
 *   fs_ctl.c     open files of .ctl, and those who wait for them
 *
 * A request that is answered later commits what it has done and is put aside; what that takes is
 * had before anything is done, so that it cannot be refused afterwards.
 *
 * Owns nothing but the requests that wait for something.  Never: decides; what a change is, is the
 * volume's business.
 */

#include "fuse/channel.h"
#include "control/ctl.h"

struct fs;

const struct channel_operations *fs_operations(void);
/* The volume and ctl outlive the fs. */
int fs_new(struct fs **out, struct volume *volume, struct ctl *ctl);
/* The channel is made with the fs as its userdata, and then made known to it. */
void fs_set_channel(struct fs *fs, struct channel *channel);
struct fs *fs_free(struct fs *fs);

/* For the channel: the kernel forgets `count` lookups of a node. */
void fs_forget(void *userdata, uint64_t id, uint64_t count);
