/* SPDX-License-Identifier: MIT */
#include "volume/volume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/words.h"
#include "memory/descriptor.h"
#include "tree/pending.h"

enum {
        INVALIDATIONS_BUSY =
                1024, /* of which nobody waits for one; the table has many times that */
        CUT_LOG_MS = 1000,
};

/* Telling the kernel */

void volume_event(struct volume *volume, const struct change *by, enum event_kind kind,
                  const struct node *node, const struct node *dir, const char *name,
                  size_t length) {
        event_add(volume->tree, kind, node, dir, name, length, by->caller);
        txn_after_commit(volume->txn, TXN_AFTER_EVENTS);
}

void volume_event_node(struct volume *volume, const struct change *by, enum event_kind kind,
                       struct node *node) {
        event_add_node(volume->tree, kind, node, by->caller);
        txn_after_commit(volume->txn, TXN_AFTER_EVENTS);
}

int volume_tell(struct volume *volume, const struct change *by, const struct node *node) {
        return by->unasked ? invalidation_inode(volume->invalidations, node->id) : 0;
}

/* Names */

int volume_make(struct volume *volume, const struct change *by, struct node *dir, const char *name,
                size_t length, const struct create_attrs *attrs, struct node **out) {
        const struct create_attrs here = volume_attrs_in(dir, attrs);
        int r;

        r = tree_create(volume->tree, dir, name, length, &here, out);
        if (r == 0 && !S_ISREG(attrs->mode))
                return volume_inherit_acl(volume, *out, dir);
        if (r < 0)
                return r;
        r = volume_init_storage(volume, by, *out, dir);
        if (r == 0)
                volume_event(volume, by, EVENT_CREATE, *out, dir, name, length);
        return r;
}

int volume_symlink(struct volume *volume, struct node *dir, const char *name, size_t length,
                   const struct create_attrs *attrs, const char *target, struct node **out) {
        int r = tree_symlink(volume->tree, dir, name, length, attrs, target, out);

        return r < 0 ? r : regions_charge_link(volume->regions, *out);
}

int volume_link(struct volume *volume, struct node *node, struct node *dir, const char *name,
                size_t length) {
        return tree_link(volume->tree, node, dir, name, length);
}

/* The kernel may have cached the name, the directory's times, and the node by its other names. */
static int volume_tell_unlink(struct volume *volume, const struct change *by,
                              const struct node *dir, const char *name, size_t length,
                              const struct node *node) {
        int r;

        if (!by->unasked)
                return 0;
        r = invalidation_entry(volume->invalidations, dir->id, name, length);
        if (r == 0)
                r = volume_tell(volume, by, dir);
        if (r == 0)
                r = volume_tell(volume, by, node);
        return r;
}

int volume_unlink(struct volume *volume, const struct change *by, struct node *dir,
                  const char *name, size_t length) {
        struct node *node;
        int r;

        r = tree_lookup(volume->tree, dir, name, length, &node);
        if (r == 0 && node_is_dir(node))
                r = -EISDIR;
        if (r == 0)
                r = volume_tell_unlink(volume, by, dir, name, length, node);
        if (r < 0)
                return r;
        if (node_is_region(node))
                volume_event(volume, by, EVENT_REMOVE, node, dir, name, length);
        volume->can_wait = by->waits;
        r = tree_unlink(volume->tree, dir, name, length);
        volume->can_wait = false;
        return r;
}

int volume_rmdir(struct volume *volume, struct node *dir, const char *name, size_t length) {
        return tree_rmdir(volume->tree, dir, name, length);
}

int volume_rename(struct volume *volume, const struct change *by, struct node *dir,
                  const char *name, size_t length, struct node *new_dir, const char *new_name,
                  size_t new_length, unsigned int flags) {
        struct create_attrs whiteout = {.uid = by->caller->uid, .gid = by->caller->gid};
        struct node *node = NULL, *replaced = NULL;
        bool removal;
        int r;

        tree_lookup(volume->tree, dir, name, length, &node);
        tree_lookup(volume->tree, new_dir, new_name, new_length, &replaced);
        removal = replaced && replaced != node && node_is_region(replaced) &&
                  !(flags & RENAME_EXCHANGE);
        volume->can_wait = by->waits;
        r = tree_rename(volume->tree, dir, name, length, new_dir, new_name, new_length, flags,
                        &whiteout);
        volume->can_wait = false;
        if (r < 0)
                return r;
        /* The replaced node may be gone by now; so its event has only its name. */
        if (removal)
                volume_event(volume, by, EVENT_REMOVE, NULL, new_dir, new_name, new_length);
        if (node_is_region(node))
                volume_event(volume, by, EVENT_RENAME, node, new_dir, new_name, new_length);
        return 0;
}

void volume_defaults(const struct volume *volume, const struct node *dir, uint32_t *flags,
                     uint32_t *mode) {
        /* A directory's defaults hold for directories below it that have the same owner, and for no
         * others. */
        while (!(dir->flags & NODE_DEFAULT) && dir->id != LAYOUT_ROOT_ID) {
                const struct node *parent = tree_node(volume->tree, dir->parent);

                if (!parent || parent->uid != dir->uid)
                        break;
                dir = parent;
        }
        *flags = volume->root->settings.huge ? NODE_HUGE : 0;
        *mode = LAYOUT_NO_MODE;
        if (dir->flags & NODE_DEFAULT) {
                *flags = dir->defaults;
                *mode = dir->default_mode;
        }
}

