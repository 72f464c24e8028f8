/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

struct node *fs_node(struct fs *fs, uint64_t ino) {
        return tree_node(fs->volume->tree, fs_kind(ino) == CTL_NONE ? ino : ino & FS_NODE_MASK);
}

struct caller fs_caller(const struct fuse_request *req) {
        return (struct caller){
                .uid = req->uid, .gid = req->gid, .pid = req->pid, .ask_power = true};
}

struct change fs_change(const struct fuse_request *req, struct caller *caller) {
        *caller = fs_caller(req);
        return (struct change){.caller = caller, .kills_setid = req->kills_setid};
}

struct create_attrs fs_create_attrs(const struct fuse_request *req, mode_t mode, mode_t umask) {
        return (struct create_attrs){
                .mode = mode, .umask = umask, .uid = req->uid, .gid = req->gid};
}

int fs_entry(struct fs *fs, struct node *node, struct wire_entry *entry) {
        int r;

        entry->node = node->id;
        entry->generation = node->generation;
        entry->valid = FS_FOREVER;
        r = fs_attributes(fs, node, &entry->attributes);
        if (r == 0)
                tree_lookup_ref(fs->volume->tree, node);
        return r;
}

void fs_reply_entry(struct fuse_request *req, struct fs *fs, struct node *node) {
        struct wire_entry entry;
        int r = fs_entry(fs, node, &entry);

        if (r < 0)
                reply_error(req, r);
        else
                reply_entry(req, &entry);
}
