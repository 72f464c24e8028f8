/* SPDX-License-Identifier: MIT */
#include "memory/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"

enum { NAME_SIZE = 32 };

static void name_of(char name[NAME_SIZE], uint32_t node, uint64_t ino) {
        snprintf(name, NAME_SIZE, "%" PRIx32 "-%" PRIx64, node, ino);
}

bool store_parse(const char *name, uint32_t *node, uint64_t *ino) {
        char *end;

        *node = (uint32_t)strtoul(name, &end, 16);
        if (end == name || *end != '-')
                return false;
        name = end + 1;
        *ino = strtoull(name, &end, 16);
        return end != name && *end == '\0';
}

struct limit *store_get(const struct journal *journal, uint32_t id) {
        struct limit *store = limit_get(journal, id);

        return store && store->tmpfs_fd >= 0 ? store : NULL;
}

/* Making */

/* The name is written down first, so that a file whose maker is killed can be found. */
static int made_add(struct journal *journal, uint32_t store, uint32_t node, uint64_t ino) {
        struct root *root = journal_root(journal);

        if (root->n_made == LAYOUT_MADE_MAX)
                return -ENOMEM;
        root->made[root->n_made] = (struct made){.store = store, .node = node, .ino = ino};
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        root->n_made++;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        return 0;
}

int store_make(struct journal *journal, struct limit *store, struct node *node) {
        char name[NAME_SIZE];
        int r;

        if (fault_strikes(FAULT_MEMFD))
                return -ENOSPC;
        r = made_add(journal, store->id, node->id, node->ino);
        if (r < 0)
                return r;
        name_of(name, node->id, node->ino);
        if (mknodat(store->tmpfs_fd, name, S_IFREG | (node->mode & 07555), 0) < 0)
                return -errno;
        journal_crash_point(journal);
        JOURNAL_SET(journal, node->store, store->id);
        return 0;
}

void store_keep_made(struct journal *journal) {
        struct root *root = journal_root(journal);

        root->n_made = 0;
}

void store_undo_made(struct journal *journal) {
        struct root *root = journal_root(journal);

        while (root->n_made > 0) {
                const struct made *made = &root->made[root->n_made - 1];
                const struct limit *store = store_get(journal, made->store);
                const struct node *node = journal_get(journal, TABLE_NODE, made->node);

                /* The worker may have died after the commit, before store_keep_made(). */
                if (store && !(node && node->id == made->node && node->ino == made->ino))
                        store_unlink(store, made->node, made->ino);
                journal_crash_point(journal);
                root->n_made--;
        }
}

/* Files */

void store_unlink(const struct limit *store, uint32_t node, uint64_t ino) {
        char name[NAME_SIZE];

        name_of(name, node, ino);
        unlinkat(store->tmpfs_fd, name, 0);
}

int store_open(const struct limit *store, uint32_t node, uint64_t ino, int flags) {
        char name[NAME_SIZE];
        int fd;

        if (fault_strikes(FAULT_REOPEN))
                return -ENOSPC;
        name_of(name, node, ino);
        fd = openat(store->tmpfs_fd, name, flags | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return errno == EMFILE || errno == ENFILE ? -ENOSPC : -errno;
        return fd;
}

int store_stat(const struct limit *store, const struct node *node, struct stat *st) {
        char name[NAME_SIZE];

        name_of(name, node->id, node->ino);
        return fstatat(store->tmpfs_fd, name, st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int store_chown(const struct limit *store, const struct node *node, uid_t uid, gid_t gid) {
        char name[NAME_SIZE];

        name_of(name, node->id, node->ino);
        return fchownat(store->tmpfs_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int store_chmod(const struct limit *store, const struct node *node, mode_t mode) {
        char name[NAME_SIZE];

        name_of(name, node->id, node->ino);
        return fchmodat(store->tmpfs_fd, name, mode, 0) < 0 ? -errno : 0;
}

int store_utimens(const struct limit *store, const struct node *node,
                  const struct timespec times[2]) {
        char name[NAME_SIZE];

        name_of(name, node->id, node->ino);
        return utimensat(store->tmpfs_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}
