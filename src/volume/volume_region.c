/* SPDX-License-Identifier: MIT */
#include "volume/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "memory/file.h"
#include "tree/pending.h"
#include "tree/xattr.h"

enum {
        FALLOCATE_AT_ONCE = 4 * 1024 * 1024, /* bytes; a larger request is work that takes long */
        IDLE_TRIES = 4,
        PAGE = 4096,
};

/* Making */

static int backing_open(struct volume *volume, const struct node *node) {
        const struct volume_kernel *kernel = &volume->kernel;
        int fd, id;

        if (fault_strikes(FAULT_BACKING))
                return -ENOMEM;
        /* With a descriptor for neither reading nor writing (access mode 3, see open(2)), which the
         * lease probe does not count.  Otherwise the id would look like another user. */
        fd = file_open(volume->journal, node, O_ACCMODE);
        if (fd < 0)
                return fd;
        id = kernel->backing_open(kernel->userdata, node->id, fd);
        close(fd);
        return id;
}

/*
 * The region's only backing id.  It is made at the first open and kept while anybody has the region
 * open or mapped, because the kernel refuses a second one while the first is in use.  If memfds
 * shall outlive the daemon, it is made with them, and keeps them.  0 without passthrough.
 */
static int volume_backing(struct volume *volume, struct node *node) {
        int id;

        if (node->backing_id > 0 || !volume->root->passthrough || !volume->kernel.backing_open)
                return node->backing_id;
        id = backing_open(volume, node);
        if (id > 0) {
                volume->new_backing = id;
                JOURNAL_SET(volume->journal, node->backing_id, id);
        }
        return id;
}

/* Gives a new region its memory.  The descriptor belongs to the transaction, which closes it on
 * abort. */
static int storage_init(struct volume *volume, const struct change *by, struct node *node,
                        bool growable, uint64_t size) {
        struct caller_process process;
        int r;

        caller_process(by->caller, &process);
        node->creator_uid = by->caller->uid;
        node->creator_pid = process.pid > 0 ? process.pid : by->caller->pid;
        memcpy(node->creator_name, process.name, sizeof(node->creator_name));
        r = growable ? region_create_growable(volume->regions, node)
                     : region_create(volume->regions, node, size);
        if (r == 0 && node->fd >= 0)
                r = txn_own_fd(volume->txn, node->fd);
        if (r >= 0)
                r = region_own(volume->regions, node);
        if (r == 0)
                r = lifetime_created(volume->lifetimes, node);
        if (r == 0 && (node->flags & NODE_OWNER))
                r = owner_add(volume->owners, node, by->caller);
        if (r == 0 && node->fd >= 0 && regions_are_kept(volume->regions)) {
                r = volume_backing(volume, node);
                r = r < 0 ? r : 0;
        }
        return r;
}

int volume_init_storage(struct volume *volume, const struct change *by, struct node *node,
                        const struct node *dir) {
        uint32_t flags, mode;
        int r;

        volume_defaults(volume, dir, &flags, &mode);
        node->flags |= flags;
        if (mode != LAYOUT_NO_MODE)
                node->mode &= S_IFREG | mode; /* the default only takes permissions away */
        r = volume_inherit_acl(volume, node, dir);
        return r < 0 ? r : storage_init(volume, by, node, true, 0);
}

int volume_make_unnamed(struct volume *volume, const struct change *by, const struct node *dir,
                        const struct create_attrs *attrs, struct node **out) {
        const struct create_attrs here = volume_attrs_in(dir, attrs);
        int r = tree_create_unnamed(volume->tree, dir, &here, out);

        return r < 0 ? r : volume_init_storage(volume, by, *out, dir);
}

/* The last step: the region gets its name when it is complete. */
static int create_name(struct volume *volume, const struct change *by, struct node *node,
                       struct node *dir, const char *name, size_t length) {
        int r;

        r = volume_tell(volume, by, dir);
        if (r == 0)
                r = tree_link(volume->tree, node, dir, name, length);
        if (r == 0)
                volume_event(volume, by, EVENT_CREATE, node, dir, name, length);
        return r;
}

int volume_create(struct volume *volume, const struct change *by, struct node *dir,
                  const char *name, size_t length, const struct region_order *order,
                  struct node **out) {
        const struct create_attrs attrs = volume_attrs_in(dir, &order->attrs);
        uint32_t flags = order->flags | (volume->root->settings.huge ? NODE_HUGE : 0);
        int r;

        r = tree_create_unnamed(volume->tree, dir, &attrs, out);
        if (r < 0)
                return r;
        (*out)->flags |= flags;
        r = volume_inherit_acl(volume, *out, dir);
        if (r < 0)
                return r;
        r = storage_init(volume, by, *out, false, order->size);
        if (r == 0 && (flags & NODE_FIXED))
                r = region_seal(volume->regions, *out, F_SEAL_SHRINK | F_SEAL_GROW);
        if (r < 0)
                return r;
        if (!(flags & (NODE_POPULATE | NODE_HUGE)))
                return create_name(volume, by, *out, dir, name, length);
        r = pending_add(volume->tree, *out, dir, name, length);
        return r < 0 ? r : -EINPROGRESS;
}

