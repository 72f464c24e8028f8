/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <string.h>

enum { COOKIE_DOT = 1, COOKIE_DOT_DOT = 2 };

enum { DIR_HANDLE, DIR_HANDLE_CACHING };

enum { DAY_S = 86400 };

/* A reply that is being filled. */
struct listing {
        struct fs *fs;
        struct node *dir;
        bool plus;
        size_t size;
        size_t used;
        int error;
};

static bool listing_fits(const struct listing *listing, const char *name) {
        return wire_dirent_size(strlen(name), listing->plus) <= listing->size - listing->used;
}

static void listing_put(struct listing *listing, const char *name, const struct wire_entry *entry,
                        uint64_t cookie) {
        listing->used += wire_put_dirent(listing->fs->buffer + listing->used, name, strlen(name),
                                         cookie, entry, listing->plus);
}

/* An entry that counts no lookup: "." and "..", and all entries of a plain READDIR. */
static void listing_put_plain(struct listing *listing, const char *name, ino_t ino, mode_t mode,
                              uint64_t cookie) {
        struct wire_entry entry = {.attributes.st = {.st_ino = ino, .st_mode = mode}};

        listing_put(listing, name, &entry, cookie);
}

/* "." and ".." for a reader that is at `after`.  False: the buffer is full. */
static bool listing_put_dots(struct listing *listing, uint64_t after, ino_t self, ino_t parent) {
        if (after < COOKIE_DOT) {
                if (!listing_fits(listing, "."))
                        return false;
                listing_put_plain(listing, ".", self, S_IFDIR, COOKIE_DOT);
        }
        if (after < COOKIE_DOT_DOT) {
                if (!listing_fits(listing, ".."))
                        return false;
                listing_put_plain(listing, "..", parent, S_IFDIR, COOKIE_DOT_DOT);
        }
        return true;
}

static void listing_put_node(struct listing *listing, const struct dentry *dentry) {
        struct node *node = tree_node(listing->fs->volume->tree, dentry->node);
        struct wire_entry entry;

        if (!listing->plus) {
                listing_put_plain(listing, dentry->name, node->ino, node->mode, dentry->cookie);
                return;
        }
        listing->error = fs_entry(listing->fs, node, &entry);
        if (listing->error == 0)
                listing_put(listing, dentry->name, &entry, dentry->cookie);
}

static void listing_fill(struct listing *listing, uint64_t after) {
        struct tree *tree = listing->fs->volume->tree;
        const struct node *parent = tree_node(tree, listing->dir->parent);
        uint64_t before = after <= COOKIE_DOT_DOT ? UINT64_MAX : after;
        const struct dentry *dentry;

        if (!listing_put_dots(listing, after, listing->dir->ino,
                              parent ? parent->ino : listing->dir->ino))
                return;
        for (; listing->error == 0 && (dentry = tree_before(tree, listing->dir, before));
             before = dentry->cookie) {
                if (!listing_fits(listing, dentry->name))
                        return;
                listing_put_node(listing, dentry);
        }
}

/* The files of .ctl.  Their cookies are their kinds, after those of the two dots. */
static void listing_fill_ctl(struct listing *listing, uint64_t after) {
        struct fs *fs = listing->fs;
        struct wire_attributes attributes;
        const struct stat *st = &attributes.st;

        fs_ctl_attributes(fs, CTL_DIR, listing->dir, &attributes);
        if (!listing_put_dots(listing, after, st->st_ino, listing->dir->ino))
                return;
        for (enum ctl_kind kind = CTL_DIR + 1; kind < _CTL_N; kind++) {
                const char *name = ctl_name(kind);
                uint64_t cookie = COOKIE_DOT_DOT + kind;

                if (cookie <= after ||
                    ctl_lookup(fs->ctl, listing->dir, name, strlen(name)) != kind)
                        continue;
                if (!listing_fits(listing, name))
                        return;
                fs_ctl_attributes(fs, kind, listing->dir, &attributes);
                listing_put_plain(listing, name, st->st_ino, st->st_mode, cookie);
        }
}

static bool is_newer(struct stamp a, struct stamp b) {
        return a.sec != b.sec ? a.sec > b.sec : a.nsec > b.nsec;
}

/* Moves the time of access of a directory that is read from its start. */
static void fs_dir_accessed(struct fs *fs, struct node *dir) {
        uint32_t mode = fs->volume->root->settings.atime;
        struct stamp now;

        if (mode == ATIME_NONE || fs->volume->root->settings.read_only)
                return;
        if (mode == ATIME_RELATIVE && is_newer(dir->atime, dir->mtime) &&
            is_newer(dir->atime, dir->ctime) && stamp_coarse().sec - dir->atime.sec < DAY_S)
                return;
        now = stamp_now();
        JOURNAL_SET(fs->volume->journal, dir->atime, now);
}

static void fs_list(struct fuse_request *req, bool plus) {
        const struct wire_read_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        size_t most = FS_READDIRPLUS_MAX; /* the time of access is a change that goes with it */
        struct listing listing = {
                .fs = fs,
                .dir = fs_node(fs, req->node),
                .plus = plus,
                .size = in->size < most ? in->size : most,
        };

        if (!listing.dir) {
                reply_error(req, -ESTALE);
                return;
        }
        if (fs_kind(req->node) == CTL_DIR)
                listing_fill_ctl(&listing, in->offset);
        else
                listing_fill(&listing, in->offset);
        if (in->offset == 0 && fs_kind(req->node) == CTL_NONE)
                fs_dir_accessed(fs, listing.dir);
        if (listing.error < 0 && listing.used == 0)
                reply_error(req, listing.error);
        else
                reply_bytes(req, fs->buffer, listing.used);
}

/*
 * With WIRE_OPEN_CACHE_DIR the kernel caches the entries that it reads, for all readers, until
 * mtime changes or it is told.  Every change sets mtime; those that the kernel did not ask for also
 * tell it.
 *
 * Only one reader at a time may fill the cache.  The kernel notes mtime when a reader begins, and
 * takes any reply that comes first.  With two readers, one could add an old reply under the new
 * mtime of the other, and it would stay.  The entries of a control directory depend on the user, so
 * they are not cached.
 */
void fs_opendir(struct fuse_request *req) {
        struct fs *fs = fs_of(req);
        struct node *dir = fs_node(fs, req->node);

        if (!dir) {
                reply_error(req, -ESTALE);
        } else if (fs_kind(req->node) != CTL_NONE) {
                reply_open(req, DIR_HANDLE, 0, 0);
        } else if (dir->flags & NODE_CACHING) {
                reply_open(req, DIR_HANDLE, WIRE_OPEN_KEEP_CACHE, 0);
        } else {
                JOURNAL_SET(txn_journal(fs->volume->txn), dir->flags, dir->flags | NODE_CACHING);
                reply_open(req, DIR_HANDLE_CACHING, WIRE_OPEN_KEEP_CACHE | WIRE_OPEN_CACHE_DIR, 0);
        }
}

void fs_releasedir(struct fuse_request *req) {
        const struct wire_release_in *in = req->in->args;
        struct fs *fs = fs_of(req);
        struct node *dir = fs_node(fs, req->node);

        if (dir && in->fh == DIR_HANDLE_CACHING)
                JOURNAL_SET(txn_journal(fs->volume->txn), dir->flags,
                            dir->flags & ~(uint32_t)NODE_CACHING);
        reply_error(req, 0);
}

void fs_readdir(struct fuse_request *req) {
        fs_list(req, false);
}

void fs_readdirplus(struct fuse_request *req) {
        fs_list(req, true);
}
