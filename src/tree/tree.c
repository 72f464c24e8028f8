/* SPDX-License-Identifier: MIT */
#include "tree/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "tree/dentry_index.h"
#include "tree/xattr.h"

enum {
        FIRST_COOKIE = 3, /* readers of directories use 1 and 2 for "." and ".." */
        TEXT_LINKS_MAX = LAYOUT_NODES_MAX / 8 * 7,
};

struct tree {
        struct journal *journal;
        struct root *root;
        tree_release_fn release;
        void *userdata;
        void (*on_name)(void *userdata);
        void *on_name_userdata;
        void (*on_limit_over)(void *userdata, struct limit *limit);
        void *on_limit_over_userdata;
};

struct journal *tree_journal(const struct tree *tree) {
        return tree->journal;
}

struct root *tree_root_record(const struct tree *tree) {
        return tree->root;
}

struct node *tree_node(const struct tree *tree, uint64_t id) {
        struct node *node;

        if (id > UINT32_MAX)
                return NULL;
        node = journal_get(tree->journal, TABLE_NODE, (uint32_t)id);
        return node && node->id == id ? node : NULL;
}

void tree_touch_ctime(struct tree *tree, struct node *node) {
        JOURNAL_SET(tree->journal, node->ctime, stamp_now());
}

/*
 * To be called when an entry was added or removed.  The kernel keeps a cached listing until mtime
 * changes, so it must change each time.
 */
static void tree_touch_dir(struct tree *tree, struct node *dir) {
        struct stamp now = stamp_moved(dir->mtime);

        JOURNAL_SET(tree->journal, dir->mtime, now);
        JOURNAL_SET(tree->journal, dir->ctime, now);
}

static uint64_t further_links(const struct node *node) {
        return !node_is_dir(node) && node->nlink > 1 ? node->nlink - 1 : 0;
}

static void tree_add_links(struct tree *tree, struct node *node, int n) {
        uint64_t before = further_links(node);

        JOURNAL_SET(tree->journal, node->nlink, node->nlink + (uint32_t)n);
        if (further_links(node) != before)
                limit_add_link(tree->journal, node->limit, further_links(node) > before ? 1 : -1);
}

/* Nodes */

/* limit: that of the directory that it is made in. */
static struct node *tree_new_node(struct tree *tree, const struct create_attrs *attrs,
                                  uint32_t limit) {
        uint32_t id = journal_new(tree->journal, TABLE_NODE);
        struct node *node = journal_get(tree->journal, TABLE_NODE, id);
        struct stamp now = stamp_now();

        if (!node)
                return NULL;
        *node = (struct node){
                .id = id,
                .generation = (uint32_t)tree->root->next_generation,
                .ino = tree->root->next_ino,
                .mode = attrs->mode,
                .uid = attrs->uid,
                .gid = attrs->gid,
                .rdev = attrs->rdev,
                .atime = now,
                .mtime = now,
                .ctime = now,
                .btime = now,
                .next_cookie = FIRST_COOKIE,
                .fd = -1,
        };
        limit_join(tree->journal, node, limit);
        JOURNAL_SET(tree->journal, tree->root->next_ino,
                    node->ino + (node_is_dir(node) ? LAYOUT_DIR_INODES : 1));
        JOURNAL_SET(tree->journal, tree->root->next_generation, tree->root->next_generation + 1);
        return node;
}

static unsigned int text_table(size_t length) {
        return length < LAYOUT_TARGET_LEAST ? TABLE_TEXT : TABLE_TARGET;
}

static char *tree_text(const struct tree *tree, const struct node *node) {
        void *record = journal_get(tree->journal, text_table(node->text_length), node->text);

        return node->text_length < LAYOUT_TARGET_LEAST ? ((struct text *)record)->bytes
                                                       : ((struct target *)record)->bytes;
}

static void tree_delete_text(struct tree *tree, struct node *node) {
        if (node->text != 0)
                journal_delete(tree->journal, text_table(node->text_length), node->text);
}

