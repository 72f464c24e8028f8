/* SPDX-License-Identifier: MIT */
#include "records/layout.h"

_Static_assert(sizeof(struct node) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct dentry) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct pending) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct text) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct target) == 4096, "a target takes a page, which is given back");
_Static_assert(sizeof(struct xattr) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct handle) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct invalidation) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct owner) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct owned) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct limit) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct descriptor) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct reclaim) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct watched) % 8 == 0, "records are multiples of 8 bytes");
_Static_assert(sizeof(struct client) % 8 == 0, "records are multiples of 8 bytes");

static const struct journal_table_spec layout_tables[_TABLE_N] = {
        [TABLE_NODE] = {sizeof(struct node), LAYOUT_NODES_MAX},
        [TABLE_DENTRY] = {sizeof(struct dentry), LAYOUT_NODES_MAX},
        [TABLE_TEXT] = {sizeof(struct text), LAYOUT_NODES_MAX},
        [TABLE_HANDLE] = {sizeof(struct handle), 64 * 1024},
        [TABLE_INVALIDATION] = {sizeof(struct invalidation), 64 * 1024},
        [TABLE_EVENT] = {sizeof(struct event), EVENT_RING},
        [TABLE_BUCKETS] = {sizeof(struct buckets), LAYOUT_NODES_MAX / LAYOUT_BUCKETS_EACH},
        [TABLE_XATTR] = {sizeof(struct xattr), LAYOUT_NODES_MAX},
        [TABLE_PENDING] = {sizeof(struct pending), 128 * 1024},
        [TABLE_OWNER] = {sizeof(struct owner), LAYOUT_NODES_MAX},
        [TABLE_OWNED] = {sizeof(struct owned), LAYOUT_NODES_MAX},
        [TABLE_LIMIT] = {sizeof(struct limit), LAYOUT_LIMITS_MAX},
        [TABLE_DESCRIPTOR] = {sizeof(struct descriptor), 1024 * 1024},
        [TABLE_RECLAIM] = {sizeof(struct reclaim), LAYOUT_NODES_MAX},
        [TABLE_WATCHED] = {sizeof(struct watched), LAYOUT_NODES_MAX},
        [TABLE_CLIENT] = {sizeof(struct client), 16 * 1024},
        [TABLE_TARGET] = {sizeof(struct target), LAYOUT_TARGETS_MAX, .gives_back = 1},
};

static const struct journal_spec layout = {
        .version = LAYOUT_VERSION,
        .root_size = sizeof(struct root),
        .scratch_size = LAYOUT_SCRATCH_SIZE,
        .n_tables = _TABLE_N,
        .tables = layout_tables,
};

const struct journal_spec *layout_spec(void) {
        return &layout;
}
