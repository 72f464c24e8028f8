/* SPDX-License-Identifier: MIT */
#include "memory/region.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "memory/access_time.h"
#include "memory/backing.h"
#include "memory/descriptor.h"
#include "memory/file.h"
#include "memory/region_private.h"
#include "memory/store.h"

enum {
        PAGE = 4096,
        WINDOW_LEAST = 4 * PAGE, /* bytes; for less, pwrite(2) is as fast as finding a window */
        WRITE_TAIL = 64,         /* bytes */
        LOOK_AT_ONCE = 64,       /* files that one regions_look_at_asking() visits */
        EXTENTS_MAX = 4096,      /* of a file, that are counted for a write or fallocate(2) */
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
        if (r == 0)
                r = quota_new(&regions->quota, journal);
        if (r < 0) {
                regions_free(regions);
                return r;
        }
        regions->journal = journal;
        regions->root = journal_root(journal);
        descriptor_init(journal);
        /* The kernel sends it when somebody opens a region during a lease probe. */
        signal(SIGIO, SIG_IGN);
        *out = regions;
        return 0;
}

struct regions *regions_free(struct regions *regions) {
        if (!regions)
                return NULL;
        quota_free(regions->quota);
        windows_free(regions->windows);
        free(regions);
        return NULL;
}

struct quota *regions_quota(const struct regions *regions) {
        return regions->quota;
}

/* Accounting */

/* What a region counts for, as it was last seen; see quota.h. */
static uint64_t region_charge(const struct node *node) {
        uint64_t size = node->flags & NODE_RESERVED ? page_round(node->size) : 0;
        uint64_t asked = node->asked > size ? node->asked : size;

        if (node->backing == BACKING_TMPFS)
                return asked > node->blocks ? asked - node->blocks : 0;
        /* fallocate(2) can allocate beyond the end. */
        return asked > node->blocks ? asked : node->blocks;
}

/* Records what fstat(2) returned. */
static void region_note(struct regions *regions, struct node *node, const struct stat *st) {
        uint64_t size = (uint64_t)st->st_size, blocks = (uint64_t)st->st_blocks * 512;
        uint64_t charge;

        if (node->size != size)
                JOURNAL_SET(regions->journal, node->size, size);
        if (node->blocks != blocks)
                JOURNAL_SET(regions->journal, node->blocks, blocks);
        charge = region_charge(node);
        /* A memfd that could not be cut back counts what it had reserved, or what it takes. */
        if (node->backing == BACKING_MEMFD && charge > node->charge)
                charge = node->charge > blocks ? node->charge : blocks;
        quota_set_charge(regions->quota, node, charge);
}

static void region_cut_back(struct regions *regions, struct node *node, struct stat *st);

/* Reads the attributes, and brings the record up to date. */
static int region_look(struct regions *regions, struct node *node, struct stat *st) {
        int r = file_stat(regions->journal, node, st);

        if (r < 0)
                return r;
        region_cut_back(regions, node, st);
        region_note(regions, node, st);
        return 0;
}

unsigned int regions_look_at_asking(struct regions *regions, uint32_t limit) {
        unsigned int looked = 0;
        uint32_t first = 0;
        struct stat st;

        while (looked < LOOK_AT_ONCE && !journal_is_nearly_full(regions->journal)) {
                struct node *node = quota_next_asking(regions->quota, limit);

                if (!node || node->id == first)
                        break;
                region_look(regions, node, &st);
                looked++;
                /* One that asks for nothing any more has left the list. */
                if (first == 0 && node->charge > 0)
                        first = node->id;
        }
        return looked;
}

/* Reserves the charge; if it does not fit, looks at what others have asked for, and tries again. */
static int region_reserve(struct regions *regions, struct node *node, uint64_t charge) {
        int r;

        if (charge <= node->charge)
                return 0;
        r = quota_reserve(regions->quota, node, charge);
        if (r != -ENOSPC)
                return r;
        regions_look_at_asking(regions, node->limit);
        return quota_reserve(regions->quota, node, charge);
}

int regions_charge_link(struct regions *regions, struct node *link) {
        return link->text_length < LAYOUT_TARGET_LEAST ? 0 : region_reserve(regions, link, PAGE);
}

