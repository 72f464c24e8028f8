/* SPDX-License-Identifier: MIT */

/*
 * The notifier with real processes, and a kernel that takes its time where a test says so.  What a
 * process is to tell the kernel is noted in memory that all of them share.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/loop.h"
#include "fuse/notifier.h"
#include "fuse/notify.h"

enum { NODES = 64, LIMIT_MS = 30000 };

/* The kernel. */
struct kernel {
        atomic_bool holds[NODES]; /* a notification about this node waits */
        atomic_int begun[NODES];  /* how many came */
        atomic_int told[NODES];   /* how many went through */
        atomic_int epochs;
        char name[16]; /* of the last entry */
};
static struct kernel *kernel;

static void kernel_wait(uint64_t node) {
        atomic_fetch_add(&kernel->begun[node], 1);
        while (atomic_load(&kernel->holds[node]))
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        atomic_fetch_add(&kernel->told[node], 1);
}

int notify_entry(int fuse_fd, uint64_t dir, const char *name, size_t length) {
        (void)fuse_fd;
        memcpy(kernel->name, name, length);
        kernel->name[length] = '\0';
        kernel_wait(dir);
        return 0;
}

int notify_inode(int fuse_fd, uint64_t node, int64_t offset) {
        (void)fuse_fd;
        (void)offset;
        kernel_wait(node);
        return 0;
}

int notify_epoch(int fuse_fd) {
        (void)fuse_fd;
        atomic_fetch_add(&kernel->epochs, 1);
        return 0;
}

/* The daemon. */

struct house {
        struct loop *loop;
        struct notifier *notifier;
        struct loop_source *limit;
        int left;
        int told, not_told;
};

static void on_limit(void *userdata, uint32_t events) {
        struct house *house = userdata;

        (void)events;
        loop_stop(house->loop, -ETIMEDOUT);
}

static void house_new(struct house *house) {
        *house = (struct house){0};
        memset(kernel, 0, sizeof(*kernel));
        assert_int_equal(loop_new(&house->loop), 0);
        assert_int_equal(loop_add_timer(house->loop, &house->limit, on_limit, house), 0);
        /* Any descriptor: nobody writes to it. */
        assert_int_equal(notifier_new(&house->notifier, house->loop, STDIN_FILENO), 0);
}

static void house_clear(struct house *house) {
        for (int i = 0; i < NODES; i++)
                atomic_store(&kernel->holds[i], false);
        notifier_free(house->notifier);
        loop_remove(house->limit);
        loop_free(house->loop);
}

static void on_done(void *userdata, bool told) {
        struct house *house = userdata;

        house->told += told;
        house->not_told += !told;
        if (--house->left == 0)
                loop_stop(house->loop, 0);
}

static void await(struct house *house, int n) {
        house->left = n;
        loop_arm(house->limit, LIMIT_MS);
        assert_int_equal(loop_run(house->loop), 0);
}

static void tell(struct house *house, uint64_t node) {
        int before = house->told + house->not_told;

        assert_int_equal(notifier_tell_inode(house->notifier, node, on_done, house), 0);
        assert_int_equal(house->told + house->not_told, before);
}

static void test_tells(void **state) {
        struct house house;

        (void)state;
        house_new(&house);
        assert_int_equal(notifier_tell_entry(house.notifier, 1, "name", 4, on_done, &house), 0);
        await(&house, 1);
        assert_string_equal(kernel->name, "name");
        for (int i = 0; i < 1000; i++)
                tell(&house, 2);
        await(&house, 1000);
        assert_int_equal(house.told, 1001);
        assert_int_equal(atomic_load(&kernel->told[2]), 1000);
        assert_int_equal(atomic_load(&kernel->epochs), 0);
        house_clear(&house);
}

/* One that waits holds nobody else up, and is given up after a while. */
static void test_one_stuck(void **state) {
        struct house house;
        int not_told;

        (void)state;
        house_new(&house);
        atomic_store(&kernel->holds[1], true);
        tell(&house, 1);
        for (int i = 0; i < 100; i++)
                tell(&house, 2);
        await(&house, 100);
        assert_int_equal(house.told, 100);
        if (house.not_told == 0)
                await(&house, 1);
        assert_int_equal(house.not_told, 1);
        assert_int_equal(notifier_stuck(house.notifier), 1);
        assert_int_equal(atomic_load(&kernel->epochs), 1);

        /* More of the same node is given up at once, and takes no other process. */
        for (int i = 0; i < 100; i++)
                tell(&house, 1);
        await(&house, 100);
        assert_int_equal(house.not_told, 101);
        assert_int_equal(notifier_stuck(house.notifier), 1);

        /* When the kernel goes on, so does the process. */
        atomic_store(&kernel->holds[1], false);
        while (notifier_stuck(house.notifier) > 0) {
                tell(&house, 2);
                await(&house, 1);
        }
        /* Some of them are given up if the further processes are just ending. */
        not_told = house.not_told;
        tell(&house, 1);
        await(&house, 1);
        assert_int_equal(house.not_told, not_told);
        assert_int_equal(notifier_given_up(house.notifier), not_told);
        house_clear(&house);
}

