/* SPDX-License-Identifier: MIT */
#include "memory/region.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "memory/backing.h"
#include "memory/region_private.h"

enum {
        PAGE = 4096,
        WINDOW_LEAST = 4 * PAGE, /* bytes; for less, pwrite(2) is as fast as finding a window */
        WRITE_TAIL = 64,         /* bytes */
        SEE_AT_ONCE = 4096,      /* records that one regions_see() visits */
};

static uint64_t page_round(uint64_t n) {
        return (n + PAGE - 1) / PAGE * PAGE;
}

int regions_new(struct regions **out, struct journal *journal) {
        struct regions *regions;
        int r;

        regions = calloc(1, sizeof(*regions));
        if (!regions)
                return -ENOMEM;
        r = windows_new(&regions->windows);
        if (r < 0) {
                free(regions);
                return r;
        }
        regions->journal = journal;
        regions->root = journal_root(journal);
        regions->new_tmpfs = -1;
        /* The worker before may have died before it set the limit. */
        regions->limit_stale = true;
        /* The kernel sends it when somebody opens a region during a lease probe. */
        signal(SIGIO, SIG_IGN);
        *out = regions;
        return 0;
}

struct regions *regions_free(struct regions *regions) {
        if (!regions)
                return NULL;
        windows_free(regions->windows);
        free(regions);
        return NULL;
}

/* Accounting */

static uint64_t *charge_sum(struct root *root, uint32_t backing) {
        return backing == BACKING_TMPFS ? &root->charged_tmpfs : &root->charged_memfd;
}

/* Sets the bytes that the region is charged for. */
static void region_set_charge(struct regions *regions, struct node *node, uint64_t charge) {
        uint64_t *sum = charge_sum(regions->root, node->backing);

        if (node->charge == charge)
                return;
        JOURNAL_SET(regions->journal, *sum, *sum - node->charge + charge);
        /* The private tmpfs gets what the region gives back, at the commit. */
        if (charge < node->charge && node->backing != BACKING_TMPFS &&
            regions->root->limit_bytes != 0)
                regions->limit_stale = true;
        JOURNAL_SET(regions->journal, node->charge, charge);
}

static void region_set_blocks(struct regions *regions, struct node *node, uint64_t blocks) {
        struct root *root = regions->root;

        if (node->blocks == blocks)
                return;
        if (node->backing == BACKING_TMPFS)
                JOURNAL_SET(regions->journal, root->tmpfs_blocks,
                            root->tmpfs_blocks - node->blocks + blocks);
        JOURNAL_SET(regions->journal, node->blocks, blocks);
}

/* What a region counts for.  fallocate(2) can allocate beyond the end. */
static uint64_t region_demand(const struct stat *st) {
        uint64_t size = page_round((uint64_t)st->st_size), blocks = (uint64_t)st->st_blocks * 512;

        return size > blocks ? size : blocks;
}

/* Records what fstat(2) returned. */
static void region_note(struct regions *regions, struct node *node, const struct stat *st) {
        uint64_t size = (uint64_t)st->st_size, blocks = (uint64_t)st->st_blocks * 512;
        uint64_t charge = region_demand(st);

        if (node->size != size)
                JOURNAL_SET(regions->journal, node->size, size);
        region_set_blocks(regions, node, blocks);
        /* A memfd that could not be cut back counts what it had reserved, or what it takes. */
        if (node->backing == BACKING_MEMFD && charge > node->charge)
                charge = node->charge > blocks ? node->charge : blocks;
        region_set_charge(regions, node, charge);
}

/* Bytes by which tmpfs files have grown since the records were brought up to date. */
static uint64_t tmpfs_unaccounted(const struct regions *regions) {
        uint64_t used;

        if (regions->root->tmpfs_fd < 0)
                return 0;
        used = backing_tmpfs_used(regions->root->tmpfs_fd);
        return used > regions->root->tmpfs_blocks ? used - regions->root->tmpfs_blocks : 0;
}

bool regions_have_unseen(const struct regions *regions) {
        return tmpfs_unaccounted(regions) > 0;
}

