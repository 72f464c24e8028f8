/* SPDX-License-Identifier: MIT */
#include "volume/volume.h"

#include <errno.h>
#include <sys/stat.h>
#include "memory/access_time.h"

/* Set-user-id */

static uint32_t mode_killed(const struct change *by, const struct node *node) {
        return by->kills_setid && !node_is_dir(node) ? access_without_setid(node->mode)
                                                     : node->mode;
}

/* A caller outside of a file's group also clears S_ISGID where it is no set-group-id. */
static bool takes_setgid(const struct change *by, const struct node *node, gid_t group) {
        return !node_is_dir(node) && (node->mode & (S_ISGID | S_IXGRP)) == S_ISGID &&
               !access_in_group(by->caller, group);
}

/*
 * The kernel checks attributes that are set.  But it also sends this request before a write(2), and
 * for a chown(2) that changes nothing, by any user.  A user who cannot write must be refused here.
 */
static int may_drop_setid(const struct change *by, const struct node *node) {
        if (node_is_dir(node) || node->writers > 0 || access_owns(by->caller, node))
                return 0;
        if (access_without_setid(node->mode) == node->mode && !takes_setgid(by, node, node->gid))
                return 0;
        return -EPERM;
}

/* Clears the bits that a SETATTR clears besides what it sets.  group: the file's group before. */
static void attrs_drop_setid(struct volume *volume, const struct change *by, struct node *node,
                             gid_t group, uint32_t set) {
        uint32_t mode = set & ATTR_MODE ? node->mode : mode_killed(by, node);

        if (mode != node->mode)
                JOURNAL_SET(volume->journal, node->mode, mode);
        if (!(set & (ATTR_ATIME | ATTR_MTIME)) && takes_setgid(by, node, group))
                JOURNAL_SET(volume->journal, node->mode, node->mode & ~(uint32_t)S_ISGID);
}

int volume_drop_setid(struct volume *volume, const struct change *by, struct node *node) {
        uint32_t mode = access_without_setid(node->mode);
        int r;

        if (mode == node->mode || (by->unasked && caller_is_root(by->caller)))
                return 0;
        JOURNAL_SET(volume->journal, node->mode, mode);
        r = region_own(volume->regions, node);
        /* The kernel still has the old mode cached.  It asked for the write, so nothing waits for
         * this. */
        if (!by->unasked)
                invalidations_begin(volume->invalidations, (struct invalidation_mark){0});
        return r < 0 ? r : invalidation_inode(volume->invalidations, node->id);
}

/* Attributes */

static void set_stamp(struct volume *volume, struct stamp *stamp, const struct timespec *time) {
        if (time->tv_nsec == UTIME_OMIT)
                return;
        JOURNAL_SET(volume->journal, *stamp,
                    time->tv_nsec == UTIME_NOW ? stamp_now()
                                               : ((struct stamp){time->tv_sec, time->tv_nsec}));
}

static int set_times(struct volume *volume, struct node *node, const struct volume_attrs *attrs) {
        static const struct timespec omit = {0, UTIME_OMIT};
        struct timespec times[2] = {
                attrs->set & ATTR_ATIME ? attrs->atime : omit,
                attrs->set & ATTR_MTIME ? attrs->mtime : omit,
        };

        if (!(attrs->set & (ATTR_ATIME | ATTR_MTIME)))
                return 0;
        if (node_is_region(node))
                return access_time_utimens(volume->journal, node, times);
        set_stamp(volume, &node->atime, &times[0]);
        set_stamp(volume, &node->mtime, &times[1]);
        return 0;
}

static void set_owner(struct volume *volume, struct node *node, const struct volume_attrs *attrs) {
        if (attrs->set & ATTR_MODE)
                JOURNAL_SET(volume->journal, node->mode,
                            (node->mode & S_IFMT) | (attrs->mode & 07777));
        if (attrs->set & ATTR_UID)
                JOURNAL_SET(volume->journal, node->uid, attrs->uid);
        if (attrs->set & ATTR_GID)
                JOURNAL_SET(volume->journal, node->gid, attrs->gid);
}

int volume_set_attrs(struct volume *volume, const struct change *by, struct node *node,
                     const struct volume_attrs *attrs) {
        uint32_t mode = node->mode, uid = node->uid, gid = node->gid;
        int r = attrs->set == 0 ? may_drop_setid(by, node) : 0;

        if (r < 0)
                return r;
        set_owner(volume, node, attrs);
        attrs_drop_setid(volume, by, node, gid, attrs->set);
        if (attrs->set & ATTR_MODE)
                r = volume_acl_follows_mode(volume, node);
        if (r < 0)
                return r;
        tree_touch_ctime(volume->tree, node);
        if (node_is_region(node) && (node->mode != mode || node->uid != uid || node->gid != gid))
                r = region_own(volume->regions, node);
        /* Last, because it cannot be undone. */
        if (r == 0 && (attrs->set & ATTR_SIZE))
                r = volume_resize(volume, by, node, attrs->size);
        return r == 0 ? set_times(volume, node, attrs) : r;
}