int volume_populate(struct volume *volume, const struct node *node, work_fn done, void *userdata,
                    struct work **out) {
        const struct work_caller caller = {node->creator_uid, node->creator_pid};
        int fd = file_use(volume->journal, node), r;

        if (fd < 0)
                return fd;
        r = work_populate(out, volume->works, caller, fd, node->size, node->flags & NODE_HUGE, done,
                          userdata);
        file_unuse(node, fd);
        return r;
}

int volume_create_finish(struct volume *volume, const struct change *by, struct node *node,
                         struct node *dir, const char *name, size_t length, uint64_t huge) {
        pending_end(volume->tree, node);
        JOURNAL_SET(volume->journal, node->btime, stamp_now());
        JOURNAL_SET(volume->journal, node->huge, huge);
        if (node->flags & NODE_OWNER_ENDED)
                lifetime_owner_ended(volume->lifetimes, node);
        return create_name(volume, by, node, dir, name, length);
}

/* Opening */

int volume_open(struct volume *volume, struct node *node, bool writable, int *backing) {
        struct stat st;
        int id;

        if (!node_has_memory(node))
                return -ESTALE;
        /* Its owner may have sealed it through an exported descriptor. */
        if (writable && (node->flags & NODE_EXPORTED))
                region_stat(volume->regions, node, &st);
        /* With passthrough, the kernel would let a sealed memfd be mapped for writing. */
        if (writable && (node->seals & F_SEAL_WRITE))
                return -EPERM;
        id = volume_backing(volume, node);
        if (id < 0)
                return id;
        tree_opened(volume->tree, node, writable);
        lifetime_opened(volume->lifetimes, node, writable);
        *backing = id;
        return 0;
}

/*
 * Backing ids of files that nobody has open take memory of the kernel, and a new one takes time.
 * So those of the files that were closed last are kept.
 */

/* Takes the id from a file that was closed long ago.  False: somebody still has it mapped. */
static bool idle_end(struct volume *volume, struct node *node) {
        JOURNAL_SET(volume->journal, node->idle, 0);
        if (node->opens > 0 || node->backing_id <= 0)
                return true;
        if (region_has_other_users(volume->regions, node))
                return false;
        volume_close_backing(volume, node->backing_id);
        JOURNAL_SET(volume->journal, node->backing_id, 0);
        return true;
}

/* A free place in the list of idle files, from which the oldest one has gone. */
static uint32_t idle_place(struct volume *volume) {
        struct root *root = volume->root;
        uint32_t at = root->next_idle;

        for (int tries = 0; tries < IDLE_TRIES; tries++) {
                struct node *node;

                at = (root->next_idle + (uint32_t)tries) % LAYOUT_IDLE_MAX;
                node = tree_node(volume->tree, root->idle[at]);
                if (!node || node->idle != at + 1 || idle_end(volume, node))
                        break;
                if (tries + 1 < IDLE_TRIES)
                        JOURNAL_SET(volume->journal, node->idle, at + 1);
        }
        JOURNAL_SET(volume->journal, root->next_idle, (at + 1) % LAYOUT_IDLE_MAX);
        return at;
}

static void idle_begin(struct volume *volume, struct node *node) {
        uint32_t at;

        if (node->backing != BACKING_TMPFS || node->backing_id <= 0 || node->opens > 0 ||
            node->nlink == 0 || node->idle != 0)
                return;
        at = idle_place(volume);
        JOURNAL_SET(volume->journal, volume->root->idle[at], node->id);
        JOURNAL_SET(volume->journal, node->idle, at + 1);
}

void volume_release(struct volume *volume, const struct change *by, struct node *node,
                    bool writable) {
        uint32_t id = node->id;

        if (node->opens == 1)
                volume_event_node(volume, by, EVENT_LAST_CLOSE, node);
        tree_closed(volume->tree, node, writable);
        node = tree_node(volume->tree, id);
        if (!node)
                return;
        idle_begin(volume, node);
        lifetime_closed(volume->lifetimes, node);
}