/* Stores a text of less than PATH_MAX bytes; -ENOSPC if the table is full. */
static int tree_store_text(struct tree *tree, struct node *node, const char *bytes, size_t length) {
        uint32_t id = journal_new(tree->journal, text_table(length));

        if (id == 0)
                return -ENOSPC;
        if (length < LAYOUT_TARGET_LEAST)
                *(uint32_t *)journal_get(tree->journal, TABLE_TEXT, id) = id;
        node->text = id;
        node->text_length = (uint32_t)length;
        memcpy(tree_text(tree, node), bytes, length);
        return 0;
}

void tree_readlink(const struct tree *tree, const struct node *node, char buffer[PATH_MAX]) {
        if (node->text != 0)
                memcpy(buffer, tree_text(tree, node), node->text_length);
        buffer[node->text_length] = '\0';
}

/* The node is gone, except for the kernel. */
static void tree_leave_limit(struct tree *tree, struct node *node) {
        struct limit *limit = limit_get(tree->journal, node->limit);

        if (limit->dir == node->id)
                JOURNAL_SET(tree->journal, limit->dir, 0);
        limit_leave(tree->journal, node);
        if (limit_is_over(limit) && tree->on_limit_over)
                tree->on_limit_over(tree->on_limit_over_userdata, limit);
}

void tree_reap(struct tree *tree, struct node *node) {
        if (node->nlink > 0 || node->opens > 0)
                return;
        if (!(node->flags & NODE_DETACHED)) {
                if (tree->release && !tree->release(tree->userdata, node))
                        return;
                JOURNAL_SET(tree->journal, node->flags, node->flags | NODE_DETACHED);
                tree_leave_limit(tree, node);
        }
        if (node->lookups > 0 || node->ctl_lookups > 0)
                return;
        tree_delete_text(tree, node);
        xattr_clear(tree->journal, node);
        journal_delete(tree->journal, TABLE_NODE, node->id);
}

/* Names */

static bool name_is(const char *name, size_t length, const char *what) {
        return length == strlen(what) && memcmp(name, what, length) == 0;
}

static int name_check(const struct tree *tree, const char *name, size_t length) {
        if (length > LAYOUT_NAME_MAX)
                return -ENAMETOOLONG;
        if (length == 0 || name_is(name, length, ".") || name_is(name, length, "..") ||
            memchr(name, '/', length) || memchr(name, '\0', length))
                return -EINVAL;
        if (name_is(name, length, tree->root->settings.ctl_name))
                return -EEXIST;
        return 0;
}

static struct dentry *tree_find(const struct tree *tree, const struct node *dir, const char *name,
                                size_t length) {
        return dentry_index_find(tree->journal, dir->id, name, length);
}

int tree_lookup(const struct tree *tree, const struct node *dir, const char *name, size_t length,
                struct node **out) {
        const struct dentry *dentry;

        if (!node_is_dir(dir))
                return -ENOTDIR;
        if (length > LAYOUT_NAME_MAX)
                return -ENAMETOOLONG;
        dentry = tree_find(tree, dir, name, length);
        if (!dentry)
                return -ENOENT;
        *out = tree_node(tree, dentry->node);
        return 0;
}

/* Whether dir can take a new entry of that name. */
static int tree_may_add(const struct tree *tree, const struct node *dir, const char *name,
                        size_t length) {
        int r;

        if (!node_is_dir(dir))
                return -ENOTDIR;
        if (dir->nlink == 0)
                return -ENOENT;
        r = name_check(tree, name, length);
        if (r < 0)
                return r;
        if (tree_find(tree, dir, name, length))
                return -EEXIST;
        return journal_used(tree->journal, TABLE_DENTRY) < LAYOUT_NODES_MAX ? 0 : -ENOSPC;
}

void tree_on_limit_over(struct tree *tree, void (*fn)(void *userdata, struct limit *limit),
                        void *userdata) {
        tree->on_limit_over = fn;
        tree->on_limit_over_userdata = userdata;
}

void tree_on_name(struct tree *tree, void (*fn)(void *userdata), void *userdata) {
        tree->on_name = fn;
        tree->on_name_userdata = userdata;
}

static void tree_tell_name(struct tree *tree) {
        if (tree->on_name)
                tree->on_name(tree->on_name_userdata);
}

