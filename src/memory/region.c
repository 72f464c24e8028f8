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
#include "memory/window.h"

enum {
        PAGE = 4096,
        WINDOW_LEAST = 4 * PAGE, /* bytes; for less, pwrite(2) is as fast as finding a window */
        WRITE_TAIL = 64,         /* bytes */
        OWNED_MAX = 8,
        ATIME_RELATIVE_S = 86400, /* relatime moves a time of access that is so old */
        SEE_AT_ONCE = 4096,       /* records that one regions_see() visits */
};

struct regions {
        struct journal *journal;
        struct root *root;
        struct windows *windows;

        /* Work for the end of the transaction. */
        bool limit_stale; /* the limit of the private tmpfs has to be set to what the records say */
        int new_tmpfs;    /* the private tmpfs that this transaction made, or -1 */
        uint32_t owned[OWNED_MAX]; /* regions whose backing files got another owner or mode */
        unsigned int n_owned;
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

/* Sets owner and permissions of the backing file to those of the node. */
static int backing_own(const struct node *node) {
        mode_t mode = node->mode & 07777;
        struct stat st;

        /* fstat(2) is cheaper than fchown(2), and root's new files need no change. */
        if (fstat(node->fd, &st) == 0 && st.st_uid == node->uid && st.st_gid == node->gid &&
            (st.st_mode & 07777) == mode)
                return 0;
        if (fchown(node->fd, node->uid, node->gid) < 0) {
                if (errno != EPERM)
                        return -errno;
                /* The user who runs the daemon owns the file.  The node's permissions would let
                 * other people open a descriptor again that they were given for reading only. */
                mode = 0600 | (mode & (S_ISUID | S_ISGID)); /* see region_note_setid() */
        }
        return fchmod(node->fd, mode) < 0 ? -errno : 0;
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

/* Records what fstat(2) returned. */
static void region_note(struct regions *regions, struct node *node, const struct stat *st) {
        uint64_t size = (uint64_t)st->st_size, blocks = (uint64_t)st->st_blocks * 512;
        uint64_t charge = page_round(size);

        if (node->size != size)
                JOURNAL_SET(regions->journal, node->size, size);
        region_set_blocks(regions, node, blocks);
        /* fallocate(2) can allocate beyond the end. */
        region_set_charge(regions, node, charge > blocks ? charge : blocks);
}

static int region_look(struct regions *regions, struct node *node, struct stat *st) {
        if (fstat(node->fd, st) < 0)
                return -errno;
        region_note(regions, node, st);
        return 0;
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
                    node->fd >= 0 && (node->flags & (NODE_WRITTEN | NODE_EXPORTED)))
                        region_look(regions, node, &st);
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

/* Reserves `charge` bytes in all for a memfd region. */
static int region_reserve(struct regions *regions, struct node *node, uint64_t charge) {
        struct root *root = regions->root;
        int r;

        if (charge <= node->charge)
                return 0;
        r = regions_reserve(regions, charge - node->charge);
        if (r == 0 && node->backing == BACKING_MEMFD && root->limit_bytes != 0) {
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
        if (node->backing == BACKING_MEMFD && regions->root->limit_bytes != 0)
                regions->limit_stale = true;
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
                        backing_own(node);
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
        uint64_t before = node->charge;
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
        r = region_look(regions, node, &st);
        if (r == 0 && node->charge < before && node->backing == BACKING_MEMFD &&
            regions->root->limit_bytes != 0)
                regions->limit_stale = true;
        return r;
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

uint64_t region_room(struct regions *regions, const struct node *node) {
        struct space space;

        regions_space(regions, &space);
        if (space.limit == 0)
                return REGION_MAX;
        return node->charge +
               (space.limit > space.used ? space.limit - space.used : 0) / PAGE * PAGE;
}

/*
 * Files grow without our knowing: memfds by write(2) through passthrough or an exported descriptor.
 * What lies beyond the limit is cut off: it was never reserved.
 */
static int region_cut_back(struct regions *regions, struct node *node, struct stat *st) {
        uint64_t now = page_round((uint64_t)st->st_size), room;

        if (node->backing != BACKING_MEMFD || now <= node->charge)
                return 0;
        if (region_reserve(regions, node, now) == 0)
                return 0;
        room = region_room(regions, node);
        region_reserve(regions, node, room);
        /* Sealed against shrinking: charge the size as it is, because a lookup or an rm must not
         * fail here. */
        if (ftruncate(node->fd, (off_t)room) < 0)
                return errno == EPERM ? 0 : -errno;
        regions->root->counters.cut_back++;
        if (fstat(node->fd, st) < 0)
                return -errno;
        /* Somebody may still be writing.  What they add is cut at the next look. */
        if (st->st_size > (off_t)room) {
                st->st_size = (off_t)room;
                st->st_blocks = (blkcnt_t)(room / 512);
        }
        return 0;
}

/* A process that got a writable descriptor of an unsealed memfd can seal it. */
static void region_note_seals(struct regions *regions, struct node *node) {
        int seals;

        if (node->backing != BACKING_MEMFD || !(node->flags & NODE_EXPORTED))
                return;
        seals = fcntl(node->fd, F_GET_SEALS);
        if (seals < 0)
                return;
        seals &= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        if (node->seals != (uint32_t)seals)
                JOURNAL_SET(regions->journal, node->seals, (uint32_t)seals);
}

/* A write through an exported descriptor clears set-user-id bits of the backing file; follow it. */
static void region_note_setid(struct regions *regions, struct node *node, const struct stat *st) {
        uint32_t lost = node->mode & (S_ISUID | S_ISGID) & ~st->st_mode;

        if (lost && (node->flags & NODE_EXPORTED))
                JOURNAL_SET(regions->journal, node->mode, node->mode & ~lost);
}

static bool is_later(struct timespec a, struct stamp b) {
        return a.tv_sec != b.sec ? a.tv_sec > b.sec : a.tv_nsec > b.nsec;
}

/* Whether a read moves this time of access, with relatime. */
static bool relatime_moves(const struct node *node, const struct stat *st) {
        const struct timespec shown = {node->atime.sec, node->atime.nsec};

        return !is_later(shown, (struct stamp){st->st_mtim.tv_sec, st->st_mtim.tv_nsec}) ||
               !is_later(shown, (struct stamp){st->st_ctim.tv_sec, st->st_ctim.tv_nsec}) ||
               !is_later(shown, node->ctime) ||
               st->st_atim.tv_sec - shown.tv_sec >= ATIME_RELATIVE_S;
}

/* The kernel moves the time of access of our files at each read.  So what is shown, which depends on
 * the options of the mount, is in the record. */
static void region_note_atime(struct regions *regions, struct node *node, struct stat *st) {
        uint32_t mode = regions->root->settings.atime;

        if (mode == ATIME_STRICT)
                return;
        if (mode == ATIME_RELATIVE && is_later(st->st_atim, node->atime) &&
            relatime_moves(node, st))
                JOURNAL_SET(regions->journal, node->atime,
                            ((struct stamp){st->st_atim.tv_sec, st->st_atim.tv_nsec}));
        st->st_atim = (struct timespec){node->atime.sec, node->atime.nsec};
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
        if (fstat(node->fd, st) < 0)
                return -errno;
        r = region_cut_back(regions, node, st);
        if (r < 0)
                return r;
        region_note(regions, node, st);
        region_note_seals(regions, node);
        region_note_setid(regions, node, st);
        region_note_atime(regions, node, st);
        return 0;
}

int region_utimens(struct regions *regions, struct node *node, const struct timespec times[2]) {
        struct stat st;

        if (node->fd < 0)
                return -ESTALE;
        if (futimens(node->fd, times) < 0 || fstat(node->fd, &st) < 0)
                return -errno;
        if (times[0].tv_nsec != UTIME_OMIT)
                JOURNAL_SET(regions->journal, node->atime,
                            ((struct stamp){st.st_atim.tv_sec, st.st_atim.tv_nsec}));
        return 0;
}

int region_own(struct regions *regions, struct node *node) {
        if (node->fd < 0)
                return 0;
        if (fault_strikes(FAULT_OWN))
                return -EIO;
        if (regions->n_owned < OWNED_MAX)
                regions->owned[regions->n_owned++] = node->id;
        return backing_own(node);
}

int region_seal(struct regions *regions, struct node *node, unsigned int seals) {
        if (seals & ~(unsigned int)(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
                return -EINVAL;
        if (node->fd < 0)
                return -ESTALE;
        if (node->backing != BACKING_MEMFD)
                return -EOPNOTSUPP;
        if ((seals & F_SEAL_WRITE) && !(node->seals & F_SEAL_WRITE) &&
            (node->writers > 0 ||
             ((node->flags & NODE_EXPORTED) && region_has_other_users(regions, node))))
                return -EBUSY;
        windows_forget(regions->windows, node->id);
        JOURNAL_SET(regions->journal, node->seals, node->seals | seals);
        if (fault_strikes(FAULT_SEAL))
                return -EIO;
        return fcntl(node->fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

/* An unprivileged daemon may lack permission to reopen its own file. */
static int region_reopen_own(const struct node *node, int flags) {
        int fd, r;

        if (fchmod(node->fd, 0600) < 0)
                return -errno;
        fd = backing_reopen(node->fd, flags);
        r = backing_own(node);
        if (r < 0 && fd >= 0) {
                close(fd);
                return r;
        }
        return fd;
}

int region_export(struct regions *regions, struct node *node, int flags, bool owner) {
        bool writable = (flags & O_ACCMODE) != O_RDONLY;
        int fd;

        if (node->fd < 0)
                return -ESTALE;
        /* The process that gets it may want to seal the region. */
        windows_forget(regions->windows, node->id);
        fd = backing_reopen(node->fd, flags);
        if (fd == -EACCES)
                fd = region_reopen_own(node, flags);
        if (fd < 0)
                return fd;
        if (!(node->flags & NODE_EXPORTED))
                JOURNAL_SET(regions->journal, node->flags, node->flags | NODE_EXPORTED);
        /* Last, because it cannot be undone.  EPERM: it has that seal already. */
        if (writable && !owner && node->backing == BACKING_MEMFD &&
            fcntl(node->fd, F_ADD_SEALS, F_SEAL_SEAL) < 0 && errno != EPERM) {
                int r = -errno;

                close(fd);
                return r;
        }
        return fd;
}

bool region_has_other_users(struct regions *regions, const struct node *node) {
        (void)regions;
        return node->fd >= 0 && backing_has_other_users(node->fd);
}
