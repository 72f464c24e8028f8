/* SPDX-License-Identifier: MIT */
#include "volume/work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"

struct work {
        struct job job;                /* for punching a hole */
        struct allocation *allocation; /* for making pages */
        work_fn done;
        void *userdata;
        void *memory; /* freed on abort */
        int fd;       /* for a hole, like the members below */
        int mode;
        off_t offset, length;
        int result;
        struct work *next;
};

struct works {
        struct allocator *allocator;
        struct job_queue *queue;
        struct txn *txn;
        struct work *fresh; /* of the current transaction */
        struct work *due;   /* committed, but not begun */
};

static struct work *work_new(work_fn done, void *userdata) {
        struct work *work = fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*work));

        if (!work)
                return NULL;
        work->done = done;
        work->userdata = userdata;
        work->fd = -1;
        return work;
}

static void works_add(struct works *works, struct work *work) {
        work->next = works->fresh;
        works->fresh = work;
        txn_after_commit(works->txn, TXN_AFTER_WORK);
}

static void work_drop(struct work *work) {
        allocation_free(work->allocation);
        if (work->fd >= 0)
                close(work->fd);
        free(work->memory);
        free(work);
}

/* Pages */

static void allocation_ended(void *userdata, int result, uint64_t huge) {
        struct work *work = userdata;

        work->done(work->userdata, result, huge);
        free(work);
}

static int work_allocate(struct work **out, struct works *works,
                         const struct allocation_request *request, work_fn done, void *userdata) {
        struct work *work = works->allocator ? work_new(done, userdata) : NULL;
        int r;

        if (!work)
                return -ENOMEM;
        r = allocation_new(&work->allocation, works->allocator, request, allocation_ended, work);
        if (r < 0) {
                free(work);
                return r;
        }
        works_add(works, work);
        *out = work;
        return 0;
}

int work_populate(struct work **out, struct works *works, struct work_caller caller, int fd,
                  uint64_t size, bool huge, work_fn done, void *userdata) {
        const struct allocation_request request = {
                .fd = fd,
                .length = size,
                .zero = true,
                .huge = huge,
                .uid = caller.uid,
                .pid = caller.pid,
        };

        return work_allocate(out, works, &request, done, userdata);
}

/* Holes */

static void hole_run(struct job *job) {
        struct work *work = (struct work *)job;

        if (fallocate(work->fd, work->mode, work->offset, work->length) < 0)
                work->result = -errno;
        close(work->fd);
}

static void hole_ended(struct job *job) {
        struct work *work = (struct work *)job;

        work->done(work->userdata, work->result, 0);
        free(work);
}

static int work_punch(struct work **out, struct works *works, int fd, int mode, off_t offset,
                      off_t length, work_fn done, void *userdata) {
        struct work *work = works->queue ? work_new(done, userdata) : NULL;

        if (!work)
                return -ENOMEM;
        work->job.run = hole_run;
        work->job.done = hole_ended;
        work->mode = mode;
        work->offset = offset;
        work->length = length;
        /* Use a duplicate: the region may be released meanwhile, and its descriptor number
         * reused. */
        work->fd = fault_strikes(FAULT_DUP) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (work->fd < 0) {
                free(work);
                return -ENOSPC;
        }
        works_add(works, work);
        *out = work;
        return 0;
}

int work_fallocate(struct work **out, struct works *works, struct work_caller caller, int fd,
                   int mode, off_t offset, off_t length, work_fn done, void *userdata) {
        const struct allocation_request request = {
                .fd = fd,
                .offset = (uint64_t)offset,
                .length = (uint64_t)length,
                .mode = mode,
                .uid = caller.uid,
                .pid = caller.pid,
        };

        if (mode & FALLOC_FL_PUNCH_HOLE)
                return work_punch(out, works, fd, mode, offset, length, done, userdata);
        return work_allocate(out, works, &request, done, userdata);
}

void work_give(struct work *work, void *memory) {
        work->memory = memory;
}

void work_cancel(struct work *work) {
        if (work->allocation)
                allocation_cancel(work->allocation);
}

void work_signalled(struct work *work) {
        if (work->allocation)
                allocation_signalled(work->allocation);
}

static void works_begin(void *userdata) {
        struct works *works = userdata;

        while (works->due) {
                struct work *work = works->due;

                works->due = work->next;
                if (work->allocation)
                        allocation_begin(work->allocation);
                else
                        job_queue_submit(works->queue, &work->job);
        }
}

static void works_commit(void *userdata) {
        struct works *works = userdata;
        struct work *work;

        while ((work = works->fresh)) {
                works->fresh = work->next;
                work->next = works->due;
                works->due = work;
        }
}

static void works_abort(void *userdata) {
        struct works *works = userdata;
        struct work *work;

        while ((work = works->fresh)) {
                works->fresh = work->next;
                work_drop(work);
        }
}

int works_new(struct works **out, struct txn *txn, struct allocator *allocator,
              struct job_queue *queue) {
        struct works *works = calloc(1, sizeof(*works));

        if (!works)
                return -ENOMEM;
        works->allocator = allocator;
        works->queue = queue;
        works->txn = txn;
        txn_set_after(txn, TXN_AFTER_WORK, works_begin, works);
        txn_add_member(txn, works_commit, works_abort, works);
        *out = works;
        return 0;
}

struct works *works_free(struct works *works) {
        if (!works)
                return NULL;
        works_abort(works);
        free(works);
        return NULL;
}
