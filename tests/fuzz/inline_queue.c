/* SPDX-License-Identifier: MIT */

/*
 * inline_queue: base/job_queue.h without a thread, for a fuzz target in place of base/job_queue.c.
 *
 * A job is run on the loop, at its next turn, and then reported.  So an input does the same whenever
 * it is run, and none pays for changes of threads, which take longer than most requests.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/job_queue.h"

struct job_queue {
        struct loop_source *turn;
        int event_fd;
        struct job *first, **end;
};

static void queue_on_turn(void *userdata, uint32_t events) {
        struct job_queue *queue = userdata;
        struct job *job;
        eventfd_t n;

        (void)events;
        eventfd_read(queue->event_fd, &n);
        while ((job = queue->first)) {
                queue->first = job->next;
                if (!queue->first)
                        queue->end = &queue->first;
                job->run(job);
                job->done(job);
        }
}

int job_queue_new(struct job_queue **out, struct loop *loop, const char *name) {
        struct job_queue *queue = calloc(1, sizeof(*queue));
        int r;

        (void)name;
        if (!queue)
                return -ENOMEM;
        queue->end = &queue->first;
        queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = queue->event_fd < 0
                    ? -errno
                    : loop_add(loop, &queue->turn, queue->event_fd, EPOLLIN, queue_on_turn, queue);
        if (r < 0) {
                if (queue->event_fd >= 0)
                        close(queue->event_fd);
                free(queue);
                return r;
        }
        *out = queue;
        return 0;
}

struct job_queue *job_queue_free(struct job_queue *queue) {
        if (!queue)
                return NULL;
        loop_remove(queue->turn);
        close(queue->event_fd);
        free(queue);
        return NULL;
}

void job_queue_submit(struct job_queue *queue, struct job *job) {
        if (!queue->first)
                eventfd_write(queue->event_fd, 1);
        job->next = NULL;
        *queue->end = job;
        queue->end = &job->next;
}
