/* SPDX-License-Identifier: MIT */
#include "volume/reclaim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>
#include "base/fault.h"

enum { STEP = 64 * 1024 * 1024 }; /* bytes that are freed in one step */

/* Frees the memory of a large region, unless somebody else still has it. */
struct reclaim {
        struct job job;
        struct reclaimer *reclaimer;
        int fd;
};

struct waiter {
        void (*fn)(void *userdata, bool done);
        void *userdata;
        uint64_t target; /* jobs that must have ended */
        struct waiter *prev, *next;
};

struct reclaimer {
        struct job_queue *queue;
        struct loop_source *turn;
        uint64_t begun, ended; /* jobs; they end in the order in which they begin */
        struct waiter *fresh;  /* of this turn: their targets are not known yet */
        struct waiter *waiters;
};

static void reclaim_run(struct job *job) {
        struct reclaim *reclaim = (struct reclaim *)job;
        struct stat st;

        /* In steps: a worker that is killed here ends only when the system call is over. */
        if (fcntl(reclaim->fd, F_SETLEASE, F_WRLCK) == 0 && fstat(reclaim->fd, &st) == 0) {
                off_t size = st.st_size;

                while (size > 0) {
                        size = size > STEP ? size - STEP : 0;
                        if (ftruncate(reclaim->fd, size) < 0)
                                break; /* sealed: close(2) frees it all the same */
                }
        }
        close(reclaim->fd);
}

/* Calls those who waited for no more than this. */
static void reclaimer_tell(struct reclaimer *reclaimer) {
        struct waiter *waiter;

        while ((waiter = reclaimer->waiters) && waiter->target <= reclaimer->ended) {
                DL_DELETE(reclaimer->waiters, waiter);
                waiter->fn(waiter->userdata, true);
                free(waiter);
        }
}

static void reclaim_done(struct job *job) {
        struct reclaim *reclaim = (struct reclaim *)job;
        struct reclaimer *reclaimer = reclaim->reclaimer;

        free(reclaim);
        reclaimer->ended++;
        reclaimer_tell(reclaimer);
}

void reclaim_close(void *userdata, int fd, uint64_t blocks) {
        struct reclaimer *reclaimer = userdata;
        struct reclaim *reclaim = NULL;

        if (blocks > RECLAIM_AT_ONCE && reclaimer->queue)
                reclaim = calloc(1, sizeof(*reclaim));
        if (!reclaim) {
                close(fd);
                return;
        }
        *reclaim = (struct reclaim){
                .job = {.run = reclaim_run, .done = reclaim_done},
                .reclaimer = reclaimer,
                .fd = fd,
        };
        reclaimer->begun++;
        job_queue_submit(reclaimer->queue, &reclaim->job);
}

static void reclaimer_on_turn(void *userdata, uint32_t events) {
        struct reclaimer *reclaimer = userdata;
        struct waiter *waiter;

        (void)events;
        while ((waiter = reclaimer->fresh)) {
                DL_DELETE(reclaimer->fresh, waiter);
                waiter->target = reclaimer->begun;
                DL_APPEND(reclaimer->waiters, waiter);
        }
        reclaimer_tell(reclaimer);
}

int reclaim_after(struct reclaimer *reclaimer, void (*fn)(void *userdata, bool done),
                  void *userdata) {
        struct waiter *waiter = fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*waiter));

        if (!waiter)
                return -ENOMEM;
        waiter->fn = fn;
        waiter->userdata = userdata;
        DL_APPEND(reclaimer->fresh, waiter);
        loop_arm_soon(reclaimer->turn);
        return 0;
}

int reclaimer_new(struct reclaimer **out, struct loop *loop, struct job_queue *queue) {
        struct reclaimer *reclaimer = calloc(1, sizeof(*reclaimer));
        int r;

        if (!reclaimer)
                return -ENOMEM;
        reclaimer->queue = queue;
        r = loop_add_timer(loop, &reclaimer->turn, reclaimer_on_turn, reclaimer);
        if (r < 0) {
                free(reclaimer);
                return r;
        }
        *out = reclaimer;
        return 0;
}

static void waiters_free(struct waiter *list) {
        struct waiter *waiter, *next;

        DL_FOREACH_SAFE(list, waiter, next)
        free(waiter);
}

struct reclaimer *reclaimer_free(struct reclaimer *reclaimer) {
        if (!reclaimer)
                return NULL;
        loop_remove(reclaimer->turn);
        waiters_free(reclaimer->fresh);
        waiters_free(reclaimer->waiters);
        free(reclaimer);
        return NULL;
}