bool regions_see(struct regions *regions, uint32_t *at) {
        uint32_t high = journal_high(regions->journal, TABLE_NODE);
        uint32_t end = high - *at > SEE_AT_ONCE ? *at + SEE_AT_ONCE : high;
        struct stat st;

        while (*at < end && !journal_is_nearly_full(regions->journal)) {
                struct node *node = journal_get(regions->journal, TABLE_NODE, ++*at);

                if (node->id == *at && node_is_region(node) && node->backing == BACKING_TMPFS &&
                    node->fd >= 0 && (node->flags & (NODE_WRITTEN | NODE_EXPORTED)) &&
                    fstat(node->fd, &st) == 0)
                        region_note(regions, node, &st);
        }
        return *at < high;
}

static uint64_t regions_used(const struct regions *regions) {
        const struct root *root = regions->root;

        return root->charged_memfd + root->charged_tmpfs + tmpfs_unaccounted(regions);
}

static bool regions_fit(const struct regions *regions, uint64_t more) {
        uint64_t limit = regions->root->limit_bytes, used;

        if (limit == 0)
                return true;
        used = regions_used(regions);
        return used <= limit && more <= limit - used;
}

/* 0 if `more` bytes can be reserved, otherwise -ENOSPC. */
static int regions_reserve(struct regions *regions, uint64_t more) {
        return more == 0 || regions_fit(regions, more) ? 0 : -ENOSPC;
}

/* Limits the private tmpfs to what the memfds leave, so that the kernel stops its files from
 * growing. */
static int regions_limit_tmpfs(struct regions *regions, uint64_t limit, uint64_t memfds) {
        if (regions->root->tmpfs_fd < 0)
                return 0;
        if (fault_strikes(FAULT_LIMIT))
                return -ENOMEM;
        if (limit == 0)
                return backing_tmpfs_limit(regions->root->tmpfs_fd, UINT64_MAX);
        return backing_tmpfs_limit(regions->root->tmpfs_fd, limit > memfds ? limit - memfds : 0);
}

static void regions_sync_limit(struct regions *regions) {
        if (regions->limit_stale)
                regions_limit_tmpfs(regions, regions->root->limit_bytes,
                                    regions->root->charged_memfd);
        regions->limit_stale = false;
}

/* Reserves `charge` bytes in all for a node. */
static int region_reserve(struct regions *regions, struct node *node, uint64_t charge) {
        struct root *root = regions->root;
        int r;

        if (charge <= node->charge)
                return 0;
        r = regions_reserve(regions, charge - node->charge);
        if (r == 0 && node->backing != BACKING_TMPFS && root->limit_bytes != 0) {
                regions->limit_stale = true;
                r = regions_limit_tmpfs(regions, root->limit_bytes,
                                        root->charged_memfd + charge - node->charge);
        }
        if (r < 0)
                return r;
        region_set_charge(regions, node, charge);
        return 0;
}

/* Gives back what a region does not need any more.  The tmpfs limit follows at the commit. */
static void region_unreserve(struct regions *regions, struct node *node, uint64_t charge) {
        if (charge >= node->charge)
                return;
        region_set_charge(regions, node, charge);
}

int regions_charge_link(struct regions *regions, struct node *link) {
        return link->text_length < LAYOUT_TARGET_LEAST ? 0 : region_reserve(regions, link, PAGE);
}

void regions_uncharge_link(struct regions *regions, struct node *link) {
        region_unreserve(regions, link, 0);
}

void regions_space(struct regions *regions, struct space *out) {
        out->limit = regions->root->limit_bytes;
        out->used = regions_used(regions);
}

int regions_set_limit(struct regions *regions, uint64_t bytes) {
        struct space space;
        int r;

        regions_space(regions, &space);
        if (bytes != 0 && bytes < space.used)
                return -ENOSPC;
        regions->limit_stale = true;
        r = regions_limit_tmpfs(regions, bytes, regions->root->charged_memfd);
        if (r < 0)
                return r;
        JOURNAL_SET(regions->journal, regions->root->limit_bytes, bytes);
        return 0;
}

