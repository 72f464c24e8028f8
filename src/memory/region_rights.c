/* SPDX-License-Identifier: MIT */
#include "memory/region.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/fault.h"
#include "memory/backing.h"
#include "memory/file.h"
#include "memory/region_private.h"

/* Owners */

/* Whether only the record forbids writing, see region_seal(). */
static bool is_sealed_by_record(const struct node *node) {
        return (node->seals & F_SEAL_WRITE) && node->backing == BACKING_MEMFD &&
               !(fcntl(node->fd, F_GET_SEALS) & F_SEAL_WRITE);
}

/*
 * Sets owner and permissions of the backing file to those of the node, except that nobody may write:
 * a descriptor for reading must not become one for writing, because those are sealed before they
 * leave.  What only its record forbids to write belongs to us, so that its owner cannot change that.
 */
int region_set_owner(struct regions *regions, const struct node *node) {
        bool is_ours = is_sealed_by_record(node);
        uid_t uid = is_ours ? geteuid() : node->uid;
        gid_t gid = is_ours ? getegid() : node->gid;

        return file_own(regions->journal, node, uid, gid, node->mode & 07555);
}

int region_own(struct regions *regions, struct node *node) {
        if (!node_has_memory(node))
                return 0;
        if (fault_strikes(FAULT_OWN))
                return -EIO;
        if (regions->n_owned < REGIONS_OWNED_MAX)
                regions->owned[regions->n_owned++] = node->id;
        return region_set_owner(regions, node);
}

/* What others did */

/* An owner can open a memfd for writing again by a descriptor for reading, and seal it. */
void region_note_seals(struct regions *regions, struct node *node) {
        int seals;

        if (node->backing != BACKING_MEMFD || !(node->flags & NODE_EXPORTED))
                return;
        seals = fcntl(node->fd, F_GET_SEALS);
        if (seals < 0)
                return;
        seals &= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        if (seals & ~(int)node->seals)
                JOURNAL_SET(regions->journal, node->seals, node->seals | (uint32_t)seals);
}

/* A write through an exported descriptor clears set-user-id bits of the backing file; follow it. */
void region_note_setid(struct regions *regions, struct node *node, const struct stat *st) {
        uint32_t lost = node->mode & (S_ISUID | S_ISGID) & ~st->st_mode;

        if (lost && (node->flags & NODE_EXPORTED))
                JOURNAL_SET(regions->journal, node->mode, node->mode & ~lost);
}

/* Seals */

/*
 * A memfd that was handed out for writing takes no more seals from the kernel.  But if nobody has it
 * open or mapped any more, nobody can write to it unless we open it for them; and then neither can
 * they change its size.
 */
static int region_seal_by_record(struct regions *regions, struct node *node, unsigned int seals) {
        if (!(seals & F_SEAL_WRITE))
                return -EPERM;
        if (region_has_other_users(regions, node))
                return -EBUSY;
        return region_own(regions, node);
}

int region_seal(struct regions *regions, struct node *node, unsigned int seals) {
        int r;

        if (seals & ~(unsigned int)(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
                return -EINVAL;
        if (!node_has_memory(node))
                return -ESTALE;
        if (node->backing != BACKING_MEMFD)
                return -EOPNOTSUPP;
        if ((node->seals & seals) == seals)
                return 0;
        if ((seals & F_SEAL_WRITE) && !(node->seals & F_SEAL_WRITE) &&
            (node->writers > 0 ||
             ((node->flags & NODE_EXPORTED) && region_has_other_users(regions, node))))
                return -EBUSY;
        windows_forget(regions->windows, node->id);
        JOURNAL_SET(regions->journal, node->seals, node->seals | seals);
        if (fault_strikes(FAULT_SEAL))
                return -EIO;
        r = fcntl(node->fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
        return r == -EPERM ? region_seal_by_record(regions, node, seals) : r;
}

/* An unprivileged daemon may lack permission to reopen its own file. */
static int region_reopen_own(struct regions *regions, const struct node *node, int flags) {
        int fd, r;

        if (fchmod(node->fd, 0600) < 0)
                return -errno;
        fd = backing_reopen(node->fd, flags);
        r = region_set_owner(regions, node);
        if (r < 0 && fd >= 0) {
                close(fd);
                return r;
        }
        return fd;
}

int region_export(struct regions *regions, struct node *node, int flags) {
        int fd;

        if (!node_has_memory(node))
                return -ESTALE;
        /* The process that gets it may want to change the region's size. */
        windows_forget(regions->windows, node->id);
        fd = file_open(regions->journal, node, flags);
        if (fd == -EACCES && node->fd >= 0)
                fd = region_reopen_own(regions, node, flags);
        if (fd >= 0 && !(node->flags & NODE_EXPORTED))
                JOURNAL_SET(regions->journal, node->flags, node->flags | NODE_EXPORTED);
        return fd;
}

int region_seal_export(struct regions *regions, struct node *node, bool owner) {
        bool frozen = !owner || (node->mode & (S_IWGRP | S_IWOTH));
        uint32_t more = frozen ? (F_SEAL_SHRINK | F_SEAL_GROW) & ~node->seals : 0;

        if (node->backing != BACKING_MEMFD)
                return 0;
        if (fault_strikes(FAULT_SEAL))
                return -EIO;
        if (fcntl(node->fd, F_ADD_SEALS, F_SEAL_SEAL | more) == 0) {
                if (more != 0)
                        JOURNAL_SET(regions->journal, node->seals, node->seals | more);
                return 0;
        }
        /* EPERM: it was handed out for writing before, and takes no more seals. */
        return errno == EPERM && (owner || more == 0) ? 0 : -errno;
}

bool region_has_other_users(struct regions *regions, const struct node *node) {
        return node_has_memory(node) && file_has_other_users(regions->journal, node);
}
