/* SPDX-License-Identifier: MIT */
#include "volume/work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "memory/populate.h"

struct work {
        struct job job; /* fallocate(2) */
        struct population *population;
        work_fn done;
        void *userdata;
        void *memory; /* freed by an abort */
        int fd;       /* fallocate(2), as what follows */
        int mode;
        off_t offset, length;
        int result;
        struct work *next;
};

struct works {
        struct job_queue *queue;
        struct txn *txn;
        struct work *fresh; /* of the current transaction */
        struct work *due;   /* committed, and not begun */
};

static struct work *work_new(struct works *works, work_fn done, void *userdata) {
        struct work *work = fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*work));

        if (!work || !works->queue) {
                free(work);
                return NULL;
        }
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
        population_free(work->population);
        if (work->fd >= 0)
                close(work->fd);
        free(work->memory);
        free(work);
}

static void population_ended(void *userdata, int result, uint64_t huge) {
        struct work *work = userdata;

        work->done(work->userdata, result, huge);
        free(work);
}

int work_populate(struct work **out, struct works *works, int fd, uint64_t size, bool huge,
                  work_fn done, void *userdata) {
        struct work *work = work_new(works, done, userdata);
        int r;

        if (!work)
                return -ENOMEM;
        r = population_new(&work->population, fd, size, huge, population_ended, work);
        if (r < 0) {
                free(work);
                return r;
        }
        works_add(works, work);
        *out = work;
        return 0;
}

static void fallocate_run(struct job *job) {
        struct work *work = (struct work *)job;

        if (fallocate(work->fd, work->mode, work->offset, work->length) < 0)
                work->result = -errno;
        close(work->fd);
}

static void fallocate_ended(struct job *job) {
        struct work *work = (struct work *)job;

        work->done(work->userdata, work->result, 0);
        free(work);
}

int work_fallocate(struct work **out, struct works *works, int fd, int mode, off_t offset,
                   off_t length, work_fn done, void *userdata) {
        struct work *work = work_new(works, done, userdata);

        if (!work)
                return -ENOMEM;
        work->job.run = fallocate_run;
        work->job.done = fallocate_ended;
        work->mode = mode;
        work->offset = offset;
        work->length = length;
        /* One of its own: the region may be given up meanwhile, and its number be another's. */
        work->fd = fault_strikes(FAULT_DUP) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (work->fd < 0) {
                free(work);
                return -ENOSPC;
        }
        works_add(works, work);
        *out = work;
        return 0;
}

void work_give(struct work *work, void *memory) {
        work->memory = memory;
}

void work_cancel(struct work *work) {
        if (work->population)
                population_cancel(work->population);
}

static void works_begin(void *userdata) {
        struct works *works = userdata;

        while (works->due) {
                struct work *work = works->due;

                works->due = work->next;
                if (work->population)
                        population_start(work->population, works->queue);
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

int works_new(struct works **out, struct txn *txn, struct job_queue *queue) {
        struct works *works = calloc(1, sizeof(*works));

        if (!works)
                return -ENOMEM;
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