/* Growth that nobody has asked us for */

uint64_t region_room(struct regions *regions, const struct node *node) {
        struct space space;

        regions_space(regions, &space);
        if (space.limit == 0)
                return REGION_MAX;
        return node->charge +
               (space.limit > space.used ? space.limit - space.used : 0) / PAGE * PAGE;
}

/*
 * The size that a region keeps which is larger than what can be reserved: the data that follow what
 * it has reserved, as far as there is room.  A byte far behind does not take all that is left.
 */
static uint64_t region_kept_size(struct regions *regions, const struct node *node, uint64_t size) {
        uint64_t room = region_room(regions, node);
        off_t hole;

        if (size <= node->charge)
                return size;
        hole = lseek(node->fd, (off_t)node->charge, SEEK_HOLE);
        if (hole < 0 || (uint64_t)hole < node->charge)
                return node->charge;
        return (uint64_t)hole < room ? (uint64_t)hole : room;
}

/* Frees what the region has beyond its new size, and beyond its end. */
static int region_shrink(struct node *node, uint64_t size) {
        if (ftruncate(node->fd, (off_t)size) == 0)
                return 0;
        /* Sealed against shrinking.  Its size stays, but what was never reserved is freed. */
        return fallocate(node->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)node->charge,
                         INT64_MAX / PAGE * PAGE - (off_t)node->charge) < 0
                       ? -errno
                       : 0;
}

/*
 * A memfd can grow without our knowing, by write(2) through passthrough, and by its owner's
 * descriptor.  A size that cannot be reserved is cut off, and so is what was allocated behind the
 * end without being reserved first.  This never fails: whatever the owner does, the region can be
 * looked up and removed.
 */
static void region_cut_back(struct regions *regions, struct node *node, struct stat *st) {
        uint64_t size = (uint64_t)st->st_size, blocks = (uint64_t)st->st_blocks * 512, kept;

        if (node->backing != BACKING_MEMFD || region_demand(st) <= node->charge)
                return;
        if (region_reserve(regions, node, page_round(size)) == 0 && blocks <= node->charge)
                return;
        /* It was cut already, as far as that is possible. */
        if ((node->seals & F_SEAL_SHRINK) && blocks <= node->charge)
                return;
        windows_forget(regions->windows, node->id);
        kept = region_kept_size(regions, node, size);
        if (region_reserve(regions, node, page_round(kept)) < 0)
                kept = node->charge < size ? node->charge : size;
        if (region_shrink(node, kept) < 0 || fstat(node->fd, st) < 0)
                return;
        /* Somebody may still be writing.  What they add is cut at the next look. */
        if ((uint64_t)st->st_size > kept && !(node->seals & F_SEAL_SHRINK)) {
                st->st_size = (off_t)kept;
                st->st_blocks = (blkcnt_t)(page_round(kept) / 512);
        }
        JOURNAL_SET(regions->journal, node->size, (uint64_t)st->st_size);
        regions->root->counters.cut_back++;
        if (regions->on_cut)
                regions->on_cut(regions->on_cut_userdata, node);
}

void regions_on_cut(struct regions *regions, void (*fn)(void *userdata, struct node *node),
                    void *userdata) {
        regions->on_cut = fn;
        regions->on_cut_userdata = userdata;
}

/* Reads the attributes, and brings the record up to date. */
static int region_look(struct regions *regions, struct node *node, struct stat *st) {
        if (fstat(node->fd, st) < 0)
                return -errno;
        region_cut_back(regions, node, st);
        region_note(regions, node, st);
        return 0;
}

/* The end of a transaction */

void regions_commit(struct regions *regions) {
        regions->new_tmpfs = -1;
        regions->n_owned = 0;
        regions_sync_limit(regions);
}

void regions_abort(struct regions *regions) {
        if (regions->new_tmpfs >= 0)
                close(regions->new_tmpfs);
        regions->new_tmpfs = -1;
        for (; regions->n_owned > 0; regions->n_owned--) {
                uint32_t id = regions->owned[regions->n_owned - 1];
                struct node *node = journal_get(regions->journal, TABLE_NODE, id);

                if (node && node->id == id && node_is_region(node) && node->fd >= 0)
                        region_set_owner(node);
        }
        regions_sync_limit(regions);
}