/* When all are stuck nobody waits any more, and there are no more of them. */
static void test_all_stuck(void **state) {
        struct house house;

        (void)state;
        house_new(&house);
        for (int i = 1; i < 20; i++) {
                atomic_store(&kernel->holds[i], true);
                tell(&house, (uint64_t)i);
        }
        await(&house, 19);
        assert_int_equal(house.not_told, 19);
        assert_int_equal(notifier_stuck(house.notifier), 4);
        for (int i = 20; i < 40; i++)
                tell(&house, (uint64_t)i);
        await(&house, 20);
        assert_int_equal(house.not_told, 39);
        assert_true(atomic_load(&kernel->epochs) > 0);
        house_clear(&house);
}

/* Sends a signal to all processes of the notifier. */
static void signal_processes(int number) {
        char path[64];
        FILE *file;
        pid_t pid;

        snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
        file = fopen(path, "r");
        assert_non_null(file);
        while (fscanf(file, "%d", &pid) == 1)
                kill(pid, number);
        fclose(file);
}

/* Somebody kills the processes: what they were telling is given up, and others are started. */
static void test_killed(void **state) {
        struct house house;

        (void)state;
        house_new(&house);
        atomic_store(&kernel->holds[1], true);
        tell(&house, 1);
        signal_processes(SIGKILL);
        await(&house, 1);
        assert_int_equal(house.not_told, 1);
        tell(&house, 2);
        await(&house, 1);
        assert_int_equal(house.told, 1);
        house_clear(&house);
}

static void on_pause(void *userdata, uint32_t events) {
        (void)events;
        (void)userdata;
        signal_processes(SIGCONT);
}

static void run_for(struct house *house, uint64_t milliseconds) {
        loop_arm(house->limit, milliseconds);
        assert_int_equal(loop_run(house->loop), -ETIMEDOUT);
}

/* Starts all further processes; they are told to end when they have been idle for a while, and
 * cannot. */
static void end_further(struct house *house) {
        for (int i = 2; i <= 4; i++) {
                atomic_store(&kernel->holds[i], true);
                atomic_store(&kernel->begun[i], 0);
                tell(house, (uint64_t)i);
        }
        /* Some may have to wait for the end of a process of before, and none may do the work of two. */
        for (int i = 2; i <= 4; i++) {
                for (int tries = 0; tries < LIMIT_MS && atomic_load(&kernel->begun[i]) == 0;
                     tries++)
                        run_for(house, 1);
                assert_int_equal(atomic_load(&kernel->begun[i]), 1);
        }
        for (int i = 2; i <= 4; i++)
                atomic_store(&kernel->holds[i], false);
        await(house, 3);
        signal_processes(SIGSTOP);
        run_for(house, 1200);
}

/* One process is stuck, and all others are ending: wait for their end, but not for ever. */
static void test_ending(void **state) {
        struct loop_source *pause;
        struct house house;

        (void)state;
        house_new(&house);
        assert_int_equal(loop_add_timer(house.loop, &pause, on_pause, NULL), 0);
        atomic_store(&kernel->holds[1], true);
        tell(&house, 1);
        await(&house, 1);
        assert_int_equal(notifier_stuck(house.notifier), 1);

        end_further(&house);
        loop_arm(pause, 100);
        tell(&house, 5);
        await(&house, 1);
        assert_int_equal(house.told, 4);
        assert_int_equal(house.not_told, 1);

        end_further(&house);
        tell(&house, 6);
        await(&house, 1);
        assert_int_equal(house.told, 7);
        assert_int_equal(house.not_told, 2);
        signal_processes(SIGCONT);
        loop_remove(pause);
        house_clear(&house);
}

int main(void) {
        int failed;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tells),     cmocka_unit_test(test_one_stuck),
                cmocka_unit_test(test_all_stuck), cmocka_unit_test(test_killed),
                cmocka_unit_test(test_ending),
        };

        signal(SIGPIPE, SIG_IGN);
        kernel = mmap(NULL, sizeof(*kernel), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        if (kernel == MAP_FAILED)
                return 1;
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        /* A failed test leaves processes, perhaps stopped ones. */
        signal_processes(SIGKILL);
        return failed;
}
