/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * recovery: turns the records of a dead worker into a working file system.
 *
 * It is one function with numbered steps.  Each step says why it comes where it does.  The first
 * worker takes them as well, and has nothing to do in most.  A worker may be killed in any step;
 * the next one begins at the first step again.
 *
 * The steps before the worker serves are those whose absence others could see, and each is bounded.
 * Work that can take long goes on beside the requests.  If workers have died in it, it is put off
 * for a while.
 *
 * Owns the timer of the work that was put off.  Never: reads a request.
 */

#include "fuse/channel.h"
#include "socket/server.h"

/* The modules that the worker has put together.  They have sent nothing yet. */
struct recovered {
        struct volume *volume;
        struct channel *channel;
        struct listings *listings;
};

struct recovery {
        struct journal *journal;
        const int *own_fds; /* descriptors of this process that are in no record */
        size_t n_own_fds;
        int (*build)(void *userdata, struct recovered *out);
        void *userdata;
};

/* 0 and the socket's server; or negative errno: no worker can be started. */
int recovery_run(const struct recovery *recovery, struct server **server);