/* Gives the dentry its name in dir, as the newest entry. */
static void tree_place(struct tree *tree, struct dentry *dentry, struct node *dir, const char *name,
                       size_t length) {
        dentry->cookie = dir->next_cookie;
        dentry->parent = dir->id;
        dentry->length = (uint32_t)length;
        memcpy(dentry->name, name, length);
        dentry->name[length] = '\0';
        JOURNAL_SET(tree->journal, dir->next_cookie, dir->next_cookie + 1);
        JOURNAL_SET(tree->journal, dir->children, dir->children + 1);
        tree_touch_dir(tree, dir);
        dentry_index_add(tree->journal, dentry);
        tree_tell_name(tree);
}

static int tree_add_name(struct tree *tree, struct node *dir, const char *name, size_t length,
                         struct node *node) {
        uint32_t id = journal_new(tree->journal, TABLE_DENTRY);
        struct dentry *dentry = journal_get(tree->journal, TABLE_DENTRY, id);

        if (!dentry)
                return -ENOSPC;
        dentry->id = id;
        dentry_index_attach(tree->journal, dentry, node);
        tree_place(tree, dentry, dir, name, length);
        return 0;
}

static void tree_remove_name(struct tree *tree, struct node *dir, struct dentry *dentry) {
        dentry_index_detach(tree->journal, dentry);
        dentry_index_remove(tree->journal, dentry);
        journal_delete(tree->journal, TABLE_DENTRY, dentry->id);
        JOURNAL_SET(tree->journal, dir->children, dir->children - 1);
        tree_touch_dir(tree, dir);
}

/* Making */

uint64_t tree_inodes(const struct tree *tree) {
        return limit_mount(tree->journal)->used_nodes;
}

static bool tree_has_room(const struct tree *tree, const struct node *dir) {
        return journal_used(tree->journal, TABLE_NODE) < LAYOUT_NODES_MAX &&
               limit_has_node(tree->journal, dir->limit);
}

/* A directory with S_ISGID passes on its group, and to directories S_ISGID as well. */
static struct create_attrs attrs_in(const struct node *dir, const struct create_attrs *attrs) {
        struct create_attrs result = *attrs;

        if (dir->mode & S_ISGID) {
                result.gid = dir->gid;
                if (S_ISDIR(attrs->mode))
                        result.mode |= S_ISGID;
        }
        return result;
}

int tree_create(struct tree *tree, struct node *dir, const char *name, size_t length,
                const struct create_attrs *attrs, struct node **out) {
        struct create_attrs inherited = attrs_in(dir, attrs);
        struct node *node;
        int r;

        r = tree_may_add(tree, dir, name, length);
        if (r < 0)
                return r;
        if (!tree_has_room(tree, dir))
                return -ENOSPC;
        if (S_ISDIR(attrs->mode) && dir->nlink == UINT32_MAX)
                return -EMLINK;

        node = tree_new_node(tree, &inherited, dir->limit);
        if (!node)
                return -ENOSPC;
        node->nlink = 1;
        if (node_is_dir(node)) {
                node->nlink = 2;
                node->parent = dir->id;
                tree_add_links(tree, dir, 1);
        }
        *out = node;
        return tree_add_name(tree, dir, name, length, node);
}

int tree_symlink(struct tree *tree, struct node *dir, const char *name, size_t length,
                 const struct create_attrs *attrs, const char *target, struct node **out) {
        size_t target_length = strlen(target);
        int r;

        if (target_length >= PATH_MAX)
                return -ENAMETOOLONG;
        /* Open control files need text records, too. */
        if (journal_used(tree->journal, TABLE_TEXT) > TEXT_LINKS_MAX)
                return -ENOSPC;
        r = tree_create(tree, dir, name, length, attrs, out);
        if (r < 0)
                return r;
        return tree_store_text(tree, *out, target, target_length);
}

int tree_create_unnamed(struct tree *tree, const struct node *dir, const struct create_attrs *attrs,
                        struct node **out) {
        struct create_attrs inherited = attrs_in(dir, attrs);

        /* A limit ends with its directory, so there is nothing that the file could count in. */
        if (dir->limit == 0)
                return -ENOENT;
        if (!tree_has_room(tree, dir))
                return -ENOSPC;
        *out = tree_new_node(tree, &inherited, dir->limit);
        return *out ? 0 : -ENOSPC;
}