/* Making and releasing */

bool regions_are_kept(const struct regions *regions) {
        return regions->root->settings.keep && regions->root->passthrough;
}

/* Makes the descriptor the node's.  If it cannot, closes it. */
static int region_adopt(struct regions *regions, struct node *node, int fd,
                        enum backing_kind backing) {
        int r;

        journal_touch(regions->journal, node, sizeof(*node));
        r = regions_are_kept(regions) ? backing_handle(fd, &node->handle) : 0;
        if (r < 0) {
                close(fd);
                return r;
        }
        node->fd = fd;
        node->backing = backing;
        node->flags &= ~(uint32_t)NODE_DETACHED;
        return 0;
}

int region_create(struct regions *regions, struct node *node, uint64_t size) {
        int fd, r;

        if (size > REGION_MAX)
                return -EFBIG;
        JOURNAL_SET(regions->journal, node->backing, BACKING_MEMFD);
        r = region_reserve(regions, node, page_round(size));
        if (r < 0)
                return r;
        fd = backing_memfd(size);
        if (fd < 0)
                return fd;
        r = region_adopt(regions, node, fd, BACKING_MEMFD);
        if (r == 0)
                node->size = size;
        return r;
}

/* Called when the first file needs it, because only then is it known whether there is
 * passthrough. */
static int regions_make_tmpfs(struct regions *regions) {
        struct root *root = regions->root;
        uint64_t left = root->limit_bytes > root->charged_memfd
                                ? root->limit_bytes - root->charged_memfd
                                : 0;
        int fd;

        fd = backing_tmpfs(root->limit_bytes == 0 ? UINT64_MAX : left);
        if (fd < 0)
                return fd;
        JOURNAL_SET(regions->journal, root->tmpfs_fd, fd);
        regions->new_tmpfs = fd;
        return 0;
}

int regions_prepare(struct regions *regions) {
        return regions->root->tmpfs_fd < 0 ? regions_make_tmpfs(regions) : 0;
}

int region_create_growable(struct regions *regions, struct node *node) {
        int fd, r;

        if (!regions->root->passthrough)
                return region_create(regions, node, 0);
        if (regions->root->tmpfs_fd < 0) {
                r = regions_make_tmpfs(regions);
                if (r < 0)
                        return r;
        }
        fd = backing_tmpfs_file(regions->root->tmpfs_fd);
        if (fd < 0)
                return fd;
        return region_adopt(regions, node, fd, BACKING_TMPFS);
}

int region_release(struct regions *regions, struct node *node, uint64_t *blocks) {
        int fd = node->fd;

        if (fd < 0)
                return -1;
        windows_forget(regions->windows, node->id);
        *blocks = node->blocks;
        region_set_blocks(regions, node, 0);
        region_unreserve(regions, node, 0);
        JOURNAL_SET(regions->journal, node->fd, -1);
        JOURNAL_SET(regions->journal, node->backing_id, 0);
        JOURNAL_SET(regions->journal, node->size, 0);
        return fd;
}

/* Changes */

/* A size beyond the physical address space is EFBIG; one that is merely too large now is ENOSPC. */
static int region_check_size(uint64_t size) {
        return size > REGION_MAX ? -EFBIG : 0;
}

int region_resize(struct regions *regions, struct node *node, uint64_t size) {
        struct stat st;
        int r;

        if (node->fd < 0)
                return -ESTALE;
        r = region_look(regions, node, &st);
        if (r < 0)
                return r;
        if ((size < node->size && (node->seals & F_SEAL_SHRINK)) ||
            (size > node->size && (node->seals & F_SEAL_GROW)))
                return -EPERM;
        r = region_check_size(size);
        if (r == 0)
                r = region_reserve(regions, node, page_round(size));
        if (r < 0)
                return r;
        if (size < node->size)
                windows_forget(regions->windows, node->id);
        if (fault_strikes(FAULT_TRUNCATE))
                return -EIO;
        if (ftruncate(node->fd, (off_t)size) < 0)
                return -errno;
        return region_look(regions, node, &st);
}

