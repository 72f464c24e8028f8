/* SPDX-License-Identifier: MIT */
#include "tree/pending.h"

#include <errno.h>
#include <string.h>

int pending_add(struct tree *tree, struct node *node, const struct node *dir, const char *name,
                size_t length) {
        struct journal *journal = tree_journal(tree);
        struct pending *record;
        uint32_t id;

        if (length > LAYOUT_NAME_MAX)
                return -ENAMETOOLONG;
        id = journal_new(journal, TABLE_PENDING);
        if (id == 0)
                return -ENOSPC;
        record = journal_get(journal, TABLE_PENDING, id);
        record->id = id;
        record->node = node->id;
        record->dir = dir->id;
        record->dir_ino = dir->ino;
        record->length = (uint32_t)length;
        memcpy(record->name, name, length);
        JOURNAL_SET(journal, node->flags, node->flags | NODE_PENDING);
        return 0;
}

void pending_end(struct tree *tree, struct node *node) {
        struct journal *journal = tree_journal(tree);
        const struct pending *record;
        uint32_t at = 0;

        if (!(node->flags & NODE_PENDING))
                return;
        do
                record = pending_next(tree, &at);
        while (record && record->node != node->id);
        if (record)
                journal_delete(journal, TABLE_PENDING, record->id);
        JOURNAL_SET(journal, node->flags, node->flags & ~(uint32_t)NODE_PENDING);
}

const struct pending *pending_next(const struct tree *tree, uint32_t *at) {
        struct journal *journal = tree_journal(tree);
        uint32_t high = journal_high(journal, TABLE_PENDING);

        while (*at < high) {
                const struct pending *record = journal_get(journal, TABLE_PENDING, ++*at);

                if (record->id == *at)
                        return record;
        }
        return NULL;
}

const struct pending *pending_get(const struct tree *tree, uint32_t id) {
        const struct pending *record = journal_get(tree_journal(tree), TABLE_PENDING, id);

        return record && record->id == id ? record : NULL;
}

uint32_t pending_high(const struct tree *tree) {
        return journal_high(tree_journal(tree), TABLE_PENDING);
}

const struct node *pending_dir(const struct tree *tree, const struct pending *record) {
        const struct node *dir = tree_node(tree, record->dir);

        return dir && dir->ino == record->dir_ino && dir->nlink > 0 ? dir : NULL;
}
