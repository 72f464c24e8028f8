/* SPDX-License-Identifier: MIT */
#include "volume/acl.h"

#include <errno.h>
#include <string.h>

enum { ACL_VERSION = 2, ACL_NEEDED = ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER };

_Static_assert(offsetof(struct acl, entries) == 4, "as in the attribute");
_Static_assert(sizeof(struct acl_entry) == 8, "as in the attribute");

size_t acl_size(const struct acl *acl) {
        return offsetof(struct acl, entries) + acl->n * sizeof(acl->entries[0]);
}

/* Entries of the order that they must have, and those that must be there. */
static bool acl_is_valid(const struct acl *acl) {
        unsigned int seen = 0, last = 0;

        for (size_t i = 0; i < acl->n; i++) {
                const struct acl_entry *entry = &acl->entries[i];
                bool may_repeat = entry->tag == ACL_USER || entry->tag == ACL_GROUP;

                if (entry->tag < last || (entry->tag == last && !may_repeat) || entry->perm > 7)
                        return false;
                last = entry->tag;
                seen |= last;
        }
        if (seen & (ACL_USER | ACL_GROUP) && !(seen & ACL_MASK))
                return false;
        return (seen & ACL_NEEDED) == ACL_NEEDED && seen < ACL_OTHER * 2;
}

int acl_parse(struct acl *out, const void *bytes, size_t size) {
        size_t rest = size - offsetof(struct acl, entries);

        if (size < offsetof(struct acl, entries) || rest % sizeof(struct acl_entry) != 0)
                return -EINVAL;
        if (rest > sizeof(out->entries))
                return -E2BIG;
        memcpy(out, bytes, size);
        out->n = rest / sizeof(struct acl_entry);
        return out->version == ACL_VERSION && acl_is_valid(out) ? 0 : -EINVAL;
}

bool acl_load(struct acl *out, const struct journal *journal, const struct node *node,
              const char *name) {
        ssize_t n = xattr_get(journal, node, name, out, offsetof(struct acl, n));

        if (n < (ssize_t)offsetof(struct acl, entries) || n > (ssize_t)offsetof(struct acl, n))
                return false;
        out->n = ((size_t)n - offsetof(struct acl, entries)) / sizeof(struct acl_entry);
        return true;
}

static struct acl_entry *acl_find(struct acl *acl, unsigned int tag) {
        for (size_t i = 0; i < acl->n; i++)
                if (acl->entries[i].tag == tag)
                        return &acl->entries[i];
        return NULL;
}

/* The entry that the group's bits of the mode stand for. */
static struct acl_entry *acl_group_class(struct acl *acl) {
        struct acl_entry *mask = acl_find(acl, ACL_MASK);

        return mask ? mask : acl_find(acl, ACL_GROUP_OBJ);
}

/* The entries that the mode stands for, and the places of their bits in it. */
struct acl_classes {
        struct acl_entry *entry[3];
};

static struct acl_classes acl_classes(struct acl *acl) {
        return (struct acl_classes){
                {acl_find(acl, ACL_OTHER), acl_group_class(acl), acl_find(acl, ACL_USER_OBJ)}};
}

uint32_t acl_mode(const struct acl *acl, bool *extended) {
        struct acl copy = *acl;
        struct acl_classes classes = acl_classes(&copy);
        uint32_t mode = 0;

        for (int i = 0; i < 3; i++)
                mode |= (uint32_t)classes.entry[i]->perm << (3 * i);
        *extended = acl->n > 3;
        return mode;
}

void acl_chmod(struct acl *acl, uint32_t mode) {
        struct acl_classes classes = acl_classes(acl);

        for (int i = 0; i < 3; i++)
                classes.entry[i]->perm = mode >> (3 * i) & 7;
}

bool acl_inherit(struct acl *acl, uint32_t *mode) {
        struct acl_classes classes = acl_classes(acl);

        for (int i = 0; i < 3; i++) {
                struct acl_entry *entry = classes.entry[i];

                entry->perm &= (uint16_t)(*mode >> (3 * i) & 7);
                *mode &= ~(UINT32_C(7) << (3 * i)) | (uint32_t)entry->perm << (3 * i);
        }
        return acl->n > 3;
}
