/* SPDX-License-Identifier: MIT */
#include "memory/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "memory/backing.h"
#include "memory/store.h"

static const struct limit *store_of(const struct journal *journal, const struct node *node) {
        return node->backing == BACKING_TMPFS ? store_get(journal, node->store) : NULL;
}

static int open_named(const struct limit *store, const struct node *node, int flags) {
        return store ? store_open(store, node->id, node->ino, flags) : -ESTALE;
}

int file_use(const struct journal *journal, const struct node *node) {
        return node->fd >= 0 ? node->fd : open_named(store_of(journal, node), node, O_RDWR);
}

void file_unuse(const struct node *node, int fd) {
        if (fd >= 0 && fd != node->fd)
                close(fd);
}

int file_open(const struct journal *journal, const struct node *node, int flags) {
        return node->fd >= 0 ? backing_reopen(node->fd, flags)
                             : open_named(store_of(journal, node), node, flags);
}

ssize_t file_read(const struct journal *journal, const struct node *node, char *bytes, size_t size,
                  uint64_t offset) {
        int fd = file_use(journal, node);
        ssize_t n = fd;

        if (fd >= 0) {
                n = pread(fd, bytes, size, (off_t)offset);
                if (n < 0)
                        n = -errno;
        }
        file_unuse(node, fd);
        return n;
}

int64_t file_seek(const struct journal *journal, const struct node *node, uint64_t offset,
                  int whence) {
        int fd = file_use(journal, node);
        int64_t r = fd;

        if (fd >= 0) {
                r = lseek(fd, (off_t)offset, whence);
                if (r < 0)
                        r = -errno;
        }
        file_unuse(node, fd);
        return r;
}

int file_stat(const struct journal *journal, const struct node *node, struct stat *st) {
        const struct limit *store = store_of(journal, node);

        if (store)
                return store_stat(store, node, st);
        if (node->fd < 0)
                return -ESTALE;
        return fstat(node->fd, st) < 0 ? -errno : 0;
}

int file_truncate(const struct journal *journal, const struct node *node, uint64_t size) {
        int fd = file_use(journal, node), r;

        if (fd < 0)
                return fd;
        r = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
        file_unuse(node, fd);
        return r;
}

int file_utimens(const struct journal *journal, const struct node *node,
                 const struct timespec times[2]) {
        const struct limit *store = store_of(journal, node);

        if (store)
                return store_utimens(store, node, times);
        if (node->fd < 0)
                return -ESTALE;
        return futimens(node->fd, times) < 0 ? -errno : 0;
}

static int file_chown(const struct journal *journal, const struct node *node, uid_t uid,
                      gid_t gid) {
        const struct limit *store = store_of(journal, node);

        if (store)
                return store_chown(store, node, uid, gid);
        return fchown(node->fd, uid, gid) < 0 ? -errno : 0;
}

static int file_chmod(const struct journal *journal, const struct node *node, mode_t mode) {
        const struct limit *store = store_of(journal, node);

        if (store)
                return store_chmod(store, node, mode);
        return fchmod(node->fd, mode) < 0 ? -errno : 0;
}

int file_own(const struct journal *journal, const struct node *node, uid_t uid, gid_t gid,
             mode_t mode) {
        struct stat st;
        int r = file_stat(journal, node, &st);

        if (r < 0)
                return r;
        /* A look is cheaper than a change, and root's new files need none. */
        if (st.st_uid == uid && st.st_gid == gid && (st.st_mode & 07777) == mode)
                return 0;
        r = file_chown(journal, node, uid, gid);
        if (r < 0 && r != -EPERM)
                return r;
        /* The user who runs the daemon owns the file.  The node's permissions would let other
         * people open a descriptor again that they were given for reading only. */
        if (r < 0)
                mode = 0600 | (mode & (S_ISUID | S_ISGID)); /* see region_note_setid() */
        return file_chmod(journal, node, mode);
}

bool file_has_other_users(const struct journal *journal, const struct node *node) {
        int fd = file_use(journal, node);
        bool has;

        /* Without a descriptor nobody can tell; so leave the file alone. */
        if (fd < 0)
                return fd != -ESTALE;
        has = backing_has_other_users(fd);
        file_unuse(node, fd);
        return has;
}