int region_fallocate_begin(struct regions *regions, struct node *node, int mode, uint64_t offset,
                           uint64_t length) {
        uint64_t end = offset + length;
        struct stat st;
        int r;

        if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
                return -EOPNOTSUPP;
        if (node->fd < 0)
                return -ESTALE;
        if (mode & FALLOC_FL_PUNCH_HOLE) {
                windows_forget(regions->windows, node->id);
                return node->seals & F_SEAL_WRITE ? -EPERM : 0;
        }
        if (end < offset || region_check_size(end) < 0)
                return -EFBIG;
        r = region_look(regions, node, &st);
        if (r < 0)
                return r;
        if (end > node->size && !(mode & FALLOC_FL_KEEP_SIZE) && (node->seals & F_SEAL_GROW))
                return -EPERM;
        return region_reserve(regions, node, page_round(end));
}

int region_reserve_write(struct regions *regions, struct node *node, uint64_t end) {
        int r;

        if (node->fd < 0)
                return -ESTALE;
        if (node->seals & F_SEAL_WRITE || (end > node->size && (node->seals & F_SEAL_GROW)))
                return -EPERM;
        r = region_check_size(end);
        return r < 0 ? r : region_reserve(regions, node, page_round(end));
}

/* Others can seal or cut an exported region; and a file that is no memfd may have no room. */
static bool region_has_windows(const struct node *node) {
        return node->backing == BACKING_MEMFD && !(node->flags & NODE_EXPORTED);
}

/* Writes a piece that lies within one window. */
static ssize_t region_write_piece(struct regions *regions, const struct node *node,
                                  const char *bytes, size_t size, uint64_t offset) {
        bool windowed = size >= WINDOW_LEAST && region_has_windows(node);
        size_t copied = 0;
        ssize_t n;

        if (windowed &&
            windows_copy(regions->windows, node->id, node->fd, bytes, size - WRITE_TAIL, offset))
                copied = size - WRITE_TAIL;
        /* pwrite(2) updates mtime; a store into the mapping does not. */
        n = pwrite(node->fd, bytes + copied, size - copied, (off_t)(offset + copied));
        if (n < 0)
                return copied > 0 ? (ssize_t)copied : -errno;
        if (windowed)
                windows_wrote(regions->windows, node->id, copied + (size_t)n, offset);
        return (ssize_t)copied + n;
}

ssize_t region_write(struct regions *regions, const struct node *node, const char *bytes,
                     size_t size, uint64_t offset) {
        size_t done = 0;

        while (done < size) {
                uint64_t at = offset + done;
                size_t left = WINDOW_SIZE - at % WINDOW_SIZE;
                size_t piece = size - done < left ? size - done : left;
                ssize_t n = region_write_piece(regions, node, bytes + done, piece, at);

                if (n < 0)
                        return done > 0 ? (ssize_t)done : n;
                done += (size_t)n;
                if ((size_t)n < piece)
                        break;
        }
        return (ssize_t)done;
}

int region_stat(struct regions *regions, struct node *node, struct stat *st) {
        int r;

        if (node->fd < 0) {
                *st = (struct stat){0};
                st->st_atim = (struct timespec){node->atime.sec, node->atime.nsec};
                st->st_mtim = (struct timespec){node->mtime.sec, node->mtime.nsec};
                st->st_ctim = (struct timespec){node->ctime.sec, node->ctime.nsec};
                return 0;
        }
        r = region_look(regions, node, st);
        if (r < 0)
                return r;
        region_note_seals(regions, node);
        region_note_setid(regions, node, st);
        return 0;
}

int region_utimens(struct regions *regions, struct node *node, const struct timespec times[2]) {
        (void)regions;
        if (node->fd < 0)
                return -ESTALE;
        return futimens(node->fd, times) < 0 ? -errno : 0;
}
