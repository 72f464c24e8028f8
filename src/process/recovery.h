/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * recovery: from the records of whoever was before to a file system that answers.
 *
 * One function with numbered steps, whose order matters: each says why it comes where it does.  The
 * first worker takes them as well; there is nothing to be done in most of them then.  A worker may
 * be killed in any of them, and the next one begins at the first again.
 *
 * Before the worker serves comes only what others would see wrong otherwise, and all of that is
 * bounded.  What can take long goes on beside the requests, and is put off for a while when
 * workers have died before they got through with it.
 *
 * Owns the timer of what was put off.  Never: reads a request.
 */

#include "fuse/channel.h"
#include "socket/server.h"

/* The rooms, put together by the worker; they have told and asked nobody anything yet. */
struct recovered {
        struct volume *volume;
        struct channel *channel;
        struct listings *listings;
};

struct recovery {
        struct journal *journal;
        const int *own_fds; /* descriptors of this process that no record names */
        size_t n_own_fds;
        int (*build)(void *userdata, struct recovered *out);
        void *userdata;
};

/* 0 and the socket's server, or negative errno: there can be no worker. */
int recovery_run(const struct recovery *recovery, struct server **server);
