/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * work: what takes long, in one form: begun by a transaction, and told to whoever waits.
 *
 * Work is made within a transaction, with all that it needs, so that nothing can be refused later.
 * It begins when the transaction has been committed: pages are made by the allocator, on behalf of
 * the caller (allocator.h), and given back by the queue that works on memory; an abort drops it.  When it is over, done() is called on the loop, in a new transaction, which done()
 * commits.
 *
 * Owns a descriptor of the region for each work.  Never: touches a record.
 */

#include "base/job_queue.h"
#include "memory/allocator.h"
#include "volume/txn.h"

struct works;
struct work;

/* result: 0 or negative errno, -ECANCELED after work_cancel(); huge: bytes in huge pages. */
typedef void (*work_fn)(void *userdata, int result, uint64_t huge);

/* NULL for both, or for one, is for those who will not have such work done. */
int works_new(struct works **out, struct txn *txn, struct allocator *allocator,
              struct job_queue *queue);
struct works *works_free(struct works *works);

/* For whom it is done: whose turn it takes, and whose cgroup is charged; pid 0: ours. */
struct work_caller {
        uid_t uid;
        pid_t pid;
};

/* 0, -ENOMEM, -ENOSPC (no descriptor, or too much work of this user waits).  userdata is whoever's
 * who waits, and lives until done(), or until the transaction is aborted. */
int work_populate(struct work **out, struct works *works, struct work_caller caller, int fd,
                  uint64_t size, bool huge, work_fn done, void *userdata);
int work_fallocate(struct work **out, struct works *works, struct work_caller caller, int fd,
                   int mode, off_t offset, off_t length, work_fn done, void *userdata);
/* Memory that belongs to the work until done() is called: freed with it by an abort. */
void work_give(struct work *work, void *memory);
/* Nobody waits any more: ends soon, if it can. */
void work_cancel(struct work *work);
