/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * acl: access control lists of POSIX, in the form that their extended attributes have.
 *
 * The functions do what the kernel does to the lists of its own file systems.  The kernel checks a
 * list before it sends it to us.
 *
 * Owns nothing.  Never: decides who may do something (access.h does), stores a list.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tree/xattr.h"

enum {
        ACL_USER_OBJ = 0x01,  /* the owner */
        ACL_USER = 0x02,      /* the user `id` */
        ACL_GROUP_OBJ = 0x04, /* the file's group */
        ACL_GROUP = 0x08,     /* the group `id` */
        ACL_MASK = 0x10,      /* the most that all but owner and others get */
        ACL_OTHER = 0x20,
        ACL_ENTRIES_MAX = 511, /* the kernel sends no more than fit into 4 KiB */
};

struct acl_entry {
        uint16_t tag;  /* ACL_… */
        uint16_t perm; /* as in a mode: 4, 2, 1 */
        uint32_t id;
};

/* An access list, whose entries are in the order of the tags. */
struct acl {
        uint32_t version; /* these two as in the attribute, which goes on with the entries */
        struct acl_entry entries[ACL_ENTRIES_MAX];
        size_t n;
};

/* 0, -EINVAL, -E2BIG. */
int acl_parse(struct acl *out, const void *bytes, size_t size);
/* Bytes of the attribute, which begins at the list itself. */
size_t acl_size(const struct acl *acl);
/* The list of a node, XATTR_ACL_ACCESS or XATTR_ACL_DEFAULT.  False: it has none. */
bool acl_load(struct acl *out, const struct journal *journal, const struct node *node,
              const char *name);

/* The permissions that a file with this list shows in its mode.  *extended: the list says more than
 * these. */
uint32_t acl_mode(const struct acl *acl, bool *extended);
/* Changes the list as chmod(2) to this mode does. */
void acl_chmod(struct acl *acl, uint32_t mode);
/* Makes a directory's default list the list of a new file.  *mode: as asked for by the caller; it
 * becomes that of the file.  Returns whether the list says more than the mode. */
bool acl_inherit(struct acl *acl, uint32_t *mode);
