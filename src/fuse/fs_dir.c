/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <string.h>

enum { COOKIE_DOT = 1, COOKIE_DOT_DOT = 2 };

/* A reply that is being filled. */
struct listing {
        fuse_req_t req;
        struct fs *fs;
        struct node *dir;
        bool plus;
        size_t size;
        size_t used;
        int error;
};

static bool listing_fits(const struct listing *listing, const char *name) {
        size_t needed = listing->plus ? fuse_add_direntry_plus(listing->req, NULL, 0, name, NULL, 0)
                                      : fuse_add_direntry(listing->req, NULL, 0, name, NULL, 0);

        return needed <= listing->size - listing->used;
}

static void listing_put(struct listing *listing, const char *name,
                        const struct fuse_entry_param *entry, uint64_t cookie) {
        char *at = listing->fs->buffer + listing->used;
        size_t left = listing->size - listing->used;

        listing->used += listing->plus ? fuse_add_direntry_plus(listing->req, at, left, name, entry,
                                                                (off_t)cookie)
                                       : fuse_add_direntry(listing->req, at, left, name,
                                                           &entry->attr, (off_t)cookie);
}

/* An entry without a lookup: "." and "..", and all that a plain readdir returns. */
static void listing_put_plain(struct listing *listing, const char *name, ino_t ino, mode_t mode,
                              uint64_t cookie) {
        struct fuse_entry_param entry = {.attr = {.st_ino = ino, .st_mode = mode}};

        listing_put(listing, name, &entry, cookie);
}

/* "." and ".." of a reader who is at `after`.  False if the buffer is full. */
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
        struct node *node = tree_node(listing->fs->parts.tree, dentry->node);
        struct fuse_entry_param entry;

        if (!listing->plus) {
                listing_put_plain(listing, dentry->name, node->ino, node->mode, dentry->cookie);
                return;
        }
        listing->error = fs_entry(listing->fs, node, &entry);
        if (listing->error == 0)
                listing_put(listing, dentry->name, &entry, dentry->cookie);
}

static void listing_fill(struct listing *listing, uint64_t after) {
        struct tree *tree = listing->fs->parts.tree;
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

/* The files of .ctl: their cookies are their kinds, after the two dots. */
static void listing_fill_ctl(struct listing *listing, uint64_t after) {
        struct fs *fs = listing->fs;
        struct stat st;

        fs_ctl_attributes(fs, CTL_DIR, listing->dir, &st);
        if (!listing_put_dots(listing, after, st.st_ino, listing->dir->ino))
                return;
        for (enum ctl_kind kind = CTL_DIR + 1; kind < _CTL_N; kind++) {
                const char *name = ctl_name(kind);
                uint64_t cookie = COOKIE_DOT_DOT + kind;

                if (cookie <= after ||
                    ctl_lookup(fs->parts.ctl, listing->dir, name, strlen(name)) != kind)
                        continue;
                if (!listing_fits(listing, name))
                        return;
                fs_ctl_attributes(fs, kind, listing->dir, &st);
                listing_put_plain(listing, name, st.st_ino, st.st_mode, cookie);
        }
}

static void fs_list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus) {
        struct fs *fs = fs_of(req);
        size_t most = plus ? FS_READDIRPLUS_MAX : FS_BUFFER_SIZE;
        struct listing listing = {
                .req = req,
                .fs = fs,
                .dir = fs_node(fs, ino),
                .plus = plus,
                .size = size < most ? size : most,
        };

        if (!listing.dir) {
                fuse_reply_err(req, ESTALE);
                return;
        }
        if (fs_kind(ino) == CTL_DIR)
                listing_fill_ctl(&listing, (uint64_t)offset);
        else
                listing_fill(&listing, (uint64_t)offset);
        if (listing.error < 0 && listing.used == 0)
                fuse_reply_err(req, -listing.error);
        else
                fuse_reply_buf(req, fs->buffer, listing.used);
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi) {
        (void)fi;
        fs_list(req, ino, size, offset, false);
}

void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi) {
        (void)fi;
        fs_list(req, ino, size, offset, true);
}
