/* SPDX-License-Identifier: MIT */
#include "volume/volume.h"

#include <errno.h>

/* Space, and the mount's limit */

void volume_space(struct volume *volume, const struct node *node, struct space *out) {
        regions_look_at_asking(volume->regions, node->limit);
        quota_space(regions_quota(volume->regions), node->limit, out);
}

int volume_set_limits(struct volume *volume, const struct volume_limits *limits) {
        struct limit *mount = limit_mount(volume->journal);
        int r;

        if (limits->set_nodes && limits->nodes != 0 && limits->nodes < mount->used_nodes)
                return -EINVAL;
        if (limits->set_nodes)
                JOURNAL_SET(volume->journal, mount->nodes, limits->nodes);
        if (!limits->set_bytes)
                return 0;
        regions_look_at_asking(volume->regions, LAYOUT_MOUNT_LIMIT);
        r = quota_set_bytes(regions_quota(volume->regions), mount, limits->bytes);
        return r == -EBUSY ? -EINVAL : r;
}

/* Limits of directories */

struct limit *volume_own_limit(const struct volume *volume, const struct node *dir) {
        struct limit *limit = limit_get(volume->journal, dir->limit);

        return limit && limit->dir == dir->id ? limit : NULL;
}

struct limit *volume_limit_above(const struct volume *volume, const struct node *dir) {
        struct limit *own = volume_own_limit(volume, dir);

        if (dir->id == LAYOUT_ROOT_ID)
                return own;
        return limit_get(volume->journal, own ? own->above : dir->limit);
}

static int limit_take(struct volume *volume, struct node *dir, const struct limit *limit) {
        int fd;

        if (dir->children > 0)
                return -ENOTEMPTY;
        /* The directory itself is a member. */
        if (limit->members > 1 || limit->inside > 0)
                return -EBUSY;
        quota_take_limit(regions_quota(volume->regions), dir, &fd);
        txn_close_later(volume->txn, fd, 0);
        return 0;
}

static int limit_change(struct volume *volume, struct limit *limit,
                        const struct limit_order *order) {
        int r = 0;

        if ((order->set_bytes && !(limit->flags & LIMIT_HAS_BYTES)) ||
            (order->set_nodes && !(limit->flags & LIMIT_HAS_NODES)))
                return -EINVAL;
        if (order->set_nodes)
                r = limit_set_nodes(volume->journal, limit, order->nodes);
        if (r < 0 || !order->set_bytes)
                return r;
        regions_look_at_asking(volume->regions, limit->id);
        regions_look_at_asking(volume->regions, limit->above);
        return quota_set_bytes(regions_quota(volume->regions), limit, order->bytes);
}

static int limit_make(struct volume *volume, struct node *dir, const struct limit_order *order) {
        if (dir->children > 0)
                return -ENOTEMPTY;
        regions_look_at_asking(volume->regions, dir->limit);
        return quota_add_limit(regions_quota(volume->regions), dir,
                               order->set_bytes ? order->bytes : 0,
                               order->set_nodes ? order->nodes : 0);
}

int volume_limit_dir(struct volume *volume, struct node *dir, const struct limit_order *order) {
        struct limit *limit = volume_own_limit(volume, dir);

        if (dir->nlink == 0)
                return -ENOENT;
        if (dir->id == LAYOUT_ROOT_ID)
                return -EINVAL;
        if (limit)
                return order->none ? limit_take(volume, dir, limit)
                                   : limit_change(volume, limit, order);
        return order->none ? -ENODATA : limit_make(volume, dir, order);
}

/* Gives back what an ended limit had reserved, and so on upwards. */
void volume_limit_over(void *userdata, struct limit *limit) {
        struct volume *volume = userdata;
        int fd;

        do {
                limit = quota_end_limit(regions_quota(volume->regions), limit, &fd);
                txn_close_later(volume->txn, fd, 0);
        } while (limit_is_over(limit));
}