void volume_set_defaults(struct volume *volume, struct node *dir, bool none, uint32_t flags,
                         uint32_t mode) {
        journal_touch(volume->journal, dir, sizeof(*dir));
        dir->flags &= ~(uint32_t)NODE_DEFAULT;
        if (!none)
                dir->flags |= NODE_DEFAULT;
        dir->defaults = flags;
        dir->default_mode = mode;
}

/* Backing ids */

static void volume_on_backing(void *userdata) {
        volume_close_backings(userdata);
}

void volume_close_backings(struct volume *volume) {
        const struct volume_kernel *kernel = &volume->kernel;
        struct root *root = volume->root;

        /* The kernel ignores ids that it does not know. */
        for (; root->n_closing > 0; root->n_closing--) {
                if (kernel->backing_close)
                        kernel->backing_close(kernel->userdata, root->closing[root->n_closing - 1]);
                journal_crash_point(volume->journal);
        }
}

/* The list is in records, so that the next worker can find an id that no node has any more. */
void volume_close_backing(struct volume *volume, int id) {
        struct root *root = volume->root;

        if (root->n_closing == LAYOUT_CLOSING_MAX) {
                txn_fail(volume->txn, -ENOMEM);
                return;
        }
        JOURNAL_SET(volume->journal, root->closing[root->n_closing], id);
        JOURNAL_SET(volume->journal, root->n_closing, root->n_closing + 1);
        txn_after_commit(volume->txn, TXN_AFTER_BACKING);
}

/* A node has neither names nor handles.  True: its region was released. */
static bool volume_on_unused(void *userdata, struct node *node) {
        struct volume *volume = userdata;
        struct stat st;

        /* A long target is there, and counts, until the kernel has forgotten the link. */
        if (S_ISLNK(node->mode) && node->charge > 0) {
                if (node->lookups > 0)
                        return false;
                regions_uncharge_link(volume->regions, node);
        }
        if (node->backing == BACKING_NONE)
                return true;
        if (!lifetime_release(volume->lifetimes, node))
                return false;
        owner_remove(volume->owners, node);
        if (node->backing_id > 0)
                volume_close_backing(volume, node->backing_id);
        /* How much it is must be known: a large one is freed by a job. */
        if (node->flags & (NODE_WRITTEN | NODE_EXPORTED | NODE_POPULATE | NODE_HUGE))
                (void)region_stat(volume->regions, node, &st);
        if (node->blocks > RECLAIM_AT_ONCE && volume->can_wait &&
            invalidation_memory(volume->invalidations) < 0)
                txn_fail(volume->txn, -ENOMEM);
        reclaim_add(volume->reclaims, node);
        region_release(volume->regions, node);
        return true;
}

uint64_t volume_files_left(const struct volume *volume) {
        uint64_t left = LAYOUT_NODES_MAX - journal_used(volume->journal, TABLE_NODE);
        uint64_t descriptors = descriptor_left(volume->journal);

        return regions_name_files(volume->regions) || descriptors > left ? left : descriptors;
}

/* Lifetimes */

static int volume_remove_name(void *userdata, struct node *node) {
        struct volume *volume = userdata;
        const struct change by = {.unasked = true};
        const struct dentry *dentry = tree_name_of(volume->tree, node);
        char name[LAYOUT_NAME_MAX + 1];

        if (!dentry)
                return -ENOENT;
        memcpy(name, dentry->name, sizeof(name));
        invalidations_begin(volume->invalidations, (struct invalidation_mark){0});
        return volume_unlink(volume, &by, tree_node(volume->tree, dentry->parent), name,
                             dentry->length);
}

static void volume_on_owner_ended(void *userdata, struct node *node) {
        struct volume *volume = userdata;

        lifetime_owner_ended(volume->lifetimes, node);
}

void volume_take_up(struct volume *volume) {
        lifetimes_take_up(volume->lifetimes);
        owners_take_up(volume->owners);
}

static int volume_on_changed(void *userdata, struct node *node) {
        struct volume *volume = userdata;

        invalidations_begin(volume->invalidations, (struct invalidation_mark){0});
        return invalidation_inode(volume->invalidations, node->id);
}

static bool volume_is_busy(void *userdata) {
        const struct volume *volume = userdata;

        return journal_used(volume->journal, TABLE_INVALIDATION) > INVALIDATIONS_BUSY;
}

void volume_drop(struct volume *volume, struct node *node) {
        pending_end(volume->tree, node);
        tree_reap(volume->tree, node);
}

int volume_drop_pending(struct volume *volume) {
        const struct pending *record;
        uint32_t at = 0;
        int r = 0;

        while (r == 0 && (record = pending_next(volume->tree, &at))) {
                volume_drop(volume, tree_node(volume->tree, record->node));
                r = txn_commit(volume->txn);
        }
        return r;
}

