/* SPDX-License-Identifier: MIT */

/*
 * The request for short wake-ups, and the spin that makes it: with a clock of our own, and an
 * ordinary file in place of the kernel's, in which all that is written stays.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "process/spin.h"
#include "process/wakeup.h"

#define US UINT64_C(1000)
#define MS (1000 * US)
#define SECOND (1000 * MS)

enum { SHORT = 0, ANY = 2000000000 };

static char device[64], driver[64];
static const struct wakeup_paths paths = {.device = device, .driver = driver};
static struct wakeup wakeup;
static uint64_t now; /* the time */

static void put(const char *path, const char *text) {
        FILE *file = fopen(path, "w");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static int set_up(void **state) {
        (void)state;
        strcpy(device, "/tmp/iomemfs-wakeup-XXXXXX");
        strcpy(driver, "/tmp/iomemfs-wakeup-XXXXXX");
        close(mkstemp(device));
        close(mkstemp(driver));
        put(driver, "haltpoll\n");
        now = 1000 * SECOND;
        wakeup_open(&wakeup, LATENCY_LOW, 2, &paths);
        return 0;
}

static int tear_down(void **state) {
        (void)state;
        if (wakeup.fd >= 0)
                close(wakeup.fd);
        return unlink(device) | unlink(driver);
}

/* How many values have been written, the last of them to *last. */
static size_t written(int32_t *last) {
        int32_t values[4096];
        int fd = open(device, O_RDONLY);
        ssize_t n = read(fd, values, sizeof(values));

        assert_true(n >= 0 && n % (ssize_t)sizeof(*values) == 0 && n < (ssize_t)sizeof(values));
        close(fd);
        *last = n > 0 ? values[(size_t)n / sizeof(*values) - 1] : -1;
        return (size_t)n / sizeof(*values);
}

static void assert_written(size_t count, int32_t value) {
        int32_t last;

        assert_int_equal(written(&last), count);
        assert_int_equal(last, value);
}

static bool opens(enum latency latency, unsigned int processors, const char *name) {
        struct wakeup one;

        put(driver, name);
        wakeup_open(&one, latency, processors, &paths);
        if (one.fd >= 0)
                close(one.fd);
        return one.fd >= 0;
}

static void test_where_it_is_wanted(void **state) {
        (void)state;
        assert_true(opens(LATENCY_AUTO, 2, "haltpoll\n"));
        assert_true(opens(LATENCY_AUTO, 8, "haltpoll\n"));
        assert_false(opens(LATENCY_AUTO, 9, "haltpoll\n"));
        assert_false(opens(LATENCY_AUTO, 1, "haltpoll\n"));
        assert_false(opens(LATENCY_AUTO, 2, "intel_idle\n"));
        assert_false(opens(LATENCY_AUTO, 2, "haltpolls\n"));
        assert_false(opens(LATENCY_AUTO, 2, ""));
        assert_true(opens(LATENCY_LOW, 64, "intel_idle\n"));
        assert_true(opens(LATENCY_LOW, 2, ""));
        assert_false(opens(LATENCY_LOW, 1, ""));
        assert_false(opens(LATENCY_NORMAL, 2, "haltpoll\n"));
}

static void test_without_files(void **state) {
        const struct wakeup_paths no_driver = {.device = device, .driver = "/nonexistent/driver"};
        const struct wakeup_paths no_device = {.device = "/nonexistent/device", .driver = driver};
        struct wakeup one;

        (void)state;
        wakeup_open(&one, LATENCY_AUTO, 2, &no_driver);
        assert_int_equal(one.fd, -1);
        wakeup_open(&one, LATENCY_LOW, 2, &no_device);
        assert_int_equal(one.fd, -1);
        wakeup_hold(&one, now);
        wakeup_release(&one, now);
        wakeup_release_dead(&one, now);
        assert_int_equal(one.turns, 0);
}

static void test_hold_and_release(void **state) {
        (void)state;
        wakeup_release(&wakeup, now);
        assert_written(0, -1);
        for (int i = 0; i < 100; i++, now += MS)
                wakeup_hold(&wakeup, now);
        assert_written(1, SHORT);
        wakeup_release(&wakeup, now);
        assert_written(2, ANY);
        wakeup_release(&wakeup, now += SECOND);
        assert_written(2, ANY);
        assert_int_equal(wakeup.turns, 1);
        assert_int_equal(wakeup.held_ns, 100 * MS);
}

/* A worker that died while it held, before or after it said so in the record. */
static void test_release_dead(void **state) {
        (void)state;
        wakeup_hold(&wakeup, now);
        wakeup_release_dead(&wakeup, now += 3 * MS);
        assert_written(2, ANY);
        assert_int_equal(wakeup.held, 0);
        assert_int_equal(wakeup.held_ns, 3 * MS);
        wakeup_release_dead(&wakeup, now);
        assert_written(3, ANY);
}

/* The kernel may refuse; nothing is said, and the record does not claim it. */
static void test_refused(void **state) {
        int fd = open(device, O_RDONLY);

        (void)state;
        dup2(fd, wakeup.fd);
        close(fd);
        wakeup_hold(&wakeup, now);
        assert_int_equal(wakeup.held, 0);
        wakeup_release(&wakeup, now += SECOND);
        assert_int_equal(wakeup.held_ns, 0);
}

/* Changes wake all idle processors: 100 at once, and from then on 100 a second. */
static void test_changes_are_bounded(void **state) {
        uint64_t at_once;

        (void)state;
        for (int i = 0; i < 1000; i++) {
                wakeup_hold(&wakeup, now);
                wakeup_release(&wakeup, now);
        }
        at_once = wakeup.turns;
        assert_int_equal(at_once, 100);
        for (int i = 0; i < 10000; i++) {
                wakeup_hold(&wakeup, now += MS);
                wakeup_release(&wakeup, now);
        }
        assert_int_equal(wakeup.turns - at_once, 10 * 100);
        assert_written(2 * wakeup.turns, ANY);
        /* Savings do not grow without end. */
        now += 1000 * SECOND;
        at_once = wakeup.turns;
        for (int i = 0; i < 1000; i++) {
                wakeup_hold(&wakeup, now);
                wakeup_release(&wakeup, now);
        }
        assert_int_equal(wakeup.turns - at_once, 100);
}

/* Somebody sends requests without a pause: 80 s in one piece, then a quarter of the time. */
static void test_share_of_time_is_bounded(void **state) {
        uint64_t held_ns;
        int32_t last;

        (void)state;
        for (int i = 0; i < 79 * 1000; i++)
                wakeup_hold(&wakeup, now += MS);
        assert_written(1, SHORT);
        for (int i = 0; i < 1100; i++)
                wakeup_hold(&wakeup, now += MS);
        assert_written(2, ANY);

        held_ns = wakeup.held_ns;
        for (int i = 0; i < 1000 * 1000; i++)
                wakeup_hold(&wakeup, now += MS);
        held_ns = wakeup.held_ns - held_ns;
        assert_in_range(held_ns, 245 * SECOND, 255 * SECOND);
        /* In pieces that are long enough to be worth it. */
        assert_in_range(written(&last), 300, 510);
}

/* A new worker has the savings that the last one left, not new ones. */
static void test_bounds_outlive_the_worker(void **state) {
        (void)state;
        for (int i = 0; i < 1000; i++) {
                wakeup_hold(&wakeup, now);
                wakeup_release_dead(&wakeup, now);
        }
        assert_int_equal(wakeup.turns, 100);
}

/* The spin. */

static uint64_t fake_clock(void) {
        return now;
}

/* What a look finds: nothing but at a time. */
struct looks {
        uint64_t step; /* how long a look takes */
        uint64_t when; /* there is a request from then on, once */
        unsigned int n, found;
        bool was_held;
};

static bool look(void *userdata) {
        struct looks *looks = userdata;

        now += looks->step;
        looks->n++;
        looks->was_held = wakeup.held;
        if (looks->when == 0 || now < looks->when)
                return false;
        looks->when = 0;
        looks->found++;
        return true;
}

static struct spin new_spin(uint32_t limit_us) {
        struct spin spin;

        spin_init(&spin, &wakeup, limit_us);
        spin.limit_ns = limit_us * US; /* on machines with one processor, too */
        spin.clock = fake_clock;
        return spin;
}

static void test_spin_holds_while_it_looks(void **state) {
        struct looks looks = {.step = US};
        struct spin spin = new_spin(100);

        (void)state;
        looks.when = now + 50 * US;
        assert_true(spin_run(&spin, look, &looks));
        assert_int_equal(looks.n, 50);
        assert_true(looks.was_held);
        /* The next look comes at once: it stays held, and nothing is written anew. */
        assert_int_equal(wakeup.held, 1);
        looks.when = now + 90 * US;
        assert_true(spin_run(&spin, look, &looks));
        assert_written(1, SHORT);
        /* In vain: the loop will sleep. */
        assert_false(spin_run(&spin, look, &looks));
        assert_int_equal(looks.n, 50 + 90 + 100);
        assert_written(2, ANY);
        assert_int_equal(wakeup.held, 0);
}

static void test_spin_gives_up_and_begins_again(void **state) {
        struct looks looks = {.step = US};
        struct spin spin = new_spin(100);

        (void)state;
        for (int i = 0; i < 4; i++) {
                assert_int_equal(spin_woken(&spin), 0);
                spin_handled(&spin, 0);
                assert_false(spin_run(&spin, look, &looks));
        }
        assert_int_equal(looks.n, 4 * 100);
        assert_int_equal(wakeup.turns, 4);

        /* Requests now and then wake the loop; it sleeps again at once, and asks for nothing. */
        for (int i = 0; i < 100; i++) {
                now += 5 * MS;
                assert_int_equal(spin_woken(&spin), now);
                spin_handled(&spin, now);
                assert_false(spin_run(&spin, look, &looks));
        }
        assert_int_equal(looks.n, 4 * 100);
        assert_int_equal(wakeup.turns, 4);

        /* Requests that a spin would have caught: the third begins it again. */
        for (int i = 0; i < 3; i++) {
                assert_false(spin_run(&spin, look, &looks));
                now += 20 * US;
                spin_handled(&spin, spin_woken(&spin));
        }
        looks.when = now + 10 * US;
        assert_true(spin_run(&spin, look, &looks));
        assert_true(looks.was_held);
}

/* However long requests take: what counts is the time from the end of one to the next. */
static void test_spin_judges_by_the_gaps(void **state) {
        struct looks looks = {.step = US};
        struct spin spin = new_spin(100);
        uint64_t woken;

        (void)state;
        for (int i = 0; i < 4; i++)
                spin_run(&spin, look, &looks);
        for (int i = 0; i < 3; i++) {
                now += 20 * US;
                woken = spin_woken(&spin);
                now += 30 * MS; /* the request */
                spin_handled(&spin, woken);
        }
        looks.when = now + 10 * US;
        assert_true(spin_run(&spin, look, &looks));
}

static void test_spin_never(void **state) {
        struct looks looks = {.step = US, .when = 1};
        struct spin spin = new_spin(0);

        (void)state;
        assert_false(spin_run(&spin, look, &looks));
        assert_int_equal(spin_woken(&spin), 0);
        assert_int_equal(looks.n, 0);
        assert_written(0, -1);
}

/* The kernel itself takes what we write, where we may. */
static void test_kernel(void **state) {
        struct wakeup one;
        int32_t value = -1;
        int fd = open(wakeup_paths.device, O_RDONLY);

        (void)state;
        if (fd < 0)
                skip();
        wakeup_open(&one, LATENCY_LOW, 2, &wakeup_paths);
        assert_true(one.fd >= 0);
        wakeup_hold(&one, now);
        assert_int_equal(one.held, 1);
        /* The least of all wishes on this machine. */
        assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
        assert_int_equal(value, SHORT);
        wakeup_release(&one, now);
        assert_int_equal(one.held, 0);
        close(one.fd);
        close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_where_it_is_wanted),
                TEST(test_without_files),
                TEST(test_hold_and_release),
                TEST(test_release_dead),
                TEST(test_refused),
                TEST(test_changes_are_bounded),
                TEST(test_share_of_time_is_bounded),
                TEST(test_bounds_outlive_the_worker),
                TEST(test_spin_holds_while_it_looks),
                TEST(test_spin_gives_up_and_begins_again),
                TEST(test_spin_judges_by_the_gaps),
                TEST(test_spin_never),
                TEST(test_kernel),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
