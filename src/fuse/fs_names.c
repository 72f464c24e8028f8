/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <string.h>

static void fs_reply_ctl(struct fuse_request *req, struct fs *fs, enum ctl_kind kind,
                         struct node *dir) {
        struct wire_entry entry = {
                .node = fs_ctl_ino(kind, dir),
                .generation = dir->generation,
                .valid = FS_FOREVER,
        };

        fs_ctl_attributes(fs, kind, dir, &entry.attributes);
        tree_lookup_ref_ctl(fs->parts.tree, dir);
        reply_entry(req, &entry);
}

static void fs_lookup_ctl(struct fuse_request *req, struct fs *fs, struct node *dir) {
        enum ctl_kind kind =
                ctl_lookup(fs->parts.ctl, dir, req->in->name[0], req->in->name_length[0]);

        if (kind == CTL_NONE || kind == CTL_DIR)
                reply_error(req, -ENOENT);
        else
                fs_reply_ctl(req, fs, kind, dir);
}

void fs_lookup(struct fuse_request *req) {
        const char *name = req->in->name[0];
        struct fs *fs = fs_of(req);
        struct node *dir = fs_node(fs, req->node), *node;
        int r;

        if (!dir) {
                reply_error(req, -ESTALE);
        } else if (fs_kind(req->node) == CTL_DIR) {
                fs_lookup_ctl(req, fs, dir);
        } else if (strcmp(name, ".ctl") == 0) {
                fs_reply_ctl(req, fs, CTL_DIR, dir);
        } else {
                r = tree_lookup(fs->parts.tree, dir, name, req->in->name_length[0], &node);
                if (r < 0)
                        reply_error(req, r);
                else
                        fs_reply_entry(req, fs, node);
        }
}

/* The directory in which a name is to be made or removed; NULL after an error was replied. */
static struct node *fs_dir_for_change(struct fuse_request *req, uint64_t parent) {
        struct node *dir = fs_node(fs_of(req), parent);

        if (!dir)
                reply_error(req, -ESTALE);
        else if (fs_kind(parent) != CTL_NONE)
                reply_error(req, -EPERM);
        else
                return dir;
        return NULL;
}

/* Gives a fresh node of a regular file its memory, and notes who made it. */
int fs_furnish(struct fuse_request *req, const struct node *dir, struct node *node) {
        struct fs *fs = fs_of(req);
        struct caller caller = fs_caller(req);
        uint32_t flags, mode;
        int r;

        node->creator_uid = caller.uid;
        node->creator_pid = caller.pid;
        caller_command(&caller, node->creator_name);
        command_defaults(fs->parts.tree, dir, &flags, &mode);
        node->flags |= flags;
        if (mode != LAYOUT_NO_MODE)
                node->mode = S_IFREG | mode;
        /* Huge pages of the private tmpfs are not ours to ask for. */
        if (flags & NODE_HUGE)
                r = region_create(fs->parts.regions, node, 0);
        else
                r = region_create_growable(fs->parts.regions, node);
        if (r == 0)
                r = region_own(fs->parts.regions, node);
        if (r == 0)
                r = lifetime_created(fs->parts.lifetimes, node);
        return r;
}

int fs_make_region(struct fuse_request *req, struct node *dir, const char *name,
                   const struct create_attrs *birth, struct node **out) {
        struct fs *fs = fs_of(req);
        struct caller caller = fs_caller(req);
        int r;

        r = tree_create(fs->parts.tree, dir, name, strlen(name), birth, out);
        if (r < 0)
                return r;
        r = fs_furnish(req, dir, *out);
        if (r < 0)
                tree_unlink(fs->parts.tree, dir, name, strlen(name));
        else
                event_add(fs->parts.tree, EVENT_CREATE, *out, dir, name, strlen(name), &caller);
        return r;
}

static void fs_make(struct fuse_request *req, mode_t mode, dev_t rdev) {
        const char *name = req->in->name[0];
        struct fs *fs = fs_of(req);
        struct create_attrs birth = fs_create_attrs(req, mode, rdev);
        struct node *dir = fs_dir_for_change(req, req->node), *node; /* may answer: last */
        int r;

        if (!dir)
                return;
        if (S_ISREG(mode))
                r = fs_make_region(req, dir, name, &birth, &node);
        else
                r = tree_create(fs->parts.tree, dir, name, strlen(name), &birth, &node);
        if (r < 0)
                reply_error(req, r);
        else
                fs_reply_entry(req, fs, node);
}

void fs_mknod(struct fuse_request *req) {
        const struct wire_mknod_in *in = req->in->args;

        fs_make(req, in->mode, in->rdev);
}

void fs_mkdir(struct fuse_request *req) {
        const struct wire_mkdir_in *in = req->in->args;

        fs_make(req, S_IFDIR | (in->mode & 07777), 0);
}

