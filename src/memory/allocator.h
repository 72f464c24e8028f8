/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * allocator: makes the pages of regions, on behalf of the process that asked for them.
 *
 * Memory is charged to the memory cgroup of the process that touches it first.  So each allocation
 * is made by a process of its own.  It joins the cgroup of the caller before it takes a page, is
 * the OOM killer's first choice there (oom_score_adj 1000), and ends with the allocation.  It
 * shares no descriptor table, has nothing but the one region, and owns no state.  If it is killed,
 * the allocation fails with ENOSPC, and the kernel takes back what fallocate(2) had made; if it is
 * frozen, only its caller waits.  These processes are children of one small process, the *allocator
 * process*, which is started with the worker and ends with it.
 *
 * Users share it fairly: each has at most two allocations under way, and users take turns.
 *
 * Owns the allocator process, the socket to it, and the allocations that wait or are under way.
 * Never: touches records, changes a region's size other than by the fallocate(2) that was asked
 * for.  All functions are called on the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/loop.h"

struct allocator;
struct allocation;

/* What is to be made. */
struct allocation_request {
        int fd;          /* the region, open for writing; stays the caller's */
        uint64_t offset; /* bytes */
        uint64_t length; /* bytes; 0: no pages are made */
        int mode;        /* of fallocate(2): 0 or FALLOC_FL_KEEP_SIZE */
        bool zero; /* also zero the pages, unseen by the caller, so that a first touch is quick */
        bool huge; /* use huge pages as far as the kernel has them; offset must be 0 */
        uid_t uid; /* the user whose turn it takes */
        pid_t pid; /* a process or thread of the caller, whose cgroup is charged; 0: ours */
};

/*
 * result: 0; -ENOSPC: there is no room in the caller's cgroup or on the machine, or the process
 * that made the pages was killed; -ECANCELED; -EPERM: sealed; other errors of fallocate(2). huge:
 * bytes in huge pages, if the request asked for them.
 */
typedef void (*allocation_fn)(void *userdata, int result, uint64_t huge);

/* Starts the process.  Call it before this process has other threads.  0 or negative errno. */
int allocator_new(struct allocator **out, struct loop *loop);
/* Drops allocations that are not done, without done().  NULL is allowed; returns NULL. */
struct allocator *allocator_free(struct allocator *allocator);

/*
 * Takes all that the allocation needs (memory, a copy of the descriptor), so that it cannot be
 * refused later.  0, -ENOMEM, -ENOSPC (no descriptor, or too many allocations of this user wait).
 */
int allocation_new(struct allocation **out, struct allocator *allocator,
                   const struct allocation_request *request, allocation_fn done, void *userdata);
/* Frees an allocation that has not begun.  NULL is allowed; returns NULL. */
struct allocation *allocation_free(struct allocation *allocation);
/*
 * Starts the allocation.  done() is called once, on the loop, even after allocation_cancel(), but
 * never from within these calls; the allocation is freed before.
 */
void allocation_begin(struct allocation *allocation);
void allocation_cancel(struct allocation *allocation);
/*
 * The caller got a signal.  Only one that ends the caller cancels the allocation; any other has no
 * effect, however often it comes.  FUSE tells of the first signal only, so the allocator looks for
 * later ones itself.
 */
void allocation_signalled(struct allocation *allocation);