int tree_link(struct tree *tree, struct node *node, struct node *dir, const char *name,
              size_t length) {
        int r;

        if (node_is_dir(node))
                return -EPERM;
        r = tree_may_add(tree, dir, name, length);
        if (r < 0)
                return r;
        if (node->nlink == UINT32_MAX)
                return -EMLINK;
        if (node->flags & NODE_DETACHED)
                return -ENOENT;
        if (node->limit != dir->limit)
                return -EXDEV;
        if (node->nlink > 0 && !limit_has_node(tree->journal, node->limit))
                return -ENOSPC;
        r = tree_add_name(tree, dir, name, length, node);
        if (r < 0)
                return r;
        tree_add_links(tree, node, 1);
        tree_touch_ctime(tree, node);
        return 0;
}

/* Removing */

/* Drops the link that a name was; a directory also gives back the link to its parent. */
static void tree_lose_name(struct tree *tree, struct node *dir, struct node *node) {
        if (node_is_dir(node)) {
                tree_add_links(tree, dir, -1);
                tree_add_links(tree, node, -2);
        } else {
                tree_add_links(tree, node, -1);
        }
        tree_touch_ctime(tree, node);
        tree_reap(tree, node);
}

int tree_unlink(struct tree *tree, struct node *dir, const char *name, size_t length) {
        struct dentry *dentry = tree_find(tree, dir, name, length);
        struct node *node;

        if (!dentry)
                return -ENOENT;
        node = tree_node(tree, dentry->node);
        if (node_is_dir(node))
                return -EISDIR;
        tree_remove_name(tree, dir, dentry);
        tree_lose_name(tree, dir, node);
        return 0;
}

int tree_rmdir(struct tree *tree, struct node *dir, const char *name, size_t length) {
        struct dentry *dentry = tree_find(tree, dir, name, length);
        struct node *node;

        if (!dentry)
                return -ENOENT;
        node = tree_node(tree, dentry->node);
        if (!node_is_dir(node))
                return -ENOTDIR;
        if (node->children > 0)
                return -ENOTEMPTY;
        tree_remove_name(tree, dir, dentry);
        tree_lose_name(tree, dir, node);
        return 0;
}

/* Renaming */

/* Whether node may take the place of target. */
static int rename_may_replace(const struct node *node, const struct node *target) {
        if (node_is_dir(target) && !node_is_dir(node))
                return -EISDIR;
        if (!node_is_dir(target) && node_is_dir(node))
                return -ENOTDIR;
        if (node_is_dir(target) && target->children > 0)
                return -ENOTEMPTY;
        return 0;
}

/* Whether dir is node or lies below it, so that node cannot be moved there. */
static bool tree_is_below(const struct tree *tree, const struct node *dir,
                          const struct node *node) {
        while (dir && dir->id != node->id && dir->id != LAYOUT_ROOT_ID)
                dir = tree_node(tree, dir->parent);
        return dir && dir->id == node->id;
}

static void rename_set_parent(struct tree *tree, struct node *node, struct node *from,
                              struct node *to) {
        if (!node_is_dir(node) || from == to)
                return;
        tree_add_links(tree, from, -1);
        tree_add_links(tree, to, 1);
        JOURNAL_SET(tree->journal, node->parent, to->id);
}

static int tree_exchange(struct tree *tree, struct node *dir, struct dentry *a,
                         struct node *new_dir, struct dentry *b) {
        struct node *x = tree_node(tree, a->node), *y = tree_node(tree, b->node);

        if ((node_is_dir(x) && tree_is_below(tree, new_dir, x)) ||
            (node_is_dir(y) && tree_is_below(tree, dir, y)))
                return -EINVAL;
        rename_set_parent(tree, x, dir, new_dir);
        rename_set_parent(tree, y, new_dir, dir);
        dentry_index_detach(tree->journal, a);
        dentry_index_detach(tree->journal, b);
        dentry_index_attach(tree->journal, a, y);
        dentry_index_attach(tree->journal, b, x);
        tree_touch_dir(tree, dir);
        tree_touch_dir(tree, new_dir);
        tree_touch_ctime(tree, x);
        tree_touch_ctime(tree, y);
        tree_tell_name(tree);
        return 0;
}

