/* SPDX-License-Identifier: MIT */

/*
 * Windows over a memfd: when they open, what they copy, and what happens to a copy that memory
 * cannot be had for.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "memory/window.h"

enum { KIB = 1024, PIECE = 64 * KIB, REGION = 1, OTHER = 2 };

struct world {
        struct windows *windows;
        int fd;
        char piece[PIECE];
};

static int setup(void **state) {
        struct world *world = calloc(1, sizeof(*world));

        assert_non_null(world);
        world->fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_true(world->fd >= 0);
        assert_int_equal(ftruncate(world->fd, (off_t)(WINDOWS + 2) * WINDOW_SIZE), 0);
        assert_int_equal(windows_new(&world->windows), 0);
        for (size_t i = 0; i < PIECE; i++)
                world->piece[i] = (char)(i * 7 + i / 256);
        *state = world;
        return 0;
}

static int teardown(void **state) {
        struct world *world = *state;

        windows_free(world->windows);
        close(world->fd);
        free(world);
        return 0;
}

/* Within a test, where cmocka has set its own signal handlers. */
static void take_sigbus(struct world *world) {
        windows_free(world->windows);
        assert_int_equal(windows_new(&world->windows), 0);
}

/* As region_write() does it.  Whether it went by a window. */
static bool copy(struct world *world, uint64_t offset) {
        if (windows_copy(world->windows, REGION, world->fd, world->piece, PIECE, offset))
                return true;
        if (pwrite(world->fd, world->piece, PIECE, (off_t)offset) == PIECE)
                windows_wrote(world->windows, REGION, PIECE, offset);
        return false;
}

static void assert_written(struct world *world, uint64_t offset) {
        char *found = malloc(PIECE);

        assert_non_null(found);
        assert_int_equal(pread(world->fd, found, PIECE, (off_t)offset), PIECE);
        assert_memory_equal(found, world->piece, PIECE);
        free(found);
}

/* How many windows this process has open. */
static unsigned int mappings(void) {
        FILE *maps = fopen("/proc/self/maps", "re");
        uint64_t start, end, sum = 0;
        char line[512];

        assert_non_null(maps);
        while (fgets(line, sizeof(line), maps))
                if (strstr(line, "memfd:test") &&
                    sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2)
                        sum += end - start;
        fclose(maps);
        return (unsigned int)(sum / WINDOW_SIZE);
}

static void test_opens_at_the_second_write(void **state) {
        struct world *world = *state;

        assert_false(copy(world, 0));
        assert_false(copy(world, PIECE)); /* goes on: not the same place */
        assert_int_equal(mappings(), 0);
        assert_true(copy(world, 0));
        assert_written(world, 0);
        assert_true(copy(world, PIECE / 2));
        assert_written(world, PIECE / 2);
        assert_int_equal(mappings(), 1);
        assert_false(copy(world, WINDOW_SIZE));
        assert_int_equal(mappings(), 1);
}

/* Blocks of the file, by 512 bytes: what is not known to have memory gets none by a copy. */
static long blocks(struct world *world) {
        struct stat st;

        assert_int_equal(fstat(world->fd, &st), 0);
        return (long)st.st_blocks;
}

static void test_nothing_is_stored_in_holes(void **state) {
        struct world *world = *state;
        long before;

        assert_false(copy(world, 8 * (uint64_t)PIECE));
        assert_true(copy(world, 8 * (uint64_t)PIECE));
        before = blocks(world);
        for (uint64_t i = 0; i < 16; i++)
                assert_true(windows_copy(world->windows, REGION, world->fd, world->piece, PIECE,
                                         i * PIECE) == (i == 8));
        /* Neither beside nor across the edges. */
        assert_false(windows_copy(world->windows, REGION, world->fd, world->piece, PIECE,
                                  8 * (uint64_t)PIECE - 1));
        assert_false(windows_copy(world->windows, REGION, world->fd, world->piece, PIECE,
                                  8 * (uint64_t)PIECE + 1));
        assert_int_equal(blocks(world), before);
        /* What adjoins is taken in, and what does not takes its place. */
        assert_false(copy(world, 7 * (uint64_t)PIECE));
        assert_true(copy(world, 7 * (uint64_t)PIECE + 5));
        assert_false(copy(world, 0));
        assert_true(copy(world, 0));
        assert_false(copy(world, 8 * (uint64_t)PIECE));
}

