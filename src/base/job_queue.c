/* SPDX-License-Identifier: MIT */
#include "base/job_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job_list {
        struct job *first;
        struct job **end;
};

struct job_queue {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool stopping;
        struct job *running;
        struct job_list waiting, finished; /* under the lock */
        int event_fd;
        struct loop_source *source;
};

static void job_list_init(struct job_list *queue) {
        queue->first = NULL;
        queue->end = &queue->first;
}

static void job_list_push(struct job_list *queue, struct job *job) {
        job->next = NULL;
        *queue->end = job;
        queue->end = &job->next;
}

static struct job *job_list_pop(struct job_list *queue) {
        struct job *job = queue->first;

        if (!job)
                return NULL;
        queue->first = job->next;
        if (!queue->first)
                queue->end = &queue->first;
        job->next = NULL;
        return job;
}

static void *job_queue_main(void *userdata) {
        struct job_queue *queue = userdata;

        pthread_mutex_lock(&queue->lock);
        while (!queue->stopping) {
                struct job *job = job_list_pop(&queue->waiting);

                if (!job) {
                        pthread_cond_wait(&queue->wake, &queue->lock);
                        continue;
                }
                queue->running = job;
                pthread_mutex_unlock(&queue->lock);
                job->run(job);
                pthread_mutex_lock(&queue->lock);
                queue->running = NULL;
                job_list_push(&queue->finished, job);
                eventfd_write(queue->event_fd, 1);
        }
        pthread_mutex_unlock(&queue->lock);
        return NULL;
}

static void job_queue_report(void *userdata, uint32_t events) {
        struct job_queue *queue = userdata;
        struct job *job;
        eventfd_t n;

        (void)events;
        eventfd_read(queue->event_fd, &n);
        for (;;) {
                pthread_mutex_lock(&queue->lock);
                job = job_list_pop(&queue->finished);
                pthread_mutex_unlock(&queue->lock);
                if (!job)
                        return;
                job->done(job);
        }
}

static int job_queue_start(struct job_queue *queue, struct loop *loop, const char *name) {
        int r;

        r = loop_add(loop, &queue->source, queue->event_fd, EPOLLIN, job_queue_report, queue);
        if (r < 0)
                return r;
        r = -pthread_create(&queue->thread, NULL, job_queue_main, queue);
        if (r < 0) {
                queue->source = loop_remove(queue->source);
                return r;
        }
        pthread_setname_np(queue->thread, name);
        return 0;
}

int job_queue_new(struct job_queue **out, struct loop *loop, const char *name) {
        struct job_queue *queue;
        int r;

        queue = calloc(1, sizeof(*queue));
        if (!queue)
                return -ENOMEM;
        pthread_mutex_init(&queue->lock, NULL);
        pthread_cond_init(&queue->wake, NULL);
        job_list_init(&queue->waiting);
        job_list_init(&queue->finished);
        queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = queue->event_fd < 0 ? -errno : job_queue_start(queue, loop, name);
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
        pthread_mutex_lock(&queue->lock);
        queue->stopping = true;
        if (queue->running)
                atomic_store(&queue->running->cancelled, true);
        pthread_cond_signal(&queue->wake);
        pthread_mutex_unlock(&queue->lock);
        pthread_join(queue->thread, NULL);
        loop_remove(queue->source);
        close(queue->event_fd);
        pthread_cond_destroy(&queue->wake);
        pthread_mutex_destroy(&queue->lock);
        free(queue);
        return NULL;
}

void job_queue_submit(struct job_queue *queue, struct job *job) {
        pthread_mutex_lock(&queue->lock);
        job_list_push(&queue->waiting, job);
        pthread_cond_signal(&queue->wake);
        pthread_mutex_unlock(&queue->lock);
}