/* Moves the entry to a name that is free, and leaves a whiteout if the caller wants one. */
static int tree_move(struct tree *tree, struct node *dir, struct dentry *dentry,
                     struct node *new_dir, const char *new_name, size_t new_length,
                     struct node *whiteout) {
        struct node *node = tree_node(tree, dentry->node);
        char name[LAYOUT_NAME_MAX + 1];
        uint32_t length = dentry->length;

        memcpy(name, dentry->name, sizeof(name));
        dentry_index_remove(tree->journal, dentry);
        journal_touch(tree->journal, dentry, sizeof(*dentry));
        JOURNAL_SET(tree->journal, dir->children, dir->children - 1);
        tree_touch_dir(tree, dir);
        tree_place(tree, dentry, new_dir, new_name, new_length);
        rename_set_parent(tree, node, dir, new_dir);
        tree_touch_ctime(tree, node);
        if (!whiteout)
                return 0;
        whiteout->nlink = 1;
        return tree_add_name(tree, dir, name, length, whiteout);
}

/*
 * The entry replaces the target, whose dentry stays.  So a reader of the directory meets the
 * replaced name only once, and at its old place.
 */
static void tree_supplant(struct tree *tree, struct node *dir, struct dentry *dentry,
                          struct node *new_dir, struct dentry *target, struct node *whiteout) {
        struct node *node = tree_node(tree, dentry->node);
        struct node *replaced = tree_node(tree, target->node);

        if (whiteout) {
                whiteout->nlink = 1;
                dentry_index_detach(tree->journal, dentry);
                dentry_index_attach(tree->journal, dentry, whiteout);
                tree_touch_dir(tree, dir);
        } else {
                tree_remove_name(tree, dir, dentry);
        }
        dentry_index_detach(tree->journal, target);
        dentry_index_attach(tree->journal, target, node);
        tree_touch_dir(tree, new_dir);
        rename_set_parent(tree, node, dir, new_dir);
        tree_touch_ctime(tree, node);
        tree_lose_name(tree, new_dir, replaced);
        tree_tell_name(tree);
}

static int tree_new_whiteout(struct tree *tree, const struct node *dir,
                             const struct create_attrs *attrs, struct node **out) {
        struct create_attrs whiteout = {.mode = S_IFCHR, .uid = attrs->uid, .gid = attrs->gid};

        return tree_create_unnamed(tree, dir, &whiteout, out);
}

int tree_rename(struct tree *tree, struct node *dir, const char *name, size_t length,
                struct node *new_dir, const char *new_name, size_t new_length, unsigned int flags,
                const struct create_attrs *attrs) {
        struct dentry *dentry = tree_find(tree, dir, name, length);
        struct dentry *target = tree_find(tree, new_dir, new_name, new_length);
        struct node *node, *replaced = NULL, *whiteout = NULL;
        int r;

        if (flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
            ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))))
                return -EINVAL;
        if (!dentry || ((flags & RENAME_EXCHANGE) && !target))
                return -ENOENT;
        if (dir->limit != new_dir->limit)
                return -EXDEV;
        if (flags & RENAME_EXCHANGE)
                return tree_exchange(tree, dir, dentry, new_dir, target);

        node = tree_node(tree, dentry->node);
        if (target) {
                replaced = tree_node(tree, target->node);
                if (flags & RENAME_NOREPLACE)
                        return -EEXIST;
                if (replaced == node)
                        return 0;
                r = rename_may_replace(node, replaced);
        } else {
                r = tree_may_add(tree, new_dir, new_name, new_length);
        }
        if (r < 0)
                return r;
        if (node_is_dir(node) && tree_is_below(tree, new_dir, node))
                return -EINVAL;
        /* A whiteout at the old name needs one dentry more. */
        if ((flags & RENAME_WHITEOUT) && !target &&
            journal_used(tree->journal, TABLE_DENTRY) >= LAYOUT_NODES_MAX)
                return -ENOSPC;
        if (flags & RENAME_WHITEOUT)
                r = tree_new_whiteout(tree, dir, attrs, &whiteout);
        if (r < 0)
                return r;

        if (!target)
                return tree_move(tree, dir, dentry, new_dir, new_name, new_length, whiteout);
        tree_supplant(tree, dir, dentry, new_dir, target, whiteout);
        return 0;
}

