/* SPDX-License-Identifier: MIT */
#include "memory/limit.h"

#include <errno.h>

enum { XATTR_INODE_BYTES = 1024 }; /* of extended attributes, that count as an inode */

struct limit *limit_get(const struct journal *journal, uint32_t id) {
        struct limit *limit = journal_get(journal, TABLE_LIMIT, id);

        return limit && limit->id == id ? limit : NULL;
}

struct limit *limit_mount(const struct journal *journal) {
        return journal_get(journal, TABLE_LIMIT, LAYOUT_MOUNT_LIMIT);
}

struct limit *limit_of_bytes(const struct journal *journal, uint32_t id) {
        const struct limit *limit = limit_get(journal, id);

        return limit ? limit_get(journal, limit->bytes_at) : limit_mount(journal);
}

struct limit *limit_of_nodes(const struct journal *journal, uint32_t id) {
        const struct limit *limit = limit_get(journal, id);

        return limit ? limit_get(journal, limit->nodes_at) : limit_mount(journal);
}

int limits_init(struct journal *journal) {
        const struct settings *settings = &((struct root *)journal_root(journal))->settings;
        struct limit *limit;

        if (limit_get(journal, LAYOUT_MOUNT_LIMIT))
                return 0;
        if (journal_new(journal, TABLE_LIMIT) != LAYOUT_MOUNT_LIMIT)
                return -ENOMEM;
        limit = limit_mount(journal);
        *limit = (struct limit){
                .id = LAYOUT_MOUNT_LIMIT,
                .dir = LAYOUT_ROOT_ID,
                .flags = LIMIT_HAS_BYTES | LIMIT_HAS_NODES,
                .bytes_at = LAYOUT_MOUNT_LIMIT,
                .nodes_at = LAYOUT_MOUNT_LIMIT,
                .bytes = settings->size,
                .nodes = settings->nr_inodes,
                .tmpfs_fd = -1,
        };
        return 0;
}

/* Inodes */

static bool nodes_fit(const struct limit *limit, uint64_t more) {
        return limit->nodes == 0 ||
               (limit->used_nodes <= limit->nodes && more <= limit->nodes - limit->used_nodes);
}

static void nodes_add(struct journal *journal, struct limit *limit, uint64_t n) {
        JOURNAL_SET(journal, limit->used_nodes, limit->used_nodes + n);
}

bool limit_has_node(const struct journal *journal, uint32_t id) {
        return nodes_fit(limit_of_nodes(journal, id), 1);
}

void limit_add_link(struct journal *journal, uint32_t id, int n) {
        nodes_add(journal, limit_of_nodes(journal, id), (uint64_t)(int64_t)n);
}

static uint64_t xattr_nodes(uint64_t bytes) {
        return (bytes + XATTR_INODE_BYTES - 1) / XATTR_INODE_BYTES;
}

bool limit_has_xattr(const struct journal *journal, uint32_t id, uint64_t bytes) {
        const struct limit *limit = limit_of_nodes(journal, id);

        return nodes_fit(limit,
                         xattr_nodes(limit->xattr_bytes + bytes) - xattr_nodes(limit->xattr_bytes));
}

void limit_add_xattr(struct journal *journal, uint32_t id, int64_t bytes) {
        struct limit *limit = limit_of_nodes(journal, id);
        uint64_t before = xattr_nodes(limit->xattr_bytes);

        if (bytes == 0)
                return;
        JOURNAL_SET(journal, limit->xattr_bytes, limit->xattr_bytes + (uint64_t)bytes);
        if (xattr_nodes(limit->xattr_bytes) != before)
                nodes_add(journal, limit, xattr_nodes(limit->xattr_bytes) - before);
}

void limit_join(struct journal *journal, struct node *node, uint32_t id) {
        struct limit *limit = limit_get(journal, id);

        JOURNAL_SET(journal, node->limit, id);
        JOURNAL_SET(journal, limit->members, limit->members + 1);
        nodes_add(journal, limit_of_nodes(journal, id), 1);
        limit_add_xattr(journal, id, node->xattr_bytes);
}

void limit_leave(struct journal *journal, struct node *node) {
        struct limit *limit = limit_get(journal, node->limit);

        if (!limit)
                return;
        limit_add_xattr(journal, node->limit, -(int64_t)node->xattr_bytes);
        nodes_add(journal, limit_of_nodes(journal, node->limit), UINT64_MAX); /* minus 1 */
        JOURNAL_SET(journal, limit->members, limit->members - 1);
        JOURNAL_SET(journal, node->limit, 0);
}

/* Limits of directories */

int limit_add(struct journal *journal, uint32_t above, uint32_t dir, uint64_t bytes, uint64_t nodes,
              struct limit **out) {
        struct limit *upper = limit_get(journal, above), *payer = limit_of_nodes(journal, above);
        struct limit *limit;
        uint32_t id;

        if (upper->depth >= LIMIT_DEPTH_MAX)
                return -EMLINK;
        if (!nodes_fit(payer, nodes))
                return -ENOSPC;
        id = journal_new(journal, TABLE_LIMIT);
        limit = journal_get(journal, TABLE_LIMIT, id);
        if (!limit)
                return -ENOSPC;
        *limit = (struct limit){
                .id = id,
                .dir = dir,
                .above = above,
                .flags = (bytes > 0 ? LIMIT_HAS_BYTES : 0) | (nodes > 0 ? LIMIT_HAS_NODES : 0),
                .depth = upper->depth + 1,
                .bytes_at = bytes > 0 ? id : upper->bytes_at,
                .nodes_at = nodes > 0 ? id : upper->nodes_at,
                .bytes = bytes,
                .nodes = nodes,
                .tmpfs_fd = -1,
        };
        nodes_add(journal, payer, nodes);
        JOURNAL_SET(journal, upper->inside, upper->inside + 1);
        *out = limit;
        return 0;
}

int limit_set_nodes(struct journal *journal, struct limit *limit, uint64_t nodes) {
        struct limit *payer = limit_of_nodes(journal, limit->above);

        if (nodes < limit->used_nodes)
                return -EBUSY;
        if (nodes > limit->nodes && !nodes_fit(payer, nodes - limit->nodes))
                return -ENOSPC;
        nodes_add(journal, payer, nodes - limit->nodes);
        JOURNAL_SET(journal, limit->nodes, nodes);
        return 0;
}

bool limit_is_over(const struct limit *limit) {
        return limit->above != 0 && limit->dir == 0 && limit->members == 0 && limit->inside == 0;
}

void limit_delete(struct journal *journal, struct limit *limit) {
        struct limit *upper = limit_get(journal, limit->above);

        nodes_add(journal, limit_of_nodes(journal, limit->above), 0 - limit->nodes);
        JOURNAL_SET(journal, upper->inside, upper->inside - 1);
        journal_delete(journal, TABLE_LIMIT, limit->id);
}
