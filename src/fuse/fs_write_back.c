/* SPDX-License-Identifier: MIT */
#include "fuse/fs_private.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

/*
 * Without passthrough, what a program stores through a mapping is in the kernel's page cache, until
 * the kernel writes it to us.  Where a file has holes is not known before that.  So such a request
 * waits while a notifier process has the kernel write.  One file is written at a time: programs
 * that ask for much keep no notifier process from others' commands.
 *
 * The kernel must not hold what it needs for writing while it waits for the reply: SETATTR of a size
 * holds up all WRITEs of the file, so it must never wait here.
 */
static void fs_write_back_next(struct fs *fs);

bool fs_has_unwritten(const struct fs *fs, const struct node *node) {
        /* A mapping keeps its file open; the kernel writes before it closes the last one. */
        return !fs->volume->root->passthrough && node_is_region(node) && node->writers > 0;
}

/* Takes out of the list all requests for the file that is being written. */
static struct fs_waiting *take_written(struct fs *fs, uint64_t id) {
        struct fs_waiting *taken = NULL, *waiting, *next;

        LL_FOREACH_SAFE(fs->unwritten, waiting, next) {
                if (waiting->deferred.req.node != id || !waiting->begun)
                        continue;
                LL_DELETE(fs->unwritten, waiting);
                LL_APPEND(taken, waiting);
        }
        return taken;
}

static void fs_on_written(void *userdata, bool told) {
        struct fs *fs = userdata;
        struct fs_waiting *waiting, *next;

        waiting = take_written(fs, fs->writing_back);
        fs->writing_back = 0;
        LL_FOREACH_SAFE(waiting, waiting, next) {
                struct fuse_request req = channel_undefer(&waiting->deferred);

                waiting->then(&req, fs, waiting, told);
                free(waiting);
        }
        fs_write_back_next(fs);
}

/* Begins with the file of the oldest request, for all requests that wait for it now. */
static void fs_write_back_next(struct fs *fs) {
        struct fs_waiting *first = fs->unwritten, *waiting;
        uint64_t offset = UINT64_MAX;

        if (!first || fs->writing_back != 0)
                return;
        LL_FOREACH(fs->unwritten, waiting) {
                if (waiting->deferred.req.node != first->deferred.req.node)
                        continue;
                waiting->begun = true;
                if (waiting->offset < offset)
                        offset = waiting->offset;
        }
        fs->writing_back = first->deferred.req.node;
        if (notifier_write_back(fs->notifier, fs->writing_back, (int64_t)offset, fs_on_written,
                                fs) < 0)
                fs_on_written(fs, false);
}

void fs_write_back(struct fuse_request *req, struct fs *fs, uint64_t offset, uint32_t whence,
                   fs_written_back_fn then) {
        struct fs_waiting *waiting = fs->notifier ? fs_waiting_new(fs) : NULL;
        const struct fs_waiting call = {.fs = fs,
                                        .offset = offset <= INT64_MAX ? offset : 0,
                                        .handle = whence,
                                        .then = then};

        if (!waiting) {
                then(req, fs, &call, false);
                return;
        }
        *waiting = call;
        channel_defer(&waiting->deferred, req, NULL);
        LL_APPEND(fs->unwritten, waiting);
        fs_write_back_next(fs);
}
