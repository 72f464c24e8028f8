/* SPDX-License-Identifier: MIT */
#include "tree/xattr.h"

#include <errno.h>
#include <limits.h>
#include <linux/xattr.h>
#include <string.h>
#include "memory/limit.h"
#include "records/chain.h"

enum { XATTR_HEAD = 40 }; /* bytes; what tmpfs takes an attribute to cost besides name and value */

uint32_t xattr_space(size_t name_length, size_t size) {
        return (uint32_t)(XATTR_HEAD + name_length + size);
}

static struct xattr *xattr_record(const struct journal *journal, uint32_t id) {
        return journal_get(journal, TABLE_XATTR, id);
}

static void xattr_name(const struct journal *journal, const struct xattr *record,
                       char name[XATTR_NAME_MAX + 1]) {
        chain_load(journal, record->text, 0, name, record->name_length);
        name[record->name_length] = '\0';
}

/* The id of the record that the list has at `link`, if it has this name, otherwise 0.  *link is the
 * field behind which such a record belongs. */
static uint32_t xattr_find(const struct journal *journal, struct node *node, const char *name,
                           uint32_t **link) {
        *link = &node->xattrs;
        while (**link != 0) {
                struct xattr *record = xattr_record(journal, **link);
                char other[XATTR_NAME_MAX + 1];
                int order;

                xattr_name(journal, record, other);
                order = strcmp(other, name);
                if (order <= 0)
                        return order == 0 ? **link : 0;
                *link = &record->next;
        }
        return 0;
}

/* Node fields with the ids of access lists; NULL for other names. */
static uint32_t *xattr_acl_field(struct node *node, const char *name) {
        if (strcmp(name, XATTR_ACL_ACCESS) == 0)
                return &node->access_acl;
        return strcmp(name, XATTR_ACL_DEFAULT) == 0 ? &node->default_acl : NULL;
}

/* An access list is found without a walk. */
static uint32_t xattr_id(const struct journal *journal, const struct node *node, const char *name) {
        struct node *of = (struct node *)node; /* it is not changed */
        const uint32_t *field = xattr_acl_field(of, name);
        uint32_t *link;

        return field ? *field : xattr_find(journal, of, name, &link);
}

ssize_t xattr_get(const struct journal *journal, const struct node *node, const char *name,
                  void *buffer, size_t size) {
        uint32_t id = xattr_id(journal, node, name);
        const struct xattr *record = xattr_record(journal, id);

        if (!record)
                return -ENODATA;
        if (record->value_length <= size)
                chain_load(journal, record->text, record->name_length, buffer,
                           record->value_length);
        return record->value_length;
}

static void xattr_count(struct journal *journal, struct node *node, int records, int64_t bytes) {
        JOURNAL_SET(journal, node->xattr_count, node->xattr_count + (uint32_t)records);
        JOURNAL_SET(journal, node->xattr_bytes, node->xattr_bytes + (uint32_t)bytes);
        /* One that is gone, except for the kernel, counts no more. */
        if (node->limit != 0)
                limit_add_xattr(journal, node->limit, bytes);
}

/* Stores name and value.  journal.h: only one thread changes a journal. */
static int xattr_store(struct journal *journal, struct xattr *record, const char *name,
                       const void *value, size_t size) {
        static char text[XATTR_NAME_MAX + XATTR_VALUE_MAX];
        size_t length = strlen(name);

        memcpy(text, name, length);
        memcpy(text + length, value, size);
        if (chain_store(journal, &record->text, text, length + size) < 0)
                return -ENOSPC;
        JOURNAL_SET(journal, record->name_length, (uint32_t)length);
        JOURNAL_SET(journal, record->value_length, (uint32_t)size);
        return 0;
}

static int xattr_add(struct journal *journal, struct node *node, uint32_t *link, const char *name,
                     const void *value, size_t size) {
        uint32_t id = journal_new(journal, TABLE_XATTR);
        uint32_t *field = xattr_acl_field(node, name);
        struct xattr *record = xattr_record(journal, id);

        if (!record)
                return -ENOSPC;
        record->id = id;
        record->next = *link;
        JOURNAL_SET(journal, *link, id);
        if (field)
                JOURNAL_SET(journal, *field, id);
        return xattr_store(journal, record, name, value, size);
}