void regions_uncharge_link(struct regions *regions, struct node *link) {
        quota_set_charge(regions->quota, link, 0);
}

/* Growth that nobody has asked us for */

uint64_t region_room(struct regions *regions, const struct node *node) {
        uint64_t left = quota_left(regions->quota, node->limit);

        if (left == UINT64_MAX)
                return REGION_MAX;
        return node->charge + left / PAGE * PAGE;
}

/*
 * The size that a region keeps which is larger than what can be reserved: the data that follow what
 * it has reserved, as far as there is room.  A byte far behind does not take all that is left.
 */
static uint64_t region_kept_size(struct regions *regions, const struct node *node, uint64_t size) {
        uint64_t room = region_room(regions, node), end = size;
        off_t hole;

        if ((node->flags & NODE_RESERVED) && size > node->charge) {
                hole = lseek(node->fd, (off_t)node->charge, SEEK_HOLE);
                end = hole < (off_t)node->charge ? node->charge : (uint64_t)hole;
        }
        return end < room ? end : room;
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

/* Whether all that the region has is charged, or could be charged now. */
static bool region_fits(struct regions *regions, struct node *node, const struct stat *st) {
        uint64_t blocks = (uint64_t)st->st_blocks * 512;
        struct node now = *node;

        now.size = (uint64_t)st->st_size;
        /*
         * The holder of a descriptor has to reserve what lies behind the end before allocating it.
         * Without one, only fallocate(2) through us puts pages there; a later write that fills a
         * hole makes the file have more than its size.
         */
        now.blocks = blocks;
        if ((node->flags & NODE_EXPORTED) && blocks > page_round(now.size))
                now.blocks = page_round(now.size);
        return region_reserve(regions, node, region_charge(&now)) == 0 && blocks <= node->charge;
}

/*
 * A memfd can grow without our knowing, by write(2) through passthrough, and by its owner's
 * descriptor.  A size that cannot be reserved is cut off, and so is what was allocated behind the
 * end without being reserved first.  This never fails: whatever the owner does, the region can be
 * looked up and removed.
 */
static void region_cut_back(struct regions *regions, struct node *node, struct stat *st) {
        uint64_t size = (uint64_t)st->st_size, kept;

        if (node->backing != BACKING_MEMFD || region_fits(regions, node, st))
                return;
        /* It was cut already, as far as that is possible. */
        if ((node->seals & F_SEAL_SHRINK) && (uint64_t)st->st_blocks * 512 <= node->charge)
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

/* The end of a transaction */

void regions_commit(struct regions *regions) {
        store_keep_made(regions->journal);
        regions->n_owned = 0;
        quota_commit(regions->quota);
}

void regions_abort(struct regions *regions) {
        store_undo_made(regions->journal);
        for (; regions->n_owned > 0; regions->n_owned--) {
                uint32_t id = regions->owned[regions->n_owned - 1];
                struct node *node = journal_get(regions->journal, TABLE_NODE, id);

                if (node && node->id == id && node_has_memory(node))
                        region_set_owner(regions, node);
        }
        quota_abort(regions->quota);
}

/* Making and releasing */

bool regions_are_kept(const struct regions *regions) {
        return regions->root->settings.keep && regions->root->passthrough;
}

/* Makes a memfd.  Its descriptor gets a number that the record keeps.  0 or negative errno. */
static int region_make_memfd(struct regions *regions, struct node *node, uint64_t size) {
        int number = descriptor_new(regions->journal, node->id), r;

        if (number < 0)
                return number;
        r = backing_memfd(number, size);
        if (r < 0)
                return r;
        journal_touch(regions->journal, node, sizeof(*node));
        r = regions_are_kept(regions) ? backing_handle(number, &node->handle) : 0;
        if (r < 0) {
                close(number);
                return r;
        }
        node->fd = number;
        node->size = size;
        return 0;
}

int region_create(struct regions *regions, struct node *node, uint64_t size) {
        int r;

        if (size > REGION_MAX)
                return -EFBIG;
        JOURNAL_SET(regions->journal, node->flags, node->flags | NODE_RESERVED);
        JOURNAL_SET(regions->journal, node->backing, BACKING_MEMFD);
        r = region_reserve(regions, node, page_round(size));
        return r < 0 ? r : region_make_memfd(regions, node, size);
}

int regions_prepare(struct regions *regions) {
        int r = quota_tmpfs(regions->quota, LAYOUT_MOUNT_LIMIT);

        return r < 0 ? r : 0;
}

int region_create_growable(struct regions *regions, struct node *node) {
        int r;

        /* The private tmpfs cannot be asked for huge pages. */
        if (!regions->root->passthrough || (node->flags & NODE_HUGE)) {
                JOURNAL_SET(regions->journal, node->backing, BACKING_MEMFD);
                return region_make_memfd(regions, node, 0);
        }
        r = quota_tmpfs(regions->quota, node->limit);
        if (r < 0)
                return r;
        JOURNAL_SET(regions->journal, node->backing, BACKING_TMPFS);
        return store_make(regions->journal, limit_of_bytes(regions->journal, node->limit), node);
}

bool regions_name_files(const struct regions *regions) {
        return regions->root->passthrough && !regions->root->settings.huge;
}

void region_release(struct regions *regions, struct node *node) {
        if (node->backing == BACKING_NONE)
                return;
        windows_forget(regions->windows, node->id);
        journal_touch(regions->journal, node, sizeof(*node));
        node->blocks = 0;
        quota_set_charge(regions->quota, node, 0);
        node->backing = BACKING_NONE;
        node->store = 0;
        node->fd = -1;
        node->backing_id = 0;
        node->size = 0;
}

/* Changes */

/* A size beyond the physical address space is EFBIG; one that is merely too large now is ENOSPC. */
static int region_check_size(uint64_t size) {
        return size > REGION_MAX ? -EFBIG : 0;
}

/* What the region will have asked for when it has this size. */
static uint64_t region_will_ask(const struct node *node, uint64_t size) {
        uint64_t bytes = page_round(size);

        if (node->flags & (NODE_RESERVED | NODE_SPARSE))
                return 0;
        return size >= node->size || bytes < node->asked ? bytes : node->asked;
}

/* Checks and reserves what a larger size asks for. */
static int region_ask(struct regions *regions, struct node *node, uint64_t size) {
        struct node then = *node;
        int r;

        then.size = size;
        then.asked = region_will_ask(node, size);
        r = region_reserve(regions, node, region_charge(&then));
        /* It has this size: it was written, or the worker died after it had changed the size. */
        if (r == -ENOSPC && size == node->size)
                return 0;
        if (r == 0 && node->asked != then.asked)
                JOURNAL_SET(regions->journal, node->asked, then.asked);
        return r;
}

int region_resize(struct regions *regions, struct node *node, uint64_t size) {
        struct stat st;
        int r;

        r = region_look(regions, node, &st);
        if (r < 0)
                return r;
        if ((size < node->size && (node->seals & F_SEAL_SHRINK)) ||
            (size > node->size && (node->seals & F_SEAL_GROW)))
                return -EPERM;
        r = region_check_size(size);
        if (r == 0)
                r = region_ask(regions, node, size);
        if (r < 0)
                return r;
        if (size < node->size)
                windows_forget(regions->windows, node->id);
        if (fault_strikes(FAULT_TRUNCATE))
                return -EIO;
        r = file_truncate(regions->journal, node, size);
        return r < 0 ? r : region_look(regions, node, &st);
}

/*
 * The bytes without memory among the pages of [from, to).  *full: how far one gets from there with
 * `most` bytes.  In a file of very many pieces the rest counts as having no memory.
 */
static uint64_t region_lacks(const struct node *node, uint64_t from, uint64_t to, uint64_t most,
                             uint64_t *full) {
        uint64_t lacks = 0, at = from / PAGE * PAGE, end = page_round(to);

        for (int i = 0; i < EXTENTS_MAX && at < end && lacks <= most; i++) {
                off_t data = lseek(node->fd, (off_t)at, SEEK_DATA), hole;
                uint64_t next = data < 0 || (uint64_t)data > end ? end : (uint64_t)data;

                lacks += next - at;
                at = next;
                hole = at < end && lacks <= most ? lseek(node->fd, (off_t)at, SEEK_HOLE) : -1;
                if (hole >= 0)
                        at = (uint64_t)hole < end ? (uint64_t)hole : end;
        }
        if (lacks > most) {
                *full = at - (lacks - most);
                return lacks;
        }
        lacks += end - at;
        *full = lacks > most ? end - (lacks - most) : end;
        return lacks;
}

/* Whether the file has all pages from `from` to `to`, or to its end. */
static bool region_is_full(const struct node *node, uint64_t from, uint64_t to) {
        off_t hole = lseek(node->fd, (off_t)from, SEEK_HOLE);

        return hole >= 0 && ((uint64_t)hole >= to || (uint64_t)hole >= node->size);
}

/*
 * The same as an upper bound.  A file that has as many pages as its size takes has no holes, unless
 * fallocate(2) has made pages behind its end.  Those that it has made inside look like holes until
 * they are written to.  So holes are counted if there is room for them (trusting: false).
 */
static uint64_t region_may_lack(const struct node *node, uint64_t from, uint64_t to,
                                bool trusting) {
        uint64_t first = from / PAGE * PAGE, end = page_round(to), size = page_round(node->size);

        if (node->blocks >= size && first < size && (trusting || region_is_full(node, first, end)))
                first = size;
        return end > first ? end - first : 0;
}

/* The bytes that the region's pages can still take: what is left, and what it has asked for. */
static uint64_t region_can_take(const struct regions *regions, const struct node *node) {
        uint64_t left = quota_left(regions->quota, node->limit);
        uint64_t own = node->backing == BACKING_TMPFS ? node->charge : node->charge - node->blocks;

        return left > UINT64_MAX - own ? UINT64_MAX : left + own;
}

/*
 * The bytes that the region counts for when [offset, end) has memory.  Pages that were allocated but
 * not written look like holes, so that this can be too much.
 */
static uint64_t region_allocated_then(struct regions *regions, const struct node *node,
                                      uint64_t offset, uint64_t end) {
        uint64_t size = page_round(end > node->size ? end : node->size), full;
        uint64_t lacks = region_may_lack(node, offset, end, false);

        if (node->flags & NODE_RESERVED)
                return page_round(end);
        if (lacks > region_can_take(regions, node)) {
                regions_look_at_asking(regions, node->limit);
                lacks = region_may_lack(node, offset, end, true);
        }
        if (lacks > region_can_take(regions, node)) {
                lacks = region_lacks(node, offset, end, UINT64_MAX, &full);
        }
        return node->blocks < size && lacks > size - node->blocks ? size : node->blocks + lacks;
}

/* The kernel keeps the limit of the tmpfs; refuses at once what cannot fit in any case. */
static int region_check_allocation(struct regions *regions, const struct node *node,
                                   uint64_t length) {
        uint64_t least = length > node->blocks ? length - node->blocks : 0;

        if (least <= region_can_take(regions, node))
                return 0;
        regions_look_at_asking(regions, node->limit);
        return least <= region_can_take(regions, node) ? 0 : -ENOSPC;
}

int region_fallocate_begin(struct regions *regions, struct node *node, int mode, uint64_t offset,
                           uint64_t length) {
        uint64_t end = offset + length, then;
        struct stat st;
        int r;

        if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
                return -EOPNOTSUPP;
        if (!node_has_memory(node))
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
        if (node->backing == BACKING_TMPFS)
                return region_check_allocation(regions, node, length);
        /* A memfd asks for the memory until it has it. */
        then = region_allocated_then(regions, node, offset, end);
        r = region_reserve(regions, node, then);
        if (r == 0 && then > node->asked)
                JOURNAL_SET(regions->journal, node->asked, then);
        return r;
}

void region_fallocate_end(struct regions *regions, struct node *node, uint64_t asked) {
        if (node->backing != BACKING_TMPFS && node->asked > asked)
                JOURNAL_SET(regions->journal, node->asked, asked);
}

/* Reserves memory for a write to the pages of [offset, offset + size), or for the part that fits. */
static int region_reserve_pages(struct regions *regions, struct node *node, uint64_t offset,
                                size_t *size) {
        uint64_t lacks = region_may_lack(node, offset, offset + *size, false), most, full;

        if (lacks > region_can_take(regions, node))
                regions_look_at_asking(regions, node->limit);
        most = region_can_take(regions, node);
        if (lacks > most)
                lacks = region_may_lack(node, offset, offset + *size, true);
        if (lacks > most) {
                lacks = region_lacks(node, offset, offset + *size, most / PAGE * PAGE, &full);
                if (full <= offset)
                        return -ENOSPC;
                if (lacks > most) {
                        lacks = most / PAGE * PAGE;
                        *size = (size_t)(full - offset);
                }
        }
        if (node->blocks + lacks <= node->charge)
                return 0;
        return quota_reserve(regions->quota, node, node->blocks + lacks);
}

/* The same for a region whose size counts. */
static int region_reserve_size(struct regions *regions, struct node *node, uint64_t offset,
                               size_t *size) {
        uint64_t room;
        int r;

        r = region_reserve(regions, node, page_round(offset + *size));
        if (r != -ENOSPC)
                return r;
        room = region_room(regions, node);
        if (room <= offset)
                return r;
        *size = (size_t)(room - offset);
        return region_reserve(regions, node, room);
}

int region_reserve_write(struct regions *regions, struct node *node, uint64_t offset,
                         size_t *size) {
        uint64_t end = offset + *size;

        if (!node_has_memory(node))
                return -ESTALE;
        if (node->seals & F_SEAL_WRITE || (end > node->size && (node->seals & F_SEAL_GROW)))
                return -EPERM;
        if (region_check_size(end) < 0)
                return -EFBIG;
        /* The kernel keeps the limit of the tmpfs. */
        if (node->backing == BACKING_TMPFS || *size == 0)
                return 0;
        return node->flags & NODE_RESERVED ? region_reserve_size(regions, node, offset, size)
                                           : region_reserve_pages(regions, node, offset, size);
}

void region_wrote(struct regions *regions, struct node *node) {
        struct stat st;

        if (!(node->flags & NODE_RESERVED))
                region_look(regions, node, &st);
}

/* Others can seal or cut an exported region; and a file that is no memfd may have no room. */
static bool region_has_windows(const struct node *node) {
        return node->backing == BACKING_MEMFD && !(node->flags & NODE_EXPORTED);
}

/* Writes a piece that lies within one window. */
static ssize_t region_write_piece(struct regions *regions, const struct node *node, int fd,
                                  const char *bytes, size_t size, uint64_t offset) {
        bool windowed = size >= WINDOW_LEAST && region_has_windows(node);
        size_t copied = 0;
        ssize_t n;

        if (windowed &&
            windows_copy(regions->windows, node->id, fd, bytes, size - WRITE_TAIL, offset))
                copied = size - WRITE_TAIL;
        /* pwrite(2) updates mtime; a store into the mapping does not. */
        n = pwrite(fd, bytes + copied, size - copied, (off_t)(offset + copied));
        if (n < 0)
                return copied > 0 ? (ssize_t)copied : -errno;
        if (windowed)
                windows_wrote(regions->windows, node->id, copied + (size_t)n, offset);
        return (ssize_t)copied + n;
}

ssize_t region_write(struct regions *regions, const struct node *node, const char *bytes,
                     size_t size, uint64_t offset) {
        int fd = file_use(regions->journal, node);
        size_t done = 0;
        ssize_t n = fd;

        while (fd >= 0 && done < size) {
                uint64_t at = offset + done;
                size_t left = WINDOW_SIZE - at % WINDOW_SIZE;
                size_t piece = size - done < left ? size - done : left;

                n = region_write_piece(regions, node, fd, bytes + done, piece, at);
                if (n > 0)
                        done += (size_t)n;
                if (n < (ssize_t)piece)
                        break;
        }
        file_unuse(node, fd);
        return n < 0 && done == 0 ? n : (ssize_t)done;
}

int region_stat(struct regions *regions, struct node *node, struct stat *st) {
        int r;

        if (!node_has_memory(node)) {
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
        access_time_show(regions->journal, node, st);
        return 0;
}
