/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
        BURY_AT_ONCE = 64 * 1024 * 1024, /* bytes that are freed without the helper */
        BURY_STEP = 64 * 1024 * 1024,    /* bytes that the helper frees at a time */
};

bool fs_abandon(void *userdata, struct node *node) {
        struct fs *fs = userdata;

        if (!node_is_region(node))
                return true;
        if (!lifetime_abandon(fs->parts.lifetimes, node))
                return false;
        /* In this transaction: an id that no record names any more could not be closed later. */
        if (node->backing_id > 0)
                channel_backing_close(fs->channel, node->backing_id);
        region_release(fs->parts.regions, node);
        return true;
}

/* Frees the memory of a large region, unless somebody else still has it. */
struct burial {
        struct job job;
        int fd;
        uint64_t size;
};

static void burial_run(struct job *job) {
        struct burial *burial = (struct burial *)job;
        struct stat st;

        /* In steps: a worker that is killed here is gone only when the system call is over. */
        if (fcntl(burial->fd, F_SETLEASE, F_WRLCK) == 0 && fstat(burial->fd, &st) == 0) {
                off_t size = st.st_size;

                while (size > 0) {
                        size = size > BURY_STEP ? size - BURY_STEP : 0;
                        if (ftruncate(burial->fd, size) < 0)
                                break; /* sealed: closing frees it all the same */
                }
        }
        close(burial->fd);
}

static void burial_done(struct job *job) {
        free(job);
}

static void fs_bury(void *userdata, const struct region_remains *remains) {
        struct fs *fs = userdata;
        struct burial *burial = NULL;

        if (remains->blocks > BURY_AT_ONCE)
                burial = calloc(1, sizeof(*burial));
        if (!burial) {
                close(remains->fd);
                return;
        }
        burial->job.run = burial_run;
        burial->job.done = burial_done;
        burial->fd = remains->fd;
        job_queue_submit(fs->parts.memory_jobs, &burial->job);
}

void fs_settle(struct fs *fs) {
        fs_tell_readers(fs);
        invalidations_send(fs->parts.invalidations);
        regions_bury(fs->parts.regions, fs_bury, fs);
}

/* The kernel has a good answer to all of these: it tries no more. */
static void fs_not_needed(struct fuse_request *req) {
        reply_error(req, -ENOSYS);
}

/* As tmpfs; ENOSYS would be passed on by older kernels. */
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
                        [WIRE_SETXATTR] = fs_refuse_xattr,
                        [WIRE_GETXATTR] = fs_getxattr,
                        [WIRE_LISTXATTR] = fs_listxattr,
                        [WIRE_REMOVEXATTR] = fs_refuse_xattr,
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

int fs_new(struct fs **out) {
        struct fs *fs;

        fs = calloc(1, sizeof(*fs));
        if (!fs)
                return -ENOMEM;
        /* At the start of a page: the kernel then copies a page in one piece. */
        fs->buffer = aligned_alloc(4096, FS_BUFFER_SIZE);
        if (!fs->buffer) {
                free(fs);
                return -ENOMEM;
        }
        *out = fs;
        return 0;
}

void fs_set_parts(struct fs *fs, const struct fs_parts *parts) {
        fs->parts = *parts;
        ctl_set_answer(parts->ctl, fs_written, fs);
}

void fs_set_channel(struct fs *fs, struct channel *channel) {
        fs->channel = channel;
}

struct fs *fs_free(struct fs *fs) {
        if (!fs)
                return NULL;
        fs_drop_waiting(&fs->waiting);
        fs_drop_waiting(&fs->readers);
        free(fs->buffer);
        free(fs);
        return NULL;
}
