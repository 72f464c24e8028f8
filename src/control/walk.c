/* SPDX-License-Identifier: MIT */
#include "control/walk.h"

#include <errno.h>
#include <string.h>

static void walk_visit(struct walk *walk) {
        --*walk->budget;
}

static bool walk_may_list(const struct walk *walk, const struct node *dir) {
        return access_allows(walk->tree, walk->caller, dir, ACCESS_READ | ACCESS_SEARCH);
}

static void walk_enter(struct walk *walk, const struct node *dir, size_t prefix) {
        if (!walk_may_list(walk, dir))
                return;
        walk->prefix[walk->depth] = prefix;
        walk->levels[walk->depth++] = (struct walk_level){
                .dir = dir->id,
                .generation = dir->generation,
        };
}

void walk_begin(struct walk *walk, const struct node *top) {
        walk->depth = 0;
        walk->floor = 0;
        walk->too_long = 0;
        walk_enter(walk, top, 0);
}

bool walk_is_over(const struct walk *walk) {
        return walk->depth == 0;
}

static const struct node *level_dir(const struct walk *walk, uint32_t level) {
        const struct node *dir = tree_node(walk->tree, walk->levels[level].dir);

        return dir && dir->generation == walk->levels[level].generation ? dir : NULL;
}

/* Whether that level's directory is still the entry at which the level above is. */
static bool level_holds(struct walk *walk, uint32_t level) {
        const struct node *dir = level_dir(walk, level);
        const struct walk_level *above = &walk->levels[level - 1];
        const struct dentry *dentry = dir ? tree_name_of(walk->tree, dir) : NULL;
        size_t at = walk->prefix[level - 1];

        walk_visit(walk);
        if (!dentry || dentry->parent != above->dir || dentry->cookie != above->after ||
            at + dentry->length + 1 > sizeof(walk->path))
                return false;
        memcpy(walk->path + at, dentry->name, dentry->length);
        walk->path[at + dentry->length] = '/';
        walk->prefix[level] = at + dentry->length + 1;
        return true;
}

void walk_resume(struct walk *walk) {
        uint32_t level = 1;
        int steps;

        walk->floor = 0;
        if (walk->depth == 0 || !level_dir(walk, 0)) {
                walk->depth = 0;
                return;
        }
        walk->prefix[0] = 0;
        while (level < walk->depth && level_holds(walk, level))
                level++;
        walk->depth = level;
        steps = 1 + (int)level / WALK_LEVELS_PER_STEP;
        if (*walk->budget < steps)
                walk->floor = *walk->budget - steps;
}

/* Takes the next entry of the innermost directory; returns it if it is a region. */
static struct node *walk_step(struct walk *walk) {
        struct walk_level *level = &walk->levels[walk->depth - 1];
        const struct node *dir = level_dir(walk, walk->depth - 1);
        const struct dentry *dentry = dir ? tree_next(walk->tree, dir, level->after) : NULL;
        size_t at = walk->prefix[walk->depth - 1];
        struct node *node;

        if (!dentry) {
                walk->depth--;
                return NULL;
        }
        level->after = dentry->cookie;
        node = tree_node(walk->tree, dentry->node);
        if (!node_is_dir(node) && !node_is_region(node))
                return NULL;
        walk->length = at + dentry->length;
        if (walk->length >= sizeof(walk->path)) {
                walk->too_long++;
                return NULL;
        }
        memcpy(walk->path + at, dentry->name, dentry->length);
        walk->path[walk->length] = '\0';
        if (node_is_region(node))
                return node;
        walk->path[walk->length] = '/';
        if (walk->depth < WALK_DEPTH_MAX)
                walk_enter(walk, node, walk->length + 1);
        return NULL;
}

struct node *walk_next(struct walk *walk) {
        while (walk->depth > 0 && *walk->budget > walk->floor) {
                struct node *node;

                walk_visit(walk);
                node = walk_step(walk);
                if (node)
                        return node;
        }
        return NULL;
}

int walk_path(struct walk *walk, const struct node *top, const struct node *dir, const char *name,
              size_t length) {
        size_t at = sizeof(walk->path) - 1;

        if (length > at)
                return -ENAMETOOLONG;
        at -= length;
        memcpy(walk->path + at, name, length);
        for (;;) {
                const struct dentry *dentry;

                walk_visit(walk);
                if (!walk_may_list(walk, dir))
                        return -EACCES;
                if (dir == top)
                        break;
                dentry = dir->id != LAYOUT_ROOT_ID ? tree_name_of(walk->tree, dir) : NULL;
                if (!dentry)
                        return -EACCES;
                if (dentry->length + 1u > at)
                        return -ENAMETOOLONG;
                walk->path[--at] = '/';
                at -= dentry->length;
                memcpy(walk->path + at, dentry->name, dentry->length);
                dir = tree_node(walk->tree, dir->parent);
        }
        walk->length = sizeof(walk->path) - 1 - at;
        memmove(walk->path, walk->path + at, walk->length);
        walk->path[walk->length] = '\0';
        return 0;
}
