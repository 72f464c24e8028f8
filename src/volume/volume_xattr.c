/* SPDX-License-Identifier: MIT */
#include "volume/volume.h"

#include <errno.h>
#include <string.h>
#include "volume/acl.h"

static int put_xattr(struct volume *volume, struct node *node, const char *name, const void *value,
                     size_t size, int flags) {
        if (node->flags & NODE_DETACHED)
                return -ESTALE;
        if (!limit_has_xattr(volume->journal, node->limit, xattr_space(strlen(name), size)))
                return -ENOSPC;
        return xattr_set(volume->journal, node, name, value, size, flags);
}

static int put_acl(struct volume *volume, struct node *node, const char *name,
                   const struct acl *acl) {
        return put_xattr(volume, node, name, acl, acl_size(acl), 0);
}

static void drop_acl(struct volume *volume, struct node *node, const char *name) {
        (void)xattr_remove(volume->journal, node, name); /* there may be none */
}

/* Making */

struct create_attrs volume_attrs_in(const struct node *dir, const struct create_attrs *attrs) {
        struct create_attrs result = *attrs;

        /* A default list takes the umask's place. */
        if (!dir->default_acl && !S_ISLNK(attrs->mode))
                result.mode &= ~(attrs->umask & 0777);
        return result;
}

int volume_inherit_acl(struct volume *volume, struct node *node, const struct node *dir) {
        struct acl acl;
        int r = 0;

        if (S_ISLNK(node->mode) || !acl_load(&acl, volume->journal, dir, XATTR_ACL_DEFAULT))
                return 0;
        if (node_is_dir(node))
                r = put_acl(volume, node, XATTR_ACL_DEFAULT, &acl);
        if (r == 0 && acl_inherit(&acl, &node->mode))
                r = put_acl(volume, node, XATTR_ACL_ACCESS, &acl);
        return r;
}

/* Changing */

int volume_acl_follows_mode(struct volume *volume, struct node *node) {
        struct acl acl;

        if (!acl_load(&acl, volume->journal, node, XATTR_ACL_ACCESS))
                return 0;
        acl_chmod(&acl, node->mode);
        return put_acl(volume, node, XATTR_ACL_ACCESS, &acl);
}

/* A list that says no more than the mode is not kept. */
static int set_access_acl(struct volume *volume, const struct change *by, struct node *node,
                          const struct acl *acl) {
        uint32_t mode, before = node->mode;
        bool extended;
        int r = 0;

        mode = (before & ~UINT32_C(0777)) | acl_mode(acl, &extended);
        if ((mode & S_ISGID) && !access_in_group(by->caller, node->gid))
                mode &= ~(uint32_t)S_ISGID;
        if (extended)
                r = put_acl(volume, node, XATTR_ACL_ACCESS, acl);
        else
                drop_acl(volume, node, XATTR_ACL_ACCESS);
        if (r < 0 || mode == before)
                return r;
        JOURNAL_SET(volume->journal, node->mode, mode);
        return node_is_region(node) ? region_own(volume->regions, node) : 0;
}

static bool is_acl(const char *name) {
        return strcmp(name, XATTR_ACL_ACCESS) == 0 || strcmp(name, XATTR_ACL_DEFAULT) == 0;
}

static int set_acl(struct volume *volume, const struct change *by, struct node *node,
                   const char *name, const void *value, size_t size) {
        struct acl acl;
        int r = acl_parse(&acl, value, size);

        if (r < 0)
                return r;
        if (strcmp(name, XATTR_ACL_ACCESS) == 0)
                return set_access_acl(volume, by, node, &acl);
        return node_is_dir(node) ? put_acl(volume, node, name, &acl) : -EACCES;
}

int volume_set_xattr(struct volume *volume, const struct change *by, struct node *node,
                     const char *name, const void *value, size_t size, int flags) {
        int r = is_acl(name) ? set_acl(volume, by, node, name, value, size)
                             : put_xattr(volume, node, name, value, size, flags);

        if (r == 0)
                tree_touch_ctime(volume->tree, node);
        return r;
}

int volume_remove_xattr(struct volume *volume, struct node *node, const char *name) {
        int r = xattr_remove(volume->journal, node, name);

        /* A file always has an access list: without one of its own, that of the mode. */
        if (r == -ENODATA && is_acl(name))
                r = 0;
        if (r == 0)
                tree_touch_ctime(volume->tree, node);
        return r;
}