/* The whole */

static void volume_on_commit(void *userdata) {
        struct volume *volume = userdata;

        volume->new_backing = 0;
        regions_commit(volume->regions);
}

static void volume_on_abort(void *userdata) {
        struct volume *volume = userdata;

        if (volume->new_backing > 0)
                volume->kernel.backing_close(volume->kernel.userdata, volume->new_backing);
        volume->new_backing = 0;
        regions_abort(volume->regions);
}

/* Anybody who may write can make this happen again and again, so the log gets a line a second at
 * most. */
static void log_cut(struct volume *volume, const struct node *node) {
        const struct dentry *dentry = tree_name_of(volume->tree, node);
        char name[4 * LAYOUT_NAME_MAX + 1] = "";
        uint64_t now = clock_ms();

        if (volume->cut_logged_ms != 0 && now - volume->cut_logged_ms < CUT_LOG_MS)
                return;
        volume->cut_logged_ms = now;
        if (dentry)
                words_escape(name, dentry->name, dentry->length);
        log_line(LOG_WARNING,
                 "region '%s' was cut back to %" PRIu64 " bytes: it had grown by "
                 "write(2) beyond what its limit of bytes leaves",
                 name, node->size);
}

/* A region has grown without our knowing, and was cut back. */
static void volume_on_cut(void *userdata, struct node *node) {
        const struct change by = {.unasked = true};

        log_cut(userdata, node);
        volume_event_node(userdata, &by, EVENT_CUT_BACK, node);
}

static void volume_on_name(void *userdata) {
        struct volume *volume = userdata;

        txn_after_commit(volume->txn, TXN_AFTER_NAMES);
}

static int volume_after_memory(void *userdata, invalidation_told_fn fn, void *fn_userdata) {
        const struct volume *volume = userdata;

        return reclaim_after(volume->reclaims, fn, fn_userdata);
}

static int volume_build(struct volume *volume) {
        const struct lifetime_acts acts = {volume_remove_name, volume_on_changed, volume_is_busy,
                                           volume};
        const struct owner_acts owner_acts = {volume_on_owner_ended, volume};
        int r;

        r = txn_new(&volume->txn, volume->journal);
        if (r == 0)
                r = regions_new(&volume->regions, volume->journal);
        if (r == 0)
                r = tree_new(&volume->tree, volume->journal, volume_on_unused, volume);
        if (r == 0)
                r = invalidations_new(&volume->invalidations, volume->txn, volume->loop);
        if (r == 0)
                r = lifetimes_new(&volume->lifetimes, volume->loop, volume->txn, volume->tree,
                                  volume->regions, &acts);
        if (r == 0)
                r = reclaims_new(&volume->reclaims, volume->loop, volume->txn, volume->memory_jobs);
        if (r == 0)
                r = owners_new(&volume->owners, volume->loop, volume->txn, volume->memory_jobs,
                               &owner_acts);
        if (r == 0)
                r = works_new(&volume->works, volume->txn, volume->allocator, volume->memory_jobs);
        if (r == 0)
                r = room_new(&volume->room, volume->loop, volume->lifetimes, volume->reclaims);
        if (r < 0)
                return r;
        invalidations_set_memory(volume->invalidations, volume_after_memory, volume);
        txn_add_member(volume->txn, volume_on_commit, volume_on_abort, volume);
        txn_set_after(volume->txn, TXN_AFTER_BACKING, volume_on_backing, volume);
        tree_on_name(volume->tree, volume_on_name, volume);
        regions_on_cut(volume->regions, volume_on_cut, volume);
        tree_on_limit_over(volume->tree, volume_limit_over, volume);
        return txn_commit(volume->txn);
}

int volume_new(struct volume **out, struct journal *journal, struct loop *loop,
               struct allocator *allocator, struct job_queue *memory_jobs) {
        struct volume *volume;
        int r;

        volume = calloc(1, sizeof(*volume));
        if (!volume)
                return -ENOMEM;
        volume->loop = loop;
        volume->journal = journal;
        volume->root = journal_root(journal);
        volume->allocator = allocator;
        volume->memory_jobs = memory_jobs;
        r = volume_build(volume);
        if (r < 0) {
                volume_free(volume);
                return r;
        }
        *out = volume;
        return 0;
}

struct volume *volume_free(struct volume *volume) {
        if (!volume)
                return NULL;
        works_free(volume->works);
        room_free(volume->room);
        reclaims_free(volume->reclaims);
        owners_free(volume->owners);
        lifetimes_free(volume->lifetimes);
        invalidations_free(volume->invalidations);
        tree_free(volume->tree);
        regions_free(volume->regions);
        txn_free(volume->txn);
        free(volume);
        return NULL;
}

int volume_prepare_store(struct volume *volume) {
        int r = regions_are_kept(volume->regions) ? regions_prepare(volume->regions) : 0;

        if (r == 0)
                return txn_commit(volume->txn);
        txn_abort(volume->txn);
        return r;
}

void volume_set_kernel(struct volume *volume, const struct volume_kernel *kernel) {
        volume->kernel = *kernel;
        invalidations_set_teller(volume->invalidations, &kernel->teller);
}
