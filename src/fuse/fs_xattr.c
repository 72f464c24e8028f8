/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Regions have an attribute with all that regions.json says of them, and one for each value.  They
 * are answered by name and not listed, like other file systems' attributes that are made up when
 * asked for: what lists attributes wants to copy them, and rsync -X fails, mv and tar complain,
 * where a copy is refused.
 */
static const char FS_XATTR_WHOLE[] = "user.iomemfs";
static const char FS_XATTR_PREFIX[] = "user.iomemfs.";

static bool has_prefix(const char *name, const char *prefix) {
        return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool fs_xattr_is_ours(const char *name) {
        return strcmp(name, FS_XATTR_WHOLE) == 0 || has_prefix(name, FS_XATTR_PREFIX);
}

/* `size` as in getxattr(2): 0 asks for the length. */
static void fs_reply_xattr(fuse_req_t req, const char *bytes, size_t length, size_t size) {
        if (size == 0)
                fuse_reply_xattr(req, length);
        else if (length > size)
                fuse_reply_err(req, ERANGE);
        else
                fuse_reply_buf(req, bytes, length);
}

static int fs_xattr_print(FILE *stream, struct fs *fs, struct node *node, const char *name) {
        const struct dentry *dentry;

        if (strcmp(name, FS_XATTR_WHOLE) != 0)
                return report_attribute(stream, fs->parts.regions, node,
                                        name + strlen(FS_XATTR_PREFIX));
        /* Of several, one may be where the reader must not look. */
        dentry = node->nlink == 1 ? tree_name_of(fs->parts.tree, node) : NULL;
        return report_region(stream, fs->parts.regions, node, dentry ? dentry->name : "");
}

static int fs_xattr_value(struct fs *fs, fuse_ino_t ino, const char *name, size_t *length) {
        struct node *node = fs_node(fs, ino);
        FILE *stream;
        int r;

        /* Capabilities and access lists cannot be had, and are not asked for again by who knows. */
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

void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size) {
        struct fs *fs = fs_of(req);
        size_t length = 0;
        int r = -ENOSYS; /* and the kernel never asks again */

        if (channel_has_xattr(fs->channel))
                r = fs_xattr_value(fs, ino, name, &length);
        if (r < 0)
                fuse_reply_err(req, -r);
        else
                fs_reply_xattr(req, fs->buffer, length, size);
}

void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
        (void)ino;
        if (channel_has_xattr(fs_of(req)->channel))
                fs_reply_xattr(req, "", 0, size);
        else
                fuse_reply_err(req, ENOSYS);
}

static void fs_refuse_xattr(fuse_req_t req, const char *name) {
        if (!channel_has_xattr(fs_of(req)->channel))
                fuse_reply_err(req, ENOSYS);
        else
                fuse_reply_err(req, fs_xattr_is_ours(name) ? EPERM : EOPNOTSUPP);
}

void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags) {
        (void)ino;
        (void)value;
        (void)size;
        (void)flags;
        fs_refuse_xattr(req, name);
}

void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name) {
        (void)ino;
        fs_refuse_xattr(req, name);
}
