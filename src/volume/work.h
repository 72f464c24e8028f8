/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * work: work that takes long, begun by a transaction.  The caller is called back at its end.
 *
 * Work is made within a transaction, together with all that it needs, so that it cannot be refused
 * later.  It begins after the commit; an abort drops it.  The allocator makes pages, on behalf of
 * the caller (allocator.h); the queue for memory jobs frees them.  At the end, done() is called on
 * the loop, in a new transaction, which done() commits.
 *
 * Owns a descriptor of the region for each work.  Never: touches a record.
 */

#include "base/job_queue.h"
#include "memory/allocator.h"
#include "volume/txn.h"

struct works;
struct work;

/* result: 0 or negative errno, -ECANCELED after work_cancel().  huge: bytes in huge pages. */
typedef void (*work_fn)(void *userdata, int result, uint64_t huge);

/* allocator or queue may be NULL if the caller never makes work of that kind. */
int works_new(struct works **out, struct txn *txn, struct allocator *allocator,
              struct job_queue *queue);
struct works *works_free(struct works *works);

/* The user whose turn it takes, and the process whose cgroup is charged; pid 0: this process. */
struct work_caller {
        uid_t uid;
        pid_t pid;
};

/* 0, -ENOMEM, -ENOSPC (no descriptor, or too much work of this user waits).  userdata is the
 * caller's and must live until done() is called or the transaction is aborted. */
int work_populate(struct work **out, struct works *works, struct work_caller caller, int fd,
                  uint64_t size, bool huge, work_fn done, void *userdata);
int work_fallocate(struct work **out, struct works *works, struct work_caller caller, int fd,
                   int mode, off_t offset, off_t length, work_fn done, void *userdata);
/* Gives memory to the work.  It is freed on abort; otherwise it is done()'s. */
void work_give(struct work *work, void *memory);
/* The caller no longer waits: ends the work soon, if possible. */
void work_cancel(struct work *work);
/* The caller got a signal: cancels the work if that ends the caller, now or later; see allocator.h. */
void work_signalled(struct work *work);