/* The seals of a descriptor for writing; the last step, because it cannot be undone. */
static int lend_seal(struct volume *volume, const struct change *by, struct node *node) {
        uint32_t seals = node->seals;
        int r = txn_check(volume->txn);

        if (r == 0)
                r = region_seal_export(volume->regions, node, access_owns(by->caller, node));
        if (r == 0 && node->seals != seals)
                volume_event_node(volume, by, EVENT_SEAL, node);
        return r;
}

int volume_lend(struct volume *volume, const struct change *by, struct node *node, bool writable) {
        bool first = !(node->flags & NODE_EXPORTED);
        struct stat st;
        int r, fd;

        r = region_stat(volume->regions, node, &st);
        if (r == 0 && writable && (node->seals & F_SEAL_WRITE))
                r = -EPERM;
        /* Writes through the descriptor do not take it, as they do through the mount. */
        if (r == 0 && writable)
                (void)xattr_remove(volume->journal, node, XATTR_CAPABILITY);
        /* From now on the size may change without our knowing, so the kernel must stop caching
         * it. */
        if (r == 0 && first)
                r = volume_tell(volume, by, node);
        if (r < 0)
                return r;
        lifetime_opened(volume->lifetimes, node, writable);
        fd = region_export(volume->regions, node, writable ? O_RDWR : O_RDONLY);
        fd = fd < 0 ? fd : txn_own_fd(volume->txn, fd);
        r = fd < 0 || !writable ? 0 : lend_seal(volume, by, node);
        return r < 0 ? r : fd;
}

/* Sizes */

int volume_resize(struct volume *volume, const struct change *by, struct node *node,
                  uint64_t size) {
        uint64_t before = node->size;
        int r;

        if (!node_is_region(node))
                return -EINVAL;
        r = volume_tell(volume, by, node);
        /* For a change that the kernel asked for, it says itself which bits to clear. */
        if (r == 0 && by->unasked)
                r = volume_drop_setid(volume, by, node);
        /* Before the last step, which cannot be undone. */
        if (r == 0)
                r = txn_check(volume->txn);
        if (r == 0)
                r = region_resize(volume->regions, node, size);
        if (r == 0 && (by->unasked || node->size != before))
                volume_event_node(volume, by, EVENT_RESIZE, node);
        return r;
}

/* Work that ends in a later transaction.  Id and generation find the region again. */
struct continuation {
        struct volume *volume;
        uint32_t id;
        uint64_t ino;
        uint64_t before; /* old size in bytes, if the region grows */
        uint64_t asked;  /* what it had asked for before an allocation */
        work_fn done;
        void *userdata;
};

static struct continuation *continuation_new(struct volume *volume, const struct node *node,
                                             uint64_t asked, work_fn done, void *userdata) {
        struct continuation *continuation =
                fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*continuation));

        if (continuation)
                *continuation = (struct continuation){
                        .volume = volume,
                        .id = node->id,
                        .ino = node->ino,
                        .before = node->size,
                        .asked = asked,
                        .done = done,
                        .userdata = userdata,
                };
        return continuation;
}

/* Ends the continuation.  Returns the region, or NULL if it is gone. */
static struct node *continuation_end(struct continuation *continuation, struct continuation *out) {
        struct node *node = tree_node(continuation->volume->tree, continuation->id);

        *out = *continuation;
        free(continuation);
        return node && node->ino == out->ino && node_has_memory(node) ? node : NULL;
}

static void growth_populated(void *userdata, int result, uint64_t huge) {
        const struct change by = {0};
        struct continuation continuation;
        struct node *node = continuation_end(userdata, &continuation);

        if (node && result == 0)
                JOURNAL_SET(continuation.volume->journal, node->huge, huge);
        else if (node && volume_resize(continuation.volume, &by, node, continuation.before) == 0)
                (void)txn_commit(
                        continuation.volume->txn); /* on failure, the waiting request fails, too */
        continuation.done(continuation.userdata, node ? result : -ESTALE, huge);
}

static struct work_caller caller_of(const struct change *by) {
        return by->caller ? (struct work_caller){by->caller->uid, by->caller->pid}
                          : (struct work_caller){0, 0};
}

bool volume_populate_growth(struct volume *volume, const struct change *by, struct node *node,
                            uint64_t before, work_fn done, void *userdata, struct work **out) {
        struct continuation *continuation;
        int fd, r;

        if (!node_is_region(node) || !(node->flags & NODE_HUGE) || node->size <= before)
                return false;
        continuation = continuation_new(volume, node, node->asked, done, userdata);
        if (!continuation)
                return false; /* small pages are good enough */
        continuation->before = before;
        fd = file_use(volume->journal, node);
        r = fd < 0 ? fd
                   : work_populate(out, volume->works, caller_of(by), fd, node->size, true,
                                   growth_populated, continuation);
        file_unuse(node, fd);
        if (r < 0) {
                free(continuation);
                return false;
        }
        work_give(*out, continuation);
        return true;
}

