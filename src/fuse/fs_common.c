/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <string.h>

struct fs *fs_of(fuse_req_t req) {
        return fuse_req_userdata(req);
}

struct node *fs_node(struct fs *fs, fuse_ino_t ino) {
        return tree_node(fs->parts.tree, ino & UINT32_MAX);
}

struct caller fs_caller(fuse_req_t req) {
        const struct fuse_ctx *ctx = fuse_req_ctx(req);

        return (struct caller){
                .uid = ctx->uid, .gid = ctx->gid, .pid = ctx->pid, .ask_power = true};
}

struct create_attrs fs_create_attrs(fuse_req_t req, mode_t mode, dev_t rdev) {
        const struct fuse_ctx *ctx = fuse_req_ctx(req);

        return (struct create_attrs){.mode = mode, .uid = ctx->uid, .gid = ctx->gid, .rdev = rdev};
}

int fs_entry(struct fs *fs, struct node *node, struct fuse_entry_param *entry) {
        int r;

        memset(entry, 0, sizeof(*entry));
        entry->ino = node->id;
        entry->generation = node->generation;
        entry->entry_timeout = FS_FOREVER;
        r = fs_attributes(fs, node, &entry->attr, &entry->attr_timeout);
        if (r == 0)
                tree_lookup_ref(fs->parts.tree, node);
        return r;
}

void fs_reply_entry(fuse_req_t req, struct fs *fs, struct node *node) {
        struct fuse_entry_param entry;
        int r = fs_entry(fs, node, &entry);

        if (r < 0)
                fuse_reply_err(req, -r);
        else
                fuse_reply_entry(req, &entry);
}
