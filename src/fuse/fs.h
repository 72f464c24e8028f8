/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fs: FUSE requests, translated to calls on tree, region and ctl.
 *
 * Each handler is one transaction, which the channel commits with the reply.  Node ids of files
 * are those of the tree; those of .ctl and its files have the kind in bits 32 and up and the
 * directory's id below.
 *
 *   fs.c         the table of operations, putting together
 *   fs_common.c  what all of these need: nodes, callers, entries
 *   fs_attr.c    attributes, and those of the whole: statfs
 *   fs_names.c   looking up, making and removing names
 *   fs_dir.c     reading directories
 *   fs_io.c      open files: regions, with and without passthrough
 *   fs_setid.c   set-user-id and set-group-id, of files that change
 *   fs_xattr.c   extended attributes
 *   fs_ctl.c     open files of .ctl, and those who wait for them
 *
 * Owns nothing but the requests that wait for something.  Never: decides; what a name or a region
 * does is the business of the rooms below.
 */

#include "fuse/channel.h"
#include "control/ctl.h"
#include "base/job_queue.h"
#include "volume/lifetime.h"

struct fs;

/* What the worker has put together; all of it outlives the fs. */
struct fs_parts {
        struct journal *journal;
        struct tree *tree;
        struct regions *regions;
        struct invalidations *invalidations;
        struct lifetimes *lifetimes;
        struct ctl *ctl;
        struct job_queue *memory_jobs; /* work on memory */
};

const struct channel_operations *fs_operations(void);
/* Before the tree, which wants fs_abandon(); parts are given when they are all there. */
int fs_new(struct fs **out);
void fs_set_parts(struct fs *fs, const struct fs_parts *parts);
/* The channel is made with the fs as its userdata, and then made known to it. */
void fs_set_channel(struct fs *fs, struct channel *channel);
struct fs *fs_free(struct fs *fs);

/* For tree_new(): what happens to a region without names and handles; userdata: struct fs *. */
bool fs_abandon(void *userdata, struct node *node);
/* For the channel: the kernel forgets `count` lookups of a node. */
void fs_forget(void *userdata, uint64_t id, uint64_t count);
/* For invalidations_new(); userdata: struct fs *. */
bool fs_answer(void *userdata, uint64_t unique, int result);
/* After each commit: sends invalidations, and closes what was given up. */
void fs_settle(struct fs *fs);