/* Reading */

const struct dentry *tree_next(const struct tree *tree, const struct node *dir, uint64_t after) {
        return dentry_index_next(tree->journal, dir, after);
}

const struct dentry *tree_before(const struct tree *tree, const struct node *dir, uint64_t before) {
        return dentry_index_before(tree->journal, dir, before);
}

const struct dentry *tree_name_of(const struct tree *tree, const struct node *node) {
        return journal_get(tree->journal, TABLE_DENTRY, node->dentry);
}

/* The kernel's references */

void tree_lookup_ref(struct tree *tree, struct node *node) {
        JOURNAL_SET(tree->journal, node->lookups, node->lookups + 1);
}

void tree_lookup_unref(struct tree *tree, struct node *node, uint64_t count) {
        JOURNAL_SET(tree->journal, node->lookups,
                    node->lookups > count ? node->lookups - count : 0);
        tree_reap(tree, node);
}

void tree_lookup_ref_ctl(struct tree *tree, struct node *dir) {
        JOURNAL_SET(tree->journal, dir->ctl_lookups, dir->ctl_lookups + 1);
}

void tree_lookup_unref_ctl(struct tree *tree, struct node *dir, uint64_t count) {
        JOURNAL_SET(tree->journal, dir->ctl_lookups,
                    dir->ctl_lookups > count ? dir->ctl_lookups - count : 0);
        tree_reap(tree, dir);
}

void tree_opened(struct tree *tree, struct node *node, bool writable) {
        JOURNAL_SET(tree->journal, node->opens, node->opens + 1);
        if (writable) {
                JOURNAL_SET(tree->journal, node->writers, node->writers + 1);
                JOURNAL_SET(tree->journal, node->flags, node->flags | NODE_WRITTEN);
        }
}

void tree_closed(struct tree *tree, struct node *node, bool writable) {
        if (writable && node->writers > 0)
                JOURNAL_SET(tree->journal, node->writers, node->writers - 1);
        if (node->opens > 0)
                JOURNAL_SET(tree->journal, node->opens, node->opens - 1);
        tree_reap(tree, node);
}

/* The whole */

static int tree_make_root(struct tree *tree) {
        const struct settings *settings = &tree->root->settings;
        struct create_attrs attrs = {
                .mode = S_IFDIR | settings->root_mode,
                .uid = settings->root_uid,
                .gid = settings->root_gid,
        };
        struct node *node;

        dentry_index_init(tree->journal);
        if (tree->root->next_ino == 0) {
                JOURNAL_SET(tree->journal, tree->root->next_ino, 1);
                JOURNAL_SET(tree->journal, tree->root->next_generation, 1);
        }
        node = tree_new_node(tree, &attrs, LAYOUT_MOUNT_LIMIT);
        if (!node || node->id != LAYOUT_ROOT_ID)
                return -ENOMEM;
        node->nlink = 2;
        node->parent = LAYOUT_ROOT_ID;
        node->lookups = 1; /* the kernel has it for as long as it is mounted */
        return 0;
}

int tree_new(struct tree **out, struct journal *journal, tree_release_fn release, void *userdata) {
        struct tree *tree;
        int r = 0;

        tree = calloc(1, sizeof(*tree));
        if (!tree)
                return -ENOMEM;
        stamp_open();
        tree->journal = journal;
        tree->root = journal_root(journal);
        tree->release = release;
        tree->userdata = userdata;
        r = limits_init(journal);
        if (r == 0 && !tree_node(tree, LAYOUT_ROOT_ID))
                r = tree_make_root(tree);
        if (r < 0) {
                tree_free(tree);
                return r;
        }
        *out = tree;
        return 0;
}

struct tree *tree_free(struct tree *tree) {
        if (!tree)
                return NULL;
        free(tree);
        return NULL;
}