static void test_copies_to_any_address(void **state) {
        struct world *world = *state;

        for (uint64_t offset = 3 * (uint64_t)WINDOW_SIZE + 1;
             offset < 3 * (uint64_t)WINDOW_SIZE + 99; offset += 7) {
                copy(world, offset);
                assert_true(copy(world, offset));
                assert_written(world, offset);
        }
}

static void test_regions_are_told_apart(void **state) {
        struct world *world = *state;
        int other = memfd_create("test", MFD_CLOEXEC);

        assert_true(other >= 0);
        assert_int_equal(ftruncate(other, WINDOW_SIZE), 0);
        copy(world, 0);
        assert_true(copy(world, 0));
        assert_false(windows_copy(world->windows, OTHER, other, "other", 6, 0));
        windows_wrote(world->windows, OTHER, 6, 0);
        assert_true(windows_copy(world->windows, OTHER, other, "other", 6, 0));
        assert_written(world, 0);
        close(other);
}

static void test_least_recently_used_goes(void **state) {
        struct world *world = *state;

        for (uint64_t i = 0; i < WINDOWS; i++) {
                copy(world, i * WINDOW_SIZE);
                assert_true(copy(world, i * WINDOW_SIZE));
        }
        assert_int_equal(mappings(), WINDOWS);
        assert_true(copy(world, 0));
        assert_false(copy(world, (uint64_t)WINDOWS * WINDOW_SIZE));
        assert_int_equal(mappings(), WINDOWS - 1);
        assert_true(copy(world, 0));
        assert_false(copy(world, WINDOW_SIZE));
}

static void test_forgotten_can_be_sealed(void **state) {
        struct world *world = *state;

        copy(world, 0);
        assert_true(copy(world, 0));
        assert_int_equal(fcntl(world->fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
        assert_int_equal(errno, EBUSY);
        windows_forget(world->windows, OTHER);
        assert_int_equal(mappings(), 1);
        windows_forget(world->windows, REGION);
        assert_int_equal(mappings(), 0);
        assert_int_equal(fcntl(world->fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
        assert_false(copy(world, 0));
        /* Nor is it mapped when it looks as if it could. */
        windows_wrote(world->windows, REGION, PIECE, 0);
        assert_false(copy(world, 0));
}

static void test_memory_that_is_not_there(void **state) {
        struct world *world = *state;

        take_sigbus(world);
        copy(world, 0);
        assert_true(copy(world, 0));
        assert_int_equal(ftruncate(world->fd, PIECE / 2), 0);
        /* More than once: the signal must not stay blocked. */
        for (int i = 0; i < 3; i++)
                assert_false(
                        windows_copy(world->windows, REGION, world->fd, world->piece, PIECE, 0));
        assert_int_equal(ftruncate(world->fd, PIECE), 0);
        assert_true(copy(world, 0));
        assert_written(world, 0);
}

/* A fault that is none of ours ends the process as it would without us. */
static void test_other_faults_are_fatal(void **state) {
        struct world *world = *state;
        int status;
        pid_t pid;

        take_sigbus(world);
        copy(world, 0);
        assert_true(copy(world, 0));
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                raise(SIGBUS);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGBUS);
}

/* QEMU's emulation of a program (qemu-user) lets madvise() succeed and does nothing. */
static bool dontfork_works(void) {
        void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int status;
        pid_t pid;

        assert_ptr_not_equal(map, MAP_FAILED);
        assert_int_equal(madvise(map, 4096, MADV_DONTFORK), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(msync(map, 4096, MS_ASYNC) == 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        munmap(map, 4096);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_children_have_none(void **state) {
        struct world *world = *state;
        int status;
        pid_t pid;

        if (!dontfork_works())
                skip();
        copy(world, 0);
        assert_true(copy(world, 0));
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit((int)mappings());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_opens_at_the_second_write, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nothing_is_stored_in_holes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_copies_to_any_address, setup, teardown),
                cmocka_unit_test_setup_teardown(test_regions_are_told_apart, setup, teardown),
                cmocka_unit_test_setup_teardown(test_least_recently_used_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_forgotten_can_be_sealed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_memory_that_is_not_there, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_faults_are_fatal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_children_have_none, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
