/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * xattr: extended attributes of nodes.
 *
 * A node has a list of xattr records, from the last name to the first, as tmpfs lists them; the names and values are in text
 * records.  The access lists of POSIX are attributes, too, and a node has the ids of their records,
 * because every check of permissions looks for them.  A node's attributes are bounded in number and
 * in bytes, so that one transaction can remove all of them.
 *
 * Owns the xattr records and their texts.  All changes are part of the current transaction.
 * Never: checks rights, knows what a value means.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "records/layout.h"

/* As in the kernel's linux/xattr.h and linux/limits.h. */
#define XATTR_ACL_ACCESS "system.posix_acl_access"
#define XATTR_ACL_DEFAULT "system.posix_acl_default"
/* The capabilities that a program file gives. */
#define XATTR_CAPABILITY "security.capability"
enum {
        XATTR_VALUE_MAX = 65536,
        XATTR_COUNT_MAX = 1024,           /* of one node */
        XATTR_SPACE_MAX = 2 * 1024 * 1024 /* bytes, of one node */
};

/* Bytes that an attribute counts for, as on tmpfs. */
uint32_t xattr_space(size_t name_length, size_t size);

/* Copies the value to buffer, if it has at most `size` bytes, and returns its length in any case;
 * -ENODATA. */
ssize_t xattr_get(const struct journal *journal, const struct node *node, const char *name,
                  void *buffer, size_t size);
/*
 * Sets an attribute.  name: at most XATTR_NAME_MAX bytes.  flags: XATTR_CREATE, XATTR_REPLACE.  0,
 * -EEXIST, -ENODATA, -ENOSPC (the node's bound, or out of records), -ERANGE, -E2BIG.
 */
int xattr_set(struct journal *journal, struct node *node, const char *name, const void *value,
              size_t size, int flags);
/* 0, -ENODATA. */
int xattr_remove(struct journal *journal, struct node *node, const char *name);
/*
 * Lists the names, each with its NUL, as far as they fit, and returns the bytes that all of them
 * take.  Access lists come first.  trusted: with the attributes that only the administrator may see.
 */
size_t xattr_list(const struct journal *journal, const struct node *node, bool trusted,
                  char *buffer, size_t size);
/* Removes all attributes, because the node is to be freed. */
void xattr_clear(struct journal *journal, struct node *node);
