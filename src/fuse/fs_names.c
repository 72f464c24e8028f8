/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <string.h>

static void fs_reply_ctl(struct fuse_request *req, struct fs *fs, enum ctl_kind kind,
                         struct node *dir) {
        struct wire_entry entry = {
                .node = fs_ctl_id(kind, dir, req->uid),
                .generation = dir->generation,
                .valid = 0, /* the next user gets another node */
        };

        fs_ctl_attributes(fs, kind, dir, &entry.attributes);
        tree_lookup_ref_ctl(fs->volume->tree, dir);
        reply_entry(req, &entry);
}

static void fs_lookup_ctl(struct fuse_request *req, struct fs *fs, struct node *dir) {
        enum ctl_kind kind = ctl_lookup(fs->ctl, dir, req->in->name[0], req->in->name_length[0]);

        if (kind == CTL_NONE || kind == CTL_DIR)
                reply_error(req, -ENOENT);
        else
                fs_reply_ctl(req, fs, kind, dir);
}

/* The directory that has a node, or NULL. */
static struct node *fs_parent(struct fs *fs, const struct node *node) {
        const struct dentry *dentry;

        if (node_is_dir(node))
                return fs_node(fs, node->parent);
        dentry = tree_name_of(fs->volume->tree, node);
        return dentry ? fs_node(fs, dentry->parent) : NULL;
}

/*
 * The kernel has dropped the inode of a file whose handle somebody has (open_by_handle_at(2), NFS).
 * It compares the generation, since another file may have got the id.  A region that is being
 * populated cannot be reached by anybody.
 */
static void fs_lookup_by_id(struct fuse_request *req, struct fs *fs, struct node *node) {
        bool parent = req->in->name_length[0] == 2; /* "..": of a file of .ctl, .ctl itself */
        enum ctl_kind kind = fs_kind(req->node);

        if (kind != CTL_NONE && !(parent && kind == CTL_DIR)) {
                fs_reply_ctl(req, fs, parent ? CTL_DIR : kind, node);
                return;
        }
        if (parent && kind == CTL_NONE)
                node = fs_parent(fs, node);
        if (!node || (node->flags & (NODE_DETACHED | NODE_PENDING)))
                reply_error(req, -ESTALE);
        else
                fs_reply_entry(req, fs, node);
}

static bool is_dots(const char *name) {
        return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

void fs_lookup(struct fuse_request *req) {
        const char *name = req->in->name[0];
        struct fs *fs = fs_of(req);
        struct node *dir = fs_node(fs, req->node), *node;
        int r;

        if (!dir) {
                reply_error(req, -ESTALE);
        } else if (is_dots(name)) {
                fs_lookup_by_id(req, fs, dir);
        } else if (fs_kind(req->node) == CTL_DIR) {
                fs_lookup_ctl(req, fs, dir);
        } else if (ctl_is_name(fs_of(req)->ctl, name)) {
                fs_reply_ctl(req, fs, CTL_DIR, dir);
        } else {
                r = tree_lookup(fs->volume->tree, dir, name, req->in->name_length[0], &node);
                if (r < 0)
                        reply_error(req, r);
                else
                        fs_reply_entry(req, fs, node);
        }
}

/* The directory in which a name is to be made or removed; NULL after it has replied with an
 * error. */
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

static void fs_make(struct fuse_request *req, const struct create_attrs *attrs) {
        const char *name = req->in->name[0];
        struct fs *fs = fs_of(req);
        struct node *dir = fs_dir_for_change(req, req->node), *node; /* may reply: last */
        struct caller caller;
        struct change by = fs_change(req, &caller);
        int r;

        if (!dir)
                return;
        r = volume_make(fs->volume, &by, dir, name, strlen(name), attrs, &node);
        caller_clear(&caller);
        if (r < 0)
                reply_error(req, r);
        else
                fs_reply_entry(req, fs, node);
}

void fs_mknod(struct fuse_request *req) {
        const struct wire_mknod_in *in = req->in->args;
        struct create_attrs attrs = fs_create_attrs(req, in->mode, in->umask);

        attrs.rdev = in->rdev;
        fs_make(req, &attrs);
}

void fs_mkdir(struct fuse_request *req) {
        const struct wire_mkdir_in *in = req->in->args;
        struct create_attrs attrs = fs_create_attrs(req, S_IFDIR | (in->mode & 07777), in->umask);

        fs_make(req, &attrs);
}

void fs_symlink(struct fuse_request *req) {
        const char *name = req->in->name[0], *target = req->in->name[1];
        struct fs *fs = fs_of(req);
        struct create_attrs attrs = fs_create_attrs(req, S_IFLNK | 0777, 0);
        struct node *dir = fs_dir_for_change(req, req->node), *node; /* may reply: last */
        int r;

        if (!dir)
                return;
        r = volume_symlink(fs->volume, dir, name, strlen(name), &attrs, target, &node);
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
                reply_text(req, fs->volume->root->settings.socket);
        } else {
                tree_readlink(fs->volume->tree, node, target);
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
                r = volume_link(fs->volume, node, dir, name, strlen(name));
        if (r < 0)
                reply_error(req, r);
        else
                fs_reply_entry(req, fs, node);
}

void fs_unlink(struct fuse_request *req) {
        const char *name = req->in->name[0];
        struct fs *fs = fs_of(req);
        struct node *dir;
        struct caller caller;
        struct change by;
        int r;

        if (fs_resume_change(req, fs))
                return;
        dir = fs_dir_for_change(req, req->node);
        if (!dir)
                return;
        by = fs_change(req, &caller);
        by.waits = true;
        r = volume_unlink(fs->volume, &by, dir, name, strlen(name));
        caller_clear(&caller);
        fs_reply_change(req, fs, r);
}

void fs_rmdir(struct fuse_request *req) {
        const char *name = req->in->name[0];
        struct node *dir = fs_dir_for_change(req, req->node);

        if (!dir)
                return;
        if (ctl_is_name(fs_of(req)->ctl, name))
                reply_error(req, -EBUSY);
        else
                reply_error(req, volume_rmdir(fs_of(req)->volume, dir, name, strlen(name)));
}

static int fs_move(struct fuse_request *req, struct node *dir, const char *name,
                   struct node *new_dir, const char *new_name, unsigned int flags) {
        struct caller caller;
        struct change by = fs_change(req, &caller);
        int r;

        if (ctl_is_name(fs_of(req)->ctl, name) || ctl_is_name(fs_of(req)->ctl, new_name))
                return -EBUSY;
        by.waits = true;
        r = volume_rename(fs_of(req)->volume, &by, dir, name, strlen(name), new_dir, new_name,
                          strlen(new_name), flags);
        caller_clear(&caller);
        return r;
}

static void fs_rename_to(struct fuse_request *req, uint64_t new_parent, unsigned int flags) {
        struct fs *fs = fs_of(req);
        struct node *dir, *new_dir;

        if (fs_resume_change(req, fs))
                return;
        dir = fs_dir_for_change(req, req->node);
        new_dir = dir ? fs_dir_for_change(req, new_parent) : NULL;
        if (new_dir)
                fs_reply_change(
                        req, fs,
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
                tree_lookup_unref_ctl(fs->volume->tree, node, count);
        else if (id != LAYOUT_ROOT_ID)
                tree_lookup_unref(fs->volume->tree, node, count);
}