static void allocated(struct volume *volume, struct node *node, uint64_t asked) {
        struct stat st;

        region_fallocate_end(volume->regions, node, asked);
        region_stat(volume->regions, node, &st);
        tree_touch_ctime(volume->tree, node);
}

static void allocation_done(void *userdata, int result, uint64_t huge) {
        struct continuation continuation;
        struct node *node = continuation_end(userdata, &continuation);

        if (node)
                allocated(continuation.volume, node, continuation.asked);
        continuation.done(continuation.userdata, node ? result : -ESTALE, huge);
}

/* asked: what the region had asked for before. */
static int allocate_later(struct volume *volume, const struct change *by, struct node *node,
                          int mode, uint64_t offset, uint64_t length, uint64_t asked, work_fn done,
                          void *userdata) {
        struct continuation *continuation = continuation_new(volume, node, asked, done, userdata);
        struct work *work;
        int fd, r;

        if (!continuation)
                return -ENOMEM;
        fd = file_use(volume->journal, node);
        r = fd < 0 ? fd
                   : work_fallocate(&work, volume->works, caller_of(by), fd, mode, (off_t)offset,
                                    (off_t)length, allocation_done, continuation);
        file_unuse(node, fd);
        if (r < 0) {
                free(continuation);
                return r;
        }
        work_give(work, continuation);
        return -EINPROGRESS;
}

bool volume_free_tail(struct volume *volume, struct node *node, uint64_t size, work_fn done,
                      void *userdata) {
        const uint32_t seals = F_SEAL_SHRINK | F_SEAL_WRITE;
        const struct work_caller caller = {0, 0};
        uint64_t from = (size + PAGE - 1) / PAGE * PAGE;
        struct work *work;
        struct stat st;

        if (!node_is_region(node) || region_stat(volume->regions, node, &st) < 0 ||
            node->blocks <= RECLAIM_AT_ONCE || from >= node->size || (node->seals & seals))
                return false;
        return work_fallocate(&work, volume->works, caller, node->fd,
                              FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                              (off_t)(node->size - from), done, userdata) == 0;
}

int volume_fallocate(struct volume *volume, const struct change *by, struct node *node, int mode,
                     uint64_t offset, uint64_t length, work_fn done, void *userdata) {
        uint64_t asked = node->asked;
        int r, fd;

        if (!node_is_region(node))
                return -ENODEV;
        r = region_fallocate_begin(volume->regions, node, mode, offset, length);
        if (r < 0)
                return r;
        if (length > FALLOCATE_AT_ONCE)
                return allocate_later(volume, by, node, mode, offset, length, asked, done,
                                      userdata);
        r = txn_check(volume->txn);
        if (r < 0)
                return r;
        fd = file_use(volume->journal, node);
        if (fd < 0)
                return fd;
        r = fallocate(fd, mode, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
        file_unuse(node, fd);
        if (r == 0)
                allocated(volume, node, asked);
        return r;
}

ssize_t volume_write(struct volume *volume, const struct change *by, struct node *node,
                     const char *bytes, size_t size, uint64_t offset) {
        ssize_t n;
        int r;

        if (!node_is_region(node))
                return -EINVAL;
        r = region_reserve_write(volume->regions, node, offset, &size);
        if (r == 0)
                r = txn_check(volume->txn);
        if (r < 0)
                return r;
        n = region_write(volume->regions, node, bytes, size, offset);
        region_wrote(volume->regions, node);
        if (n > 0 && by->kills_setid)
                (void)volume_drop_setid(volume, by, node);
        return n;
}

ssize_t volume_write_back(struct volume *volume, const struct change *by, struct node *node,
                          const char *bytes, size_t size, uint64_t offset) {
        struct stat st;
        size_t within;
        ssize_t n;
        int r;

        if (!node_is_region(node))
                return -EINVAL;
        r = region_stat(volume->regions, node, &st);
        if (r < 0 || offset >= (uint64_t)st.st_size)
                return r < 0 ? r : (ssize_t)size;
        within = (uint64_t)st.st_size - offset < size ? (size_t)st.st_size - offset : size;
        n = volume_write(volume, by, node, bytes, within, offset);
        if (n < 0)
                return n;
        return (size_t)n < within ? -ENOSPC : (ssize_t)size;
}

/* Seals */

int volume_seal(struct volume *volume, const struct change *by, struct node *node,
                unsigned int seals) {
        int r = txn_check(volume->txn);

        if (r == 0)
                r = region_seal(volume->regions, node, seals);
        if (r == 0)
                volume_event_node(volume, by, EVENT_SEAL, node);
        return r;
}
