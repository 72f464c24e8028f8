/* SPDX-License-Identifier: MIT */

/*
 * The allocator with real memfds and processes: what is asked for is there, users take turns, and
 * whoever is killed or frozen harms none but its own caller.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/loop.h"
#include "memory/allocator.h"

#define MIB (UINT64_C(1) << 20)
enum { LIMIT_MS = 60000 };

struct house {
        struct loop *loop;
        struct allocator *allocator;
        struct loop_source *limit;
        int left; /* allocations that the loop runs for */
        int done; /* so many have ended */
};

/* One allocation and how it ended. */
struct made {
        struct house *house;
        struct allocation *allocation;
        int fd;
        int result;
        uint64_t huge;
        int place; /* 1: ended first */
};

static void on_limit(void *userdata, uint32_t events) {
        struct house *house = userdata;

        (void)events;
        loop_stop(house->loop, -ETIMEDOUT);
}

static void house_new(struct house *house) {
        *house = (struct house){0};
        assert_int_equal(loop_new(&house->loop), 0);
        assert_int_equal(allocator_new(&house->allocator, house->loop), 0);
        assert_int_equal(loop_add_timer(house->loop, &house->limit, on_limit, house), 0);
}

static void house_clear(struct house *house) {
        allocator_free(house->allocator);
        loop_remove(house->limit);
        loop_free(house->loop);
}

static void on_done(void *userdata, int result, uint64_t huge) {
        struct made *made = userdata;
        struct house *house = made->house;

        assert_int_equal(made->place, 0);
        made->result = result;
        made->huge = huge;
        made->place = ++house->done;
        if (--house->left == 0)
                loop_stop(house->loop, 0);
}

/* Runs the loop until n more allocations have ended. */
static void await(struct house *house, int n) {
        house->left = n;
        loop_arm(house->limit, LIMIT_MS);
        assert_int_equal(loop_run(house->loop), 0);
}

static int region(uint64_t size) {
        int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        return fd;
}

static void start(struct house *house, struct made *made, struct allocation_request request) {
        *made = (struct made){.house = house, .fd = request.fd};
        assert_int_equal(
                allocation_new(&made->allocation, house->allocator, &request, on_done, made), 0);
        allocation_begin(made->allocation);
        assert_int_equal(made->place, 0);
}

static uint64_t allocated(int fd) {
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        return (uint64_t)st.st_blocks * 512;
}

/* Processes */

/* The children of a process, as the kernel lists them; returns how many. */
static int children_of(pid_t pid, pid_t *out, int most) {
        char path[64];
        FILE *file;
        int n = 0;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
        file = fopen(path, "r");
        while (file && n < most && fscanf(file, "%d", &out[n]) == 1)
                n++;
        if (file)
                fclose(file);
        return n;
}

static pid_t allocator_process(void) {
        pid_t pid[4];

        assert_int_equal(children_of(getpid(), pid, 4), 1);
        return pid[0];
}

