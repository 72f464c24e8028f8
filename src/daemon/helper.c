/* SPDX-License-Identifier: MIT */
#include "helper.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
        struct job *first;
        struct job **end;
};

struct helper {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool stopping;
        struct job *running;
        struct queue waiting, finished; /* under the lock */
        int event_fd;
        struct loop_source *source;
};

static void queue_init(struct queue *queue) {
        queue->first = NULL;
        queue->end = &queue->first;
}

static void queue_push(struct queue *queue, struct job *job) {
        job->next = NULL;
        *queue->end = job;
        queue->end = &job->next;
}

static struct job *queue_pop(struct queue *queue) {
        struct job *job = queue->first;

        if (!job)
                return NULL;
        queue->first = job->next;
        if (!queue->first)
                queue->end = &queue->first;
        job->next = NULL;
        return job;
}

static void *helper_main(void *userdata) {
        struct helper *helper = userdata;

        pthread_mutex_lock(&helper->lock);
        while (!helper->stopping) {
                struct job *job = queue_pop(&helper->waiting);

                if (!job) {
                        pthread_cond_wait(&helper->wake, &helper->lock);
                        continue;
                }
                helper->running = job;
                pthread_mutex_unlock(&helper->lock);
                job->run(job);
                pthread_mutex_lock(&helper->lock);
                helper->running = NULL;
                queue_push(&helper->finished, job);
                eventfd_write(helper->event_fd, 1);
        }
        pthread_mutex_unlock(&helper->lock);
        return NULL;
}

static void helper_report(void *userdata, uint32_t events) {
        struct helper *helper = userdata;
        struct job *job;
        eventfd_t n;

        (void)events;
        eventfd_read(helper->event_fd, &n);
        for (;;) {
                pthread_mutex_lock(&helper->lock);
                job = queue_pop(&helper->finished);
                pthread_mutex_unlock(&helper->lock);
                if (!job)
                        return;
                job->done(job);
        }
}

static int helper_start(struct helper *helper, struct loop *loop, const char *name) {
        int r;

        r = loop_add(loop, &helper->source, helper->event_fd, EPOLLIN, helper_report, helper);
        if (r < 0)
                return r;
        r = -pthread_create(&helper->thread, NULL, helper_main, helper);
        if (r < 0) {
                helper->source = loop_remove(helper->source);
                return r;
        }
        pthread_setname_np(helper->thread, name);
        return 0;
}

int helper_new(struct helper **out, struct loop *loop, const char *name) {
        struct helper *helper;
        int r;

        helper = calloc(1, sizeof(*helper));
        if (!helper)
                return -ENOMEM;
        pthread_mutex_init(&helper->lock, NULL);
        pthread_cond_init(&helper->wake, NULL);
        queue_init(&helper->waiting);
        queue_init(&helper->finished);
        helper->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = helper->event_fd < 0 ? -errno : helper_start(helper, loop, name);
        if (r < 0) {
                if (helper->event_fd >= 0)
                        close(helper->event_fd);
                free(helper);
                return r;
        }
        *out = helper;
        return 0;
}

struct helper *helper_free(struct helper *helper) {
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

void helper_submit(struct helper *helper, struct job *job) {
        pthread_mutex_lock(&helper->lock);
        queue_push(&helper->waiting, job);
        pthread_cond_signal(&helper->wake);
        pthread_mutex_unlock(&helper->lock);
}