void fs_symlink(struct fuse_request *req) {
        const char *name = req->in->name[0], *target = req->in->name[1];
        struct fs *fs = fs_of(req);
        struct create_attrs birth = fs_create_attrs(req, S_IFLNK | 0777, 0);
        struct node *dir = fs_dir_for_change(req, req->node), *node; /* may answer: last */
        int r;

        if (!dir)
                return;
        r = tree_symlink(fs->parts.tree, dir, name, strlen(name), &birth, target, &node);
        if (r < 0)
                reply_error(req, r);
        else
                fs_reply_entry(req, fs, node);
}

void fs_readlink(struct fuse_request *req) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        char target[PATH_MAX];

        if (!node) {
                reply_error(req, -ESTALE);
        } else if (fs_kind(req->node) == CTL_SOCKET) {
                reply_text(req, tree_root_record(fs->parts.tree)->settings.socket);
        } else {
                tree_readlink(fs->parts.tree, node, target);
                reply_text(req, target);
        }
}

void fs_link(struct fuse_request *req) {
        const struct wire_link_in *in = req->in->args;
        const char *name = req->in->name[0];
        struct fs *fs = fs_of(req);
        struct node *dir = fs_dir_for_change(req, req->node), *node = fs_node(fs, in->node);
        int r;

        if (!dir)
                return;
        if (!node)
                r = -ESTALE;
        else if (fs_kind(in->node) != CTL_NONE)
                r = -EPERM;
        else
                r = tree_link(fs->parts.tree, node, dir, name, strlen(name));
        if (r < 0)
                reply_error(req, r);
        else
                fs_reply_entry(req, fs, node);
}

/* Before a name goes, if it is a region's. */
static void fs_tell_removal(struct fuse_request *req, struct node *dir, const char *name) {
        struct tree *tree = fs_of(req)->parts.tree;
        struct caller caller = fs_caller(req);
        struct node *node;

        if (tree_lookup(tree, dir, name, strlen(name), &node) == 0 && node_is_region(node))
                event_add(tree, EVENT_REMOVE, node, dir, name, strlen(name), &caller);
}

void fs_unlink(struct fuse_request *req) {
        const char *name = req->in->name[0];
        struct node *dir = fs_dir_for_change(req, req->node);

        if (!dir)
                return;
        fs_tell_removal(req, dir, name);
        reply_error(req, tree_unlink(fs_of(req)->parts.tree, dir, name, strlen(name)));
}

void fs_rmdir(struct fuse_request *req) {
        const char *name = req->in->name[0];
        struct node *dir = fs_dir_for_change(req, req->node);

        if (!dir)
                return;
        if (strcmp(name, ".ctl") == 0)
                reply_error(req, -EBUSY);
        else
                reply_error(req, tree_rmdir(fs_of(req)->parts.tree, dir, name, strlen(name)));
}

static int fs_move(struct fuse_request *req, struct node *dir, const char *name,
                   struct node *new_dir, const char *new_name, unsigned int flags) {
        struct tree *tree = fs_of(req)->parts.tree;
        struct caller caller = fs_caller(req);
        struct create_attrs birth = fs_create_attrs(req, 0, 0);
        struct node *node = NULL, *replaced = NULL;
        bool removal;
        int r;

        if (strcmp(name, ".ctl") == 0 || strcmp(new_name, ".ctl") == 0)
                return -EBUSY;
        tree_lookup(tree, dir, name, strlen(name), &node);
        tree_lookup(tree, new_dir, new_name, strlen(new_name), &replaced);
        removal = replaced && replaced != node && node_is_region(replaced) &&
                  !(flags & RENAME_EXCHANGE);
        r = tree_rename(tree, dir, name, strlen(name), new_dir, new_name, strlen(new_name), flags,
                        &birth);
        if (r < 0)
                return r;
        /* The replaced node may be gone by now; its event says no more than its name. */
        if (removal)
                event_add(tree, EVENT_REMOVE, NULL, new_dir, new_name, strlen(new_name), &caller);
        if (node_is_region(node))
                event_add(tree, EVENT_RENAME, node, new_dir, new_name, strlen(new_name), &caller);
        return 0;
}

static void fs_rename_to(struct fuse_request *req, uint64_t new_parent, unsigned int flags) {
        struct node *dir = fs_dir_for_change(req, req->node), *new_dir;

        if (!dir)
                return;
        new_dir = fs_dir_for_change(req, new_parent);
        if (new_dir)
                reply_error(req,
                            fs_move(req, dir, req->in->name[0], new_dir, req->in->name[1], flags));
}

void fs_rename(struct fuse_request *req) {
        const struct wire_rename_in *in = req->in->args;

        fs_rename_to(req, in->new_dir, 0);
}

void fs_rename2(struct fuse_request *req) {
        const struct wire_rename2_in *in = req->in->args;

        fs_rename_to(req, in->new_dir, in->flags);
}

void fs_forget(void *userdata, uint64_t id, uint64_t count) {
        struct fs *fs = userdata;
        struct node *node = fs_node(fs, id);

        if (!node)
                return;
        if (fs_kind(id) != CTL_NONE)
                tree_lookup_unref_ctl(fs->parts.tree, node, count);
        else if (id != LAYOUT_ROOT_ID)
                tree_lookup_unref(fs->parts.tree, node, count);
}