static void pause_a_little(void) {
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Lets the loop take up what was started, until the process has so many children. */
static void on_look(void *userdata, uint32_t events) {
        struct house *house = userdata;

        (void)events;
        loop_stop(house->loop, 0);
}

static int await_children(struct house *house, pid_t parent, pid_t *out, int wanted) {
        struct loop_source *look;
        int n = 0;

        assert_int_equal(loop_add_timer(house->loop, &look, on_look, house), 0);
        for (int tries = 0; tries < LIMIT_MS / 2 && n < wanted; tries++) {
                loop_arm(look, 1);
                assert_int_equal(loop_run(house->loop), 0);
                pause_a_little();
                n = children_of(parent, out, 64);
        }
        loop_remove(look);
        return n;
}

/* Tests */

static void test_makes_pages(void **state) {
        struct house house;
        struct made made;

        (void)state;
        house_new(&house);
        start(&house, &made,
              (struct allocation_request){.fd = region(16 * MIB), .length = 16 * MIB});
        await(&house, 1);
        assert_int_equal(made.result, 0);
        assert_int_equal(allocated(made.fd), 16 * MIB);
        close(made.fd);
        house_clear(&house);
}

static void test_modes_of_fallocate(void **state) {
        struct house house;
        struct made grown, kept;
        struct stat st;

        (void)state;
        house_new(&house);
        start(&house, &grown,
              (struct allocation_request){.fd = region(0), .offset = MIB, .length = MIB});
        start(&house, &kept,
              (struct allocation_request){
                      .fd = region(0), .length = MIB, .mode = FALLOC_FL_KEEP_SIZE});
        await(&house, 2);
        assert_int_equal(grown.result, 0);
        assert_int_equal(fstat(grown.fd, &st), 0);
        assert_int_equal(st.st_size, 2 * MIB);
        assert_int_equal(allocated(grown.fd), MIB);
        assert_int_equal(fstat(kept.fd, &st), 0);
        assert_int_equal(st.st_size, 0);
        assert_int_equal(allocated(kept.fd), MIB);
        close(grown.fd);
        close(kept.fd);
        house_clear(&house);
}

/* What is there already stays, in small pages and in huge ones. */
static void test_keeps_what_is_there(void **state) {
        struct house house;
        struct made made[2];
        uint64_t size = 8 * MIB;

        (void)state;
        house_new(&house);
        for (int huge = 0; huge < 2; huge++) {
                int fd = region(size);

                for (uint64_t at = 0; at < size; at += 4096)
                        assert_int_equal(pwrite(fd, &at, sizeof(at), (off_t)at), sizeof(at));
                start(&house, &made[huge],
                      (struct allocation_request){
                              .fd = fd, .length = size, .huge = huge, .zero = true});
        }
        await(&house, 2);
        for (int huge = 0; huge < 2; huge++) {
                assert_int_equal(made[huge].result, 0);
                assert_int_equal(allocated(made[huge].fd), size);
                for (uint64_t at = 0, seen; at < size; at += 4096) {
                        assert_int_equal(pread(made[huge].fd, &seen, sizeof(seen), (off_t)at),
                                         sizeof(seen));
                        assert_int_equal(seen, at);
                }
                close(made[huge].fd);
        }
        house_clear(&house);
}

/* While pages are zeroed behind, the region can be sealed against writing all the same. */
static void test_zeroing_does_not_stop_a_seal(void **state) {
        struct house house;
        struct made made;

        (void)state;
        house_new(&house);
        start(&house, &made,
              (struct allocation_request){
                      .fd = region(256 * MIB), .length = 256 * MIB, .zero = true});
        await(&house, 1);
        assert_int_equal(made.result, 0);
        assert_int_equal(fcntl(made.fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
        close(made.fd);
        house_clear(&house);
}

static void test_sealed_region(void **state) {
        struct house house;
        struct made made;
        int fd = region(0);

        (void)state;
        house_new(&house);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
        start(&house, &made, (struct allocation_request){.fd = fd, .length = MIB});
        await(&house, 1);
        assert_int_equal(made.result, -EPERM);
        close(fd);
        house_clear(&house);
}

/* More than the machine has is refused before a page is taken. */
static void test_too_much(void **state) {
        struct house house;
        struct made made;
        uint64_t size = UINT64_C(1) << 45;

        (void)state;
        house_new(&house);
        start(&house, &made, (struct allocation_request){.fd = region(size), .length = size});
        await(&house, 1);
        assert_int_equal(made.result, -ENOSPC);
        assert_int_equal(allocated(made.fd), 0);
        close(made.fd);
        house_clear(&house);
}

static void test_users_take_turns(void **state) {
        enum { MANY = 40 };
        struct house house;
        struct made many[MANY], one;

        (void)state;
        house_new(&house);
        for (int i = 0; i < MANY; i++)
                start(&house, &many[i],
                      (struct allocation_request){
                              .fd = region(4 * MIB), .length = 4 * MIB, .uid = 1001});
        start(&house, &one,
              (struct allocation_request){.fd = region(MIB), .length = MIB, .uid = 1002});
        await(&house, MANY + 1);
        /* It begins after two of theirs.  In the order of asking it would be the last to end. */
        assert_in_range(one.place, 1, MANY / 2);
        for (int i = 0; i < MANY; i++) {
                assert_int_equal(many[i].result, 0);
                close(many[i].fd);
        }
        close(one.fd);
        house_clear(&house);
}

/* One user's queue has an end, which is not another's. */
static void test_a_full_queue(void **state) {
        enum { MANY = 2000 };
        static struct made many[MANY];
        struct house house;
        struct allocation_request request = {.fd = region(MIB), .length = MIB, .uid = 1001};
        struct allocation *allocation;
        struct made one;
        int n = 0, r = 0;

        (void)state;
        house_new(&house);
        for (; n < MANY && r == 0; n++) {
                many[n] = (struct made){.house = &house};
                r = allocation_new(&allocation, house.allocator, &request, on_done, &many[n]);
                if (r == 0)
                        allocation_begin(allocation);
        }
        assert_int_equal(r, -ENOSPC);
        request.uid = 1002;
        start(&house, &one, request);
        await(&house, n);
        assert_int_equal(one.result, 0);
        close(request.fd);
        house_clear(&house);
}

static void test_cancel(void **state) {
        struct house house;
        struct made running, waiting[3];
        pid_t process, children[64];

        (void)state;
        house_new(&house);
        process = allocator_process();
        /* Stopped, the process begins nothing, so that these are under way for as long as we like. */
        kill(process, SIGSTOP);
        start(&house, &running,
              (struct allocation_request){.fd = region(64 * MIB), .length = 64 * MIB});
        for (int i = 0; i < 3; i++)
                start(&house, &waiting[i],
                      (struct allocation_request){.fd = region(MIB), .length = MIB});
        assert_int_equal(await_children(&house, getpid(), children, 1), 1);
        allocation_cancel(waiting[2].allocation);
        await(&house, 1);
        assert_int_equal(waiting[2].result, -ECANCELED);
        allocation_cancel(running.allocation);
        kill(process, SIGCONT);
        await(&house, 3);
        /* It may have been through before it was told. */
        assert_true(running.result == -ECANCELED || running.result == 0);
        assert_int_equal(allocated(running.fd), running.result == 0 ? 64 * MIB : 0);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(waiting[i].result, i < 2 ? 0 : -ECANCELED);
                close(waiting[i].fd);
        }
        close(running.fd);
        house_clear(&house);
}

/* Stops the children that there are, as a frozen cgroup would; returns how many. */
static int freeze_children(struct house *house, pid_t process, int wanted, pid_t *children) {
        int n = await_children(house, process, children, wanted);

        for (int i = 0; i < n; i++)
                kill(children[i], SIGSTOP);
        return n;
}

/* Those of one user stand still: another's go on, and in the end so do they. */
static void test_frozen(void **state) {
        struct house house;
        struct made big[2], one;
        pid_t children[64];
        int n;

        (void)state;
        house_new(&house);
        for (int i = 0; i < 2; i++)
                start(&house, &big[i],
                      (struct allocation_request){
                              .fd = region(1024 * MIB), .length = 1024 * MIB, .uid = 1001});
        n = freeze_children(&house, allocator_process(), 2, children);
        start(&house, &one,
              (struct allocation_request){.fd = region(MIB), .length = MIB, .uid = 1002});
        if (one.place == 0)
                await(&house, 1);
        assert_int_equal(one.result, 0);
        for (int i = 0; i < n; i++)
                kill(children[i], SIGCONT);
        await(&house, 3 - house.done);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(big[i].result, 0);
                close(big[i].fd);
        }
        close(one.fd);
        house_clear(&house);
}

/* A child that is killed gives back what it took, and its caller hears of it. */
static void test_killed_child(void **state) {
        struct house house;
        struct made made;
        pid_t children[64];

        (void)state;
        house_new(&house);
        start(&house, &made,
              (struct allocation_request){.fd = region(2048 * MIB), .length = 2048 * MIB});
        if (await_children(&house, allocator_process(), children, 1) > 0)
                kill(children[0], SIGKILL);
        if (made.place == 0)
                await(&house, 1);
        if (made.result != 0) {
                assert_int_equal(made.result, -ENOSPC);
                assert_int_equal(allocated(made.fd), 0);
        }
        close(made.fd);
        house_clear(&house);
}

static void test_killed_process(void **state) {
        struct house house;
        struct made lost, next;

        (void)state;
        house_new(&house);
        kill(allocator_process(), SIGSTOP);
        start(&house, &lost, (struct allocation_request){.fd = region(MIB), .length = MIB});
        kill(allocator_process(), SIGKILL);
        await(&house, 1);
        /* The dead process had it already, or the next one made its pages. */
        assert_true(lost.result == -ENOSPC || lost.result == 0);
        start(&house, &next, (struct allocation_request){.fd = region(MIB), .length = MIB});
        await(&house, 1);
        assert_int_equal(next.result, 0);
        close(lost.fd);
        close(next.fd);
        house_clear(&house);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_makes_pages),
                cmocka_unit_test(test_modes_of_fallocate),
                cmocka_unit_test(test_keeps_what_is_there),
                cmocka_unit_test(test_zeroing_does_not_stop_a_seal),
                cmocka_unit_test(test_sealed_region),
                cmocka_unit_test(test_too_much),
                cmocka_unit_test(test_users_take_turns),
                cmocka_unit_test(test_a_full_queue),
                cmocka_unit_test(test_cancel),
                cmocka_unit_test(test_frozen),
                cmocka_unit_test(test_killed_child),
                cmocka_unit_test(test_killed_process),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
