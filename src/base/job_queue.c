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
        struct job_queue *helper = userdata;

        pthread_mutex_lock(&helper->lock);
        while (!helper->stopping) {
                struct job *job = job_list_pop(&helper->waiting);

                if (!job) {
                        pthread_cond_wait(&helper->wake, &helper->lock);
                        continue;
                }
                helper->running = job;
                pthread_mutex_unlock(&helper->lock);
                job->run(job);
                pthread_mutex_lock(&helper->lock);
                helper->running = NULL;
                job_list_push(&helper->finished, job);
                eventfd_write(helper->event_fd, 1);
        }
        pthread_mutex_unlock(&helper->lock);
        return NULL;
}

static void job_queue_report(void *userdata, uint32_t events) {
        struct job_queue *helper = userdata;
        struct job *job;
        eventfd_t n;

        (void)events;
        eventfd_read(helper->event_fd, &n);
        for (;;) {
                pthread_mutex_lock(&helper->lock);
                job = job_list_pop(&helper->finished);
                pthread_mutex_unlock(&helper->lock);
                if (!job)
                        return;
                job->done(job);
        }
}

static int job_queue_start(struct job_queue *helper, struct loop *loop, const char *name) {
        int r;

        r = loop_add(loop, &helper->source, helper->event_fd, EPOLLIN, job_queue_report, helper);
        if (r < 0)
                return r;
        r = -pthread_create(&helper->thread, NULL, job_queue_main, helper);
        if (r < 0) {
                helper->source = loop_remove(helper->source);
                return r;
        }
        pthread_setname_np(helper->thread, name);
        return 0;
}

int job_queue_new(struct job_queue **out, struct loop *loop, const char *name) {
        struct job_queue *helper;
        int r;

        helper = calloc(1, sizeof(*helper));
        if (!helper)
                return -ENOMEM;
        pthread_mutex_init(&helper->lock, NULL);
        pthread_cond_init(&helper->wake, NULL);
        job_list_init(&helper->waiting);
        job_list_init(&helper->finished);
        helper->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = helper->event_fd < 0 ? -errno : job_queue_start(helper, loop, name);
        if (r < 0) {
                if (helper->event_fd >= 0)
                        close(helper->event_fd);
                free(helper);
                return r;
        }
        *out = helper;
        return 0;
}

struct job_queue *job_queue_free(struct job_queue *helper) {
        if (!helper)
                return NULL;
        pthread_mutex_lock(&helper->lock);
        helper->stopping = true;
        if (helper->running)
                atomic_store(&helper->running->cancelled, true);
        pthread_cond_signal(&helper->wake);
        pthread_mutex_unlock(&helper->lock);
        pthread_join(helper->thread, NULL);
        loop_remove(helper->source);
        close(helper->event_fd);
        pthread_cond_destroy(&helper->wake);
        pthread_mutex_destroy(&helper->lock);
        free(helper);
        return NULL;
}

void job_queue_submit(struct job_queue *helper, struct job *job) {
        pthread_mutex_lock(&helper->lock);
        job_list_push(&helper->waiting, job);
        pthread_cond_signal(&helper->wake);
        pthread_mutex_unlock(&helper->lock);
}
