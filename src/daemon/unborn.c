/* SPDX-License-Identifier: MIT */
#include "unborn.h"

#include <errno.h>
#include <string.h>

int unborn_add(struct tree *tree, struct node *node, const struct node *dir, const char *name,
               size_t length) {
        struct arena *arena = tree_arena(tree);
        struct unborn *record;
        uint32_t id;

        if (length > LAYOUT_NAME_MAX)
                return -ENAMETOOLONG;
        id = arena_new(arena, TABLE_UNBORN);
        if (id == 0)
                return -ENOSPC;
        record = arena_get(arena, TABLE_UNBORN, id);
        record->id = id;
        record->node = node->id;
        record->dir = dir->id;
        record->dir_ino = dir->ino;
        record->length = (uint32_t)length;
        memcpy(record->name, name, length);
        ARENA_SET(arena, node->flags, node->flags | NODE_UNBORN);
        return 0;
}

void unborn_end(struct tree *tree, struct node *node) {
        struct arena *arena = tree_arena(tree);
        const struct unborn *record;
        uint32_t at = 0;

        if (!(node->flags & NODE_UNBORN))
                return;
        do
                record = unborn_next(tree, &at);
        while (record && record->node != node->id);
        if (record)
                arena_delete(arena, TABLE_UNBORN, record->id);
        ARENA_SET(arena, node->flags, node->flags & ~(uint32_t)NODE_UNBORN);
}

const struct unborn *unborn_next(const struct tree *tree, uint32_t *at) {
        struct arena *arena = tree_arena(tree);
        uint32_t high = arena_high(arena, TABLE_UNBORN);

        while (*at < high) {
                const struct unborn *record = arena_get(arena, TABLE_UNBORN, ++*at);

                if (record->id == *at)
                        return record;
        }
        return NULL;
}

const struct node *unborn_dir(const struct tree *tree, const struct unborn *record) {
        const struct node *dir = tree_node(tree, record->dir);

        return dir && dir->ino == record->dir_ino && dir->nlink > 0 ? dir : NULL;
}
