/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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

static int fs_xattr_value(struct fs *fs, uint64_t ino, const char *name, size_t *length) {
        struct node *node = fs_node(fs, ino);
        FILE *stream;
        int r;

        /* There are no capabilities and access lists: EOPNOTSUPP makes callers stop asking. */
        if (!has_prefix(name, "user."))
                return -EOPNOTSUPP;
        if (!node)
                return -ESTALE;
        if (fs_kind(ino) != CTL_NONE || !node_is_region(node) || !fs_xattr_is_ours(name))
                return -ENODATA;
        stream = fmemopen(fs->buffer, FS_BUFFER_SIZE, "w");
        if (!stream)
                return -ENOMEM;
        r = fs_xattr_print(stream, fs, node, name);
        *length = (size_t)ftell(stream);
        fclose(stream);
        return r;
}

void fs_getxattr(struct fuse_request *req) {
        const struct wire_getxattr_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        size_t length = 0;
        int r = -ENOSYS; /* after ENOSYS the kernel never asks again */

        if (channel_has_xattr(fs->channel))
                r = fs_xattr_value(fs, req->node, req->in->name[0], &length);
        if (r < 0)
                reply_error(req, r);
        else
                fs_reply_xattr(req, fs->buffer, length, in->size);
}

void fs_listxattr(struct fuse_request *req) {
        const struct wire_getxattr_in *in = req->in->args;

        if (channel_has_xattr(fs_of(req)->channel))
                fs_reply_xattr(req, "", 0, in->size);
        else
                reply_error(req, -ENOSYS);
}

/* Refuses to set or to remove an attribute. */
void fs_refuse_xattr(struct fuse_request *req) {
        if (!channel_has_xattr(fs_of(req)->channel))
                reply_error(req, -ENOSYS);
        else
                reply_error(req, fs_xattr_is_ours(req->in->name[0]) ? -EPERM : -EOPNOTSUPP);
}
