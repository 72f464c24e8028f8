/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>

static void fs_take_setid(const struct fuse_request *req, struct node *node) {
        uint32_t mode = access_without_setid(node->mode);

        if (req->kills_setid && !node_is_dir(node) && node->mode != mode)
                JOURNAL_SET(fs_of(req)->parts.journal, node->mode, mode);
}

/* Who is not in the group of a file takes S_ISGID from it where it is no set-group-id, too. */
static bool takes_setgid(const struct fuse_request *req, const struct node *node, gid_t group) {
        struct caller caller = fs_caller(req);
        bool takes = !node_is_dir(node) && (node->mode & (S_ISGID | S_IXGRP)) == S_ISGID &&
                     !access_in_group(&caller, group);

        caller_clear(&caller);
        return takes;
}

/*
 * The kernel checks what is set, but these it sends for a write(2) that is about to happen and for
 * a chown(2) that changes nothing, by whoever.  Who cannot write has no business here.
 */
int fs_may_drop_setid(const struct fuse_request *req, const struct node *node) {
        struct caller caller = fs_caller(req);
        bool allowed = node_is_dir(node) || node->writers > 0 || access_owns(&caller, node);

        caller_clear(&caller);
        if (allowed ||
            (access_without_setid(node->mode) == node->mode && !takes_setgid(req, node, node->gid)))
                return 0;
        return -EPERM;
}

void fs_drop_setid(const struct fuse_request *req, struct fs *fs, struct node *node, gid_t group,
                   uint32_t valid) {
        if (!(valid & WIRE_SET_MODE))
                fs_take_setid(req, node);
        if (!(valid & (WIRE_SET_ATIME | WIRE_SET_MTIME)) && takes_setgid(req, node, group))
                JOURNAL_SET(fs->parts.journal, node->mode, node->mode & ~(uint32_t)S_ISGID);
}

void fs_drop_setid_written(const struct fuse_request *req, struct fs *fs, struct node *node) {
        uint32_t mode = node->mode;

        fs_take_setid(req, node);
        if (node->mode == mode)
                return;
        region_own(fs->parts.regions, node);
        invalidation_inode(fs->parts.invalidations, node->id);
}