/* Whether the node may have `more` bytes, and perhaps one attribute, more. */
static bool xattr_fits(const struct node *node, bool is_new, int64_t more) {
        return node->xattr_count + is_new <= XATTR_COUNT_MAX &&
               (int64_t)node->xattr_bytes + more <= XATTR_SPACE_MAX;
}

int xattr_set(struct journal *journal, struct node *node, const char *name, const void *value,
              size_t size, int flags) {
        size_t length = strlen(name);
        struct xattr *record;
        uint32_t *link, id;
        int64_t more;
        int r;

        if (length == 0 || length > XATTR_NAME_MAX)
                return -ERANGE;
        if (size > XATTR_VALUE_MAX)
                return -E2BIG;
        id = xattr_find(journal, node, name, &link);
        if (id != 0 && (flags & XATTR_CREATE))
                return -EEXIST;
        if (id == 0 && (flags & XATTR_REPLACE))
                return -ENODATA;
        record = xattr_record(journal, id);
        more = xattr_space(length, size);
        if (record)
                more -= xattr_space(length, record->value_length);
        if (!xattr_fits(node, !record, more))
                return -ENOSPC;
        r = record ? xattr_store(journal, record, name, value, size)
                   : xattr_add(journal, node, link, name, value, size);
        if (r == 0)
                xattr_count(journal, node, record ? 0 : 1, more);
        return r;
}

static void xattr_delete(struct journal *journal, struct node *node, uint32_t id) {
        struct xattr *record = xattr_record(journal, id);
        int64_t bytes = xattr_space(record->name_length, record->value_length);

        (void)chain_store(journal, &record->text, "", 0);
        journal_delete(journal, TABLE_XATTR, id);
        xattr_count(journal, node, -1, -bytes);
}

int xattr_remove(struct journal *journal, struct node *node, const char *name) {
        uint32_t *field = xattr_acl_field(node, name), *link;
        uint32_t id = xattr_find(journal, node, name, &link);

        if (id == 0)
                return -ENODATA;
        JOURNAL_SET(journal, *link, xattr_record(journal, id)->next);
        if (field)
                JOURNAL_SET(journal, *field, 0);
        xattr_delete(journal, node, id);
        return 0;
}

void xattr_clear(struct journal *journal, struct node *node) {
        uint32_t id = node->xattrs;

        if (id == 0)
                return;
        JOURNAL_SET(journal, node->xattrs, 0);
        JOURNAL_SET(journal, node->access_acl, 0);
        JOURNAL_SET(journal, node->default_acl, 0);
        while (id != 0) {
                uint32_t next = xattr_record(journal, id)->next;

                xattr_delete(journal, node, id);
                id = next;
        }
}

/* A list that is being filled. */
struct names {
        char *buffer;
        size_t size, used;
};

static void names_put(struct names *names, const char *name) {
        size_t length = strlen(name) + 1;

        if (names->used + length <= names->size)
                memcpy(names->buffer + names->used, name, length);
        names->used += length;
}

static bool is_trusted(const char *name) {
        return strncmp(name, XATTR_TRUSTED_PREFIX, XATTR_TRUSTED_PREFIX_LEN) == 0;
}

size_t xattr_list(const struct journal *journal, const struct node *node, bool trusted,
                  char *buffer, size_t size) {
        struct names names = {.buffer = buffer, .size = size};

        if (node->access_acl)
                names_put(&names, XATTR_ACL_ACCESS);
        if (node->default_acl)
                names_put(&names, XATTR_ACL_DEFAULT);
        for (uint32_t id = node->xattrs; id != 0;) {
                const struct xattr *record = xattr_record(journal, id);
                char name[XATTR_NAME_MAX + 1];

                xattr_name(journal, record, name);
                if (id != node->access_acl && id != node->default_acl &&
                    (trusted || !is_trusted(name)))
                        names_put(&names, name);
                id = record->next;
        }
        return names.used;
}
