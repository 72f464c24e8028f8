/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <stdlib.h>

/* For requests that the kernel handles well by itself; after ENOSYS it sends no more of them. */
static void fs_not_needed(struct fuse_request *req) {
        reply_error(req, -ENOSYS);
}

/* As tmpfs returns it.  Older kernels would pass ENOSYS on to the caller. */
static void fs_ioctl(struct fuse_request *req) {
        reply_error(req, -ENOTTY);
}

static const struct channel_operations operations = {
        .handlers =
                {
                        [WIRE_LOOKUP] = fs_lookup,
                        [WIRE_GETATTR] = fs_getattr,
                        [WIRE_SETATTR] = fs_setattr,
                        [WIRE_READLINK] = fs_readlink,
                        [WIRE_SYMLINK] = fs_symlink,
                        [WIRE_MKNOD] = fs_mknod,
                        [WIRE_MKDIR] = fs_mkdir,
                        [WIRE_UNLINK] = fs_unlink,
                        [WIRE_RMDIR] = fs_rmdir,
                        [WIRE_RENAME] = fs_rename,
                        [WIRE_LINK] = fs_link,
                        [WIRE_OPEN] = fs_open,
                        [WIRE_READ] = fs_read,
                        [WIRE_WRITE] = fs_write,
                        [WIRE_STATFS] = fs_statfs,
                        [WIRE_RELEASE] = fs_release,
                        [WIRE_FSYNC] = fs_not_needed,
                        [WIRE_SETXATTR] = fs_setxattr,
                        [WIRE_GETXATTR] = fs_getxattr,
                        [WIRE_LISTXATTR] = fs_listxattr,
                        [WIRE_REMOVEXATTR] = fs_removexattr,
                        [WIRE_FLUSH] = fs_not_needed,
                        [WIRE_OPENDIR] = fs_opendir,
                        [WIRE_READDIR] = fs_readdir,
                        [WIRE_RELEASEDIR] = fs_releasedir,
                        [WIRE_FSYNCDIR] = fs_not_needed,
                        [WIRE_ACCESS] = fs_not_needed,
                        [WIRE_CREATE] = fs_create,
                        [WIRE_IOCTL] = fs_ioctl,
                        [WIRE_POLL] = fs_poll,
                        [WIRE_FALLOCATE] = fs_fallocate,
                        [WIRE_READDIRPLUS] = fs_readdirplus,
                        [WIRE_RENAME2] = fs_rename2,
                        [WIRE_LSEEK] = fs_lseek,
                        [WIRE_TMPFILE] = fs_tmpfile,
                        [WIRE_STATX] = fs_statx,
                },
        .forget = fs_forget,
};

const struct channel_operations *fs_operations(void) {
        return &operations;
}

int fs_new(struct fs **out, struct volume *volume, struct ctl *ctl) {
        struct fs *fs;

        fs = calloc(1, sizeof(*fs));
        if (!fs)
                return -ENOMEM;
        /* At the start of a page, because the kernel then copies each page in one piece. */
        fs->buffer = aligned_alloc(4096, FS_BUFFER_SIZE);
        if (!fs->buffer) {
                free(fs);
                return -ENOMEM;
        }
        fs->volume = volume;
        fs->ctl = ctl;
        ctl_set_reply(ctl, fs_written, fs);
        ctl_set_wake(ctl, fs_wake, fs);
        invalidations_set_reply(volume->invalidations, fs_answer, fs);
        txn_set_after(volume->txn, TXN_AFTER_EVENTS, fs_tell_readers, fs);
        *out = fs;
        return 0;
}

void fs_set_channel(struct fs *fs, struct channel *channel, struct notifier *notifier) {
        fs->channel = channel;
        fs->notifier = notifier;
}
