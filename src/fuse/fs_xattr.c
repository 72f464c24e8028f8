/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <string.h>
#include "tree/xattr.h"

/*
 * Regions have one attribute with all values that regions.json has, and one for each value.  They
 * can be read by name, but are not listed, as other file systems do with attributes that they
 * compute.  A program that lists attributes wants to copy them; if the copy is refused, rsync -X
 * fails, and mv and tar complain.
 */
static const char FS_XATTR_WHOLE[] = "user.iomemfs";
static const char FS_XATTR_PREFIX[] = "user.iomemfs.";

static bool has_prefix(const char *name, const char *prefix) {
        return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool fs_xattr_is_ours(const char *name) {
        return strcmp(name, FS_XATTR_WHOLE) == 0 || has_prefix(name, FS_XATTR_PREFIX);
}

/* size: as in getxattr(2); 0 asks for the length. */
static void fs_reply_xattr(struct fuse_request *req, const char *bytes, size_t length,
                           size_t size) {
        if (size == 0)
                reply_xattr_size(req, length);
        else if (length > size)
                reply_error(req, -ERANGE);
        else
                reply_bytes(req, bytes, length);
}

static int fs_xattr_print(FILE *stream, struct fs *fs, struct node *node, const char *name) {
        const struct dentry *dentry;

        if (strcmp(name, FS_XATTR_WHOLE) != 0)
                return report_attribute(stream, fs->volume->regions, node,
                                        name + strlen(FS_XATTR_PREFIX));
        /* One of several names may be in a directory that the reader must not see. */
        dentry = node->nlink == 1 ? tree_name_of(fs->volume->tree, node) : NULL;
        return report_region(stream, fs->volume->regions, node, dentry ? dentry->name : "");
}

/* Writes the value of an attribute that we compute into fs->buffer. */
static int fs_xattr_compute(struct fs *fs, uint64_t ino, const char *name, size_t *length) {
        struct node *node = fs_node(fs, ino);
        FILE *stream;
        int r;

        if (fs_kind(ino) != CTL_NONE || !node_is_region(node))
                return -ENODATA;
        stream = fmemopen(fs->buffer, FS_BUFFER_SIZE, "w");
        if (!stream)
                return -ENOMEM;
        r = fs_xattr_print(stream, fs, node, name);
        *length = (size_t)ftell(stream);
        fclose(stream);
        return r;
}

/* Attributes that are stored */

/* 0, or the error that tmpfs has for such a name. */
static int fs_xattr_check(const struct fs *fs, const char *name) {
        static const char *const prefixes[] = {XATTR_USER_PREFIX, XATTR_TRUSTED_PREFIX,
                                               XATTR_SECURITY_PREFIX};

        if (strcmp(name, XATTR_ACL_ACCESS) == 0 || strcmp(name, XATTR_ACL_DEFAULT) == 0)
                return channel_has_acl(fs->channel) ? 0 : -EOPNOTSUPP;
        for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
                if (has_prefix(name, prefixes[i]))
                        return name[strlen(prefixes[i])] ? 0 : -EINVAL;
        return -EOPNOTSUPP;
}

/*
 * The error for an attribute that is not there.  `ls -l` asks each file for its SELinux context,
 * until it is told that there are none.
 */
static int fs_xattr_missing(const char *name) {
        return strcmp(name, XATTR_NAME_SELINUX) == 0 ? -EOPNOTSUPP : -ENODATA;
}

static int fs_xattr_load(struct fs *fs, uint64_t ino, const char *name, size_t *length) {
        int r = fs_xattr_check(fs, name);
        ssize_t n = -ENODATA;

        if (r < 0)
                return r;
        if (fs_kind(ino) == CTL_NONE)
                n = xattr_get(fs->volume->journal, fs_node(fs, ino), name, fs->buffer,
                              FS_BUFFER_SIZE);
        if (n < 0)
                return fs_xattr_missing(name);
        *length = (size_t)n;
        return 0;
}

void fs_getxattr(struct fuse_request *req) {
        const struct wire_getxattr_in *in = req->in->args;
        const char *name = req->in->name[0];
        struct fs *fs = fs_of(req);
        size_t length = 0;
        int r;

        if (!channel_has_xattr(fs->channel))
                r = -ENOSYS; /* after ENOSYS the kernel never asks again */
        else if (!fs_node(fs, req->node))
                r = -ESTALE;
        else if (fs_xattr_is_ours(name))
                r = fs_xattr_compute(fs, req->node, name, &length);
        else
                r = fs_xattr_load(fs, req->node, name, &length);
        if (r < 0)
                reply_error(req, r);
        else
                fs_reply_xattr(req, fs->buffer, length, in->size);
}

void fs_listxattr(struct fuse_request *req) {
        const struct wire_getxattr_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        const struct node *node = fs_node(fs, req->node);
        size_t length = 0;

        if (!channel_has_xattr(fs->channel)) {
                reply_error(req, -ENOSYS);
                return;
        }
        if (node && node->xattrs && fs_kind(req->node) == CTL_NONE)
                length = xattr_list(fs->volume->journal, node, caller_administers(req->pid),
                                    fs->buffer, FS_BUFFER_SIZE);
        if (length > FS_BUFFER_SIZE)
                reply_error(req, -E2BIG);
        else
                fs_reply_xattr(req, fs->buffer, length, in->size);
}

/* The node whose attribute is to be changed; NULL after it has replied with an error. */
static struct node *fs_xattr_target(struct fuse_request *req) {
        struct fs *fs = fs_of(req);
        struct node *node = fs_node(fs, req->node);
        const char *name = req->in->name[0];
        int r = 0;

        if (!channel_has_xattr(fs->channel))
                r = -ENOSYS;
        else if (!node)
                r = -ESTALE;
        else if (fs_xattr_is_ours(name))
                r = -EPERM;
        else if (fs_kind(req->node) != CTL_NONE)
                r = -EOPNOTSUPP;
        else
                r = fs_xattr_check(fs, name);
        if (r == 0)
                return node;
        reply_error(req, r);
        return NULL;
}

void fs_setxattr(struct fuse_request *req) {
        const struct wire_setxattr_in *in = req->in->args;
        struct node *node = fs_xattr_target(req); /* may reply */
        struct caller caller;
        struct change by = fs_change(req, &caller);
        int r;

        if (!node)
                return;
        r = volume_set_xattr(fs_of(req)->volume, &by, node, req->in->name[0], req->in->payload,
                             in->size, (int)in->flags);
        caller_clear(&caller);
        reply_error(req, r);
}

void fs_removexattr(struct fuse_request *req) {
        struct node *node = fs_xattr_target(req); /* may reply */

        if (node)
                reply_error(req, volume_remove_xattr(fs_of(req)->volume, node, req->in->name[0]));
}
