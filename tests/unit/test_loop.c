/* SPDX-License-Identifier: MIT */

/* The event loop and the helper threads. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/job_queue.h"
#include "base/loop.h"

struct pair {
        struct loop *loop;
        struct loop_source *one, *other;
        int told;
};

static void remove_both(void *userdata, uint32_t events) {
        struct pair *pair = userdata;

        assert_int_equal(events, EPOLLIN);
        pair->told++;
        pair->one = loop_remove(pair->one);
        pair->other = loop_remove(pair->other);
        loop_stop(pair->loop, 7);
}

/* The first to be told removes itself and the other, whose event is already at hand. */
static void test_sources_may_remove_each_other(void **state) {
        int one = eventfd(1, EFD_CLOEXEC), other = eventfd(1, EFD_CLOEXEC);
        struct pair pair = {0};

        (void)state;
        assert_int_equal(loop_new(&pair.loop), 0);
        assert_int_equal(loop_add(pair.loop, &pair.one, one, EPOLLIN, remove_both, &pair), 0);
        assert_int_equal(loop_add(pair.loop, &pair.other, other, EPOLLIN, remove_both, &pair), 0);
        assert_int_equal(loop_run(pair.loop), 7);
        assert_int_equal(pair.told, 1);
        assert_null(loop_free(pair.loop));
        close(one);
        close(other);
}

struct timing {
        struct loop *loop;
        struct loop_source *first, *second;
        int order[2], n;
};

static void on_first(void *userdata, uint32_t events) {
        struct timing *timing = userdata;

        (void)events;
        timing->order[timing->n++] = 1;
        assert_int_equal(loop_arm(timing->second, 1), 0);
}

static void on_second(void *userdata, uint32_t events) {
        struct timing *timing = userdata;

        (void)events;
        timing->order[timing->n++] = 2;
        loop_stop(timing->loop, 0);
}

static void test_timers(void **state) {
        struct timing timing = {0};

        (void)state;
        assert_int_equal(loop_new(&timing.loop), 0);
        assert_int_equal(loop_add_timer(timing.loop, &timing.first, on_first, &timing), 0);
        assert_int_equal(loop_add_timer(timing.loop, &timing.second, on_second, &timing), 0);
        assert_int_equal(loop_arm(timing.second, 1), 0);
        assert_int_equal(loop_arm(timing.second, 0), 0); /* disarmed */
        assert_int_equal(loop_arm(timing.first, 2), 0);
        assert_int_equal(loop_run(timing.loop), 0);
        assert_int_equal(timing.order[0], 1);
        assert_int_equal(timing.order[1], 2);
        loop_remove(timing.first);
        loop_remove(timing.second);
        loop_free(timing.loop);
}

struct idling {
        struct loop *loop;
        int n;
};

static bool on_idle(void *userdata) {
        struct idling *idling = userdata;

        if (++idling->n == 3)
                loop_stop(idling->loop, 0);
        return true;
}

static void test_idle_runs_before_sleep(void **state) {
        struct idling idling = {0};

        (void)state;
        assert_int_equal(loop_new(&idling.loop), 0);
        loop_set_idle(idling.loop, on_idle, &idling);
        assert_false(loop_is_stopped(idling.loop));
        assert_int_equal(loop_run(idling.loop), 0);
        assert_true(loop_is_stopped(idling.loop));
        assert_int_equal(idling.n, 3);
        loop_free(idling.loop);
}

enum { JOBS = 100 };

struct work {
        struct job job; /* first: is what run() and done() get */
        struct memory_jobs *memory_jobs;
        int number, ran;
};

struct memory_jobs {
        struct loop *loop;
        struct work work[JOBS];
        int runs, done;
};

static void work_run(struct job *job) {
        struct work *work = (struct work *)job;

        work->ran = work->memory_jobs->runs++; /* one thread, one after the other */
}

static void work_done(struct job *job) {
        struct work *work = (struct work *)job;

        assert_int_equal(work->ran, work->number);
        assert_int_equal(work->memory_jobs->done++, work->number);
        if (work->memory_jobs->done == JOBS)
                loop_stop(work->memory_jobs->loop, 0);
}

static void test_jobs_run_in_order(void **state) {
        static struct memory_jobs memory_jobs;
        struct job_queue *helper;

        (void)state;
        assert_int_equal(loop_new(&memory_jobs.loop), 0);
        assert_int_equal(job_queue_new(&helper, memory_jobs.loop, "memory_jobs"), 0);
        for (int i = 0; i < JOBS; i++) {
                memory_jobs.work[i] = (struct work){
                        .job = {.run = work_run, .done = work_done},
                        .memory_jobs = &memory_jobs,
                        .number = i,
                };
                job_queue_submit(helper, &memory_jobs.work[i].job);
        }
        assert_int_equal(loop_run(memory_jobs.loop), 0);
        assert_null(job_queue_free(helper));
        loop_free(memory_jobs.loop);
}

static void run_until_cancelled(struct job *job) {
        while (!atomic_load(&job->cancelled))
                usleep(1000);
}

static void never_done(struct job *job) {
        (void)job;
        fail();
}

/* Ending a helper ends the job that is running, and drops the others. */
static void test_free_cancels(void **state) {
        struct job jobs[2] = {
                {.run = run_until_cancelled, .done = never_done},
                {.run = run_until_cancelled, .done = never_done},
        };
        struct job_queue *helper;
        struct loop *loop;

        (void)state;
        assert_int_equal(loop_new(&loop), 0);
        assert_int_equal(job_queue_new(&helper, loop, "memory_jobs"), 0);
        job_queue_submit(helper, &jobs[0]);
        job_queue_submit(helper, &jobs[1]);
        assert_null(job_queue_free(helper));
        assert_null(job_queue_free(NULL));
        loop_free(loop);
        assert_null(loop_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sources_may_remove_each_other),
                cmocka_unit_test(test_timers),
                cmocka_unit_test(test_idle_runs_before_sleep),
                cmocka_unit_test(test_jobs_run_in_order),
                cmocka_unit_test(test_free_cancels),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
