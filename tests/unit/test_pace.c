/* SPDX-License-Identifier: MIT */

/* How the worker waits: whom it follows, and what it learns from trying. */

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "pace.h"

enum { SPIN_NS = 50000, MANY = 2000, MILLISECOND = 1000000 };

struct callers {
        cpu_set_t all;
        int cpus[2];
        pid_t pids[2]; /* asleep, each on its CPU */
};

static pid_t caller_start(int cpu) {
        cpu_set_t one;
        pid_t pid;
        int ready[2];
        char byte;

        assert_int_equal(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                CPU_ZERO(&one);
                CPU_SET(cpu, &one);
                if (sched_setaffinity(0, sizeof(one), &one) < 0 || write(ready[1], "", 1) != 1)
                        _exit(1);
                pause();
                _exit(0);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        close(ready[1]);
        return pid;
}

static int callers_setup(void **state) {
        static struct callers callers;
        int n = 0;

        assert_int_equal(sched_getaffinity(0, sizeof(callers.all), &callers.all), 0);
        for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
                if (CPU_ISSET(cpu, &callers.all))
                        callers.cpus[n++] = cpu;
        for (int i = 0; i < n; i++)
                callers.pids[i] = caller_start(callers.cpus[i]);
        *state = &callers;
        return 0;
}

static int callers_teardown(void **state) {
        struct callers *callers = *state;

        for (int i = 0; i < 2; i++)
                if (callers->pids[i] > 0) {
                        kill(callers->pids[i], SIGKILL);
                        waitpid(callers->pids[i], NULL, 0);
                        callers->pids[i] = 0;
                }
        return 0;
}

/* Who has one CPU follows nobody, and the rest means nothing. */
static struct callers *callers_of(void **state) {
        struct callers *callers = *state;

        if (callers->pids[1] == 0)
                skip();
        return callers;
}

static void assert_on(const struct callers *callers, int cpu) {
        cpu_set_t now;

        assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
        if (cpu < 0) {
                assert_true(CPU_EQUAL(&now, &callers->all));
        } else {
                assert_int_equal(CPU_COUNT(&now), 1);
                assert_true(CPU_ISSET(cpu, &now));
                assert_int_equal(sched_getcpu(), cpu);
        }
}

/* Requests of one caller, each some time after the one before; RELEASEs, which are nobody's, too. */
static uint64_t ask(struct pace *pace, pid_t caller, int n, uint64_t now, uint64_t step) {
        for (int i = 0; i < n; i++) {
                now += step;
                pace_answered(pace, i % 3 == 2 ? 0 : caller, now);
        }
        return now;
}

static void test_follows_one_caller(void **state) {
        const struct callers *callers = callers_of(state);
        struct pace pace;
        uint64_t now;

        pace_init(&pace, 0);
        assert_int_equal(pace_timeout(&pace, 0), -1);
        for (int i = 0; i < 2; i++) {
                now = ask(&pace, callers->pids[i], 3, MILLISECOND, 1000);
                assert_on(callers, -1);
                now = ask(&pace, callers->pids[i], MANY, now, 1000);
                assert_on(callers, callers->cpus[i]);
                assert_int_equal(pace_spin(&pace), 0);
                assert_true(pace_timeout(&pace, now) > 0);
        }
        /* Taken in turns. */
        for (int i = 0; i < MANY; i++)
                now = ask(&pace, callers->pids[i % 2], 2, now, 1000);
        assert_on(callers, -1);
        assert_int_equal(pace_timeout(&pace, now), -1);
}

static void test_rests(void **state) {
        const struct callers *callers = callers_of(state);
        struct pace pace;
        uint64_t now;

        pace_init(&pace, 0);
        now = ask(&pace, callers->pids[1], MANY, MILLISECOND, 1000);
        assert_on(callers, callers->cpus[1]);
        assert_true(pace_timeout(&pace, now + MILLISECOND) > 0);
        assert_int_equal(pace_timeout(&pace, now + 10 * MILLISECOND), -1);
        assert_on(callers, -1);
        /* Who asks now and then is not followed. */
        ask(&pace, callers->pids[1], MANY, now, 20 * MILLISECOND);
        assert_on(callers, -1);

        ask(&pace, callers->pids[0], MANY, now, 1000);
        assert_on(callers, callers->cpus[0]);
        pace_rest(&pace);
        assert_on(callers, -1);
}

/* A caller that is gone, or on a CPU that is not ours, is no reason to stay anywhere. */
static void test_cannot_follow(void **state) {
        struct callers *callers = callers_of(state);
        struct callers mine = *callers;
        struct pace pace;

        pace_init(&pace, 0);
        kill(callers->pids[0], SIGKILL);
        waitpid(callers->pids[0], NULL, 0);
        ask(&pace, callers->pids[0], MANY, MILLISECOND, 1000);
        callers->pids[0] = 0;
        assert_on(callers, -1);

        CPU_CLR(callers->cpus[1], &mine.all);
        assert_int_equal(sched_setaffinity(0, sizeof(mine.all), &mine.all), 0);
        pace_init(&pace, SPIN_NS);
        ask(&pace, callers->pids[1], MANY, MILLISECOND, 1000);
        assert_on(&mine, -1);
        assert_int_equal(sched_setaffinity(0, sizeof(callers->all), &callers->all), 0);
}

/* Who would run before us on its CPU could keep us from all others. */
static void test_does_not_follow_the_mighty(void **state) {
        const struct callers *callers = callers_of(state);
        struct sched_param fifo = {.sched_priority = 1}, other = {};
        struct pace pace;

        pace_init(&pace, 0);
        assert_int_equal(setpriority(PRIO_PROCESS, (id_t)callers->pids[1], -1), 0);
        ask(&pace, callers->pids[1], MANY, MILLISECOND, 1000);
        assert_on(callers, -1);
        assert_int_equal(setpriority(PRIO_PROCESS, (id_t)callers->pids[1], 0), 0);
        assert_int_equal(sched_setscheduler(callers->pids[1], SCHED_FIFO, &fifo), 0);
        ask(&pace, callers->pids[1], MANY, MILLISECOND, 1000);
        assert_on(callers, -1);
        assert_int_equal(sched_setscheduler(callers->pids[1], SCHED_OTHER, &other), 0);
        ask(&pace, callers->pids[1], MANY, MILLISECOND, 1000);
        assert_on(callers, callers->cpus[1]);
        pace_rest(&pace);
}

/* Each way takes the time given, as a machine would have it. */
static void try_both(struct pace *pace, pid_t caller, uint64_t spin, uint64_t follow) {
        uint64_t now = MILLISECOND;

        pace_init(pace, SPIN_NS);
        for (int i = 0; i < MANY; i++)
                now = ask(pace, caller, 1, now, pace->way == PACE_SPIN ? spin : follow);
}

static void test_keeps_the_quicker_way(void **state) {
        const struct callers *callers = callers_of(state);
        struct pace pace;

        try_both(&pace, callers->pids[1], 7000, 5000);
        assert_int_equal(pace.way, PACE_FOLLOW);
        assert_on(callers, callers->cpus[1]);
        pace_rest(&pace);

        try_both(&pace, callers->pids[1], 5000, 7000);
        assert_int_equal(pace.way, PACE_SPIN);
        assert_on(callers, -1);
        assert_int_equal(pace_spin(&pace), SPIN_NS);
        /* And looks again, some time. */
        for (uint64_t now = MILLISECOND; pace.left > 0;)
                now = ask(&pace, callers->pids[1], 1, now, 5000);
        try_both(&pace, callers->pids[1], 7000, 5000);
        assert_int_equal(pace.way, PACE_FOLLOW);
        pace_rest(&pace);
}

static void test_spins_give_up(void **state) {
        struct pace pace;

        (void)state;
        pace_init(&pace, SPIN_NS);
        pace.spin_ns = SPIN_NS; /* with one CPU, too */
        for (int i = 0; pace_spin(&pace) > 0; i++) {
                assert_true(i < 100);
                pace_spun(&pace, false);
        }
        /* Requests far from each other are not worth a spin; some close together are. */
        for (uint64_t i = 1; i < 100; i++) {
                pace_woken(&pace, i * MILLISECOND);
                pace_answered(&pace, (pid_t)i, i * MILLISECOND);
                assert_int_equal(pace_spin(&pace), 0);
        }
        for (uint64_t i = 1; i < 10; i++) {
                pace_woken(&pace, 100 * MILLISECOND + i * 1000);
                pace_answered(&pace, (pid_t)i, 100 * MILLISECOND + i * 1000);
        }
        assert_int_equal(pace_spin(&pace), SPIN_NS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_follows_one_caller, callers_setup,
                                                callers_teardown),
                cmocka_unit_test_setup_teardown(test_rests, callers_setup, callers_teardown),
                cmocka_unit_test_setup_teardown(test_cannot_follow, callers_setup,
                                                callers_teardown),
                cmocka_unit_test_setup_teardown(test_does_not_follow_the_mighty, callers_setup,
                                                callers_teardown),
                cmocka_unit_test_setup_teardown(test_keeps_the_quicker_way, callers_setup,
                                                callers_teardown),
                cmocka_unit_test(test_spins_give_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
