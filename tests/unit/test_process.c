/* SPDX-License-Identifier: MIT */

/*
 * What is told of processes: threads and their process, start times, the end by a descriptor; and the
 * entries of users.
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/process.h"
#include "base/users.h"

/* A child that goes with us.  It is through fork(), in which the C library may block all signals. */
static pid_t child(void) {
        int ready[2];
        pid_t pid;
        char byte;

        assert_int_equal(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (write(ready[1], "", 1) == 1)
                        pause();
                _exit(0);
        }
        assert_true(pid > 0);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        close(ready[1]);
        return pid;
}

static void child_end(pid_t pid) {
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void *thread_main(void *userdata) {
        pid_t thread = (pid_t)syscall(SYS_gettid);
        pid_t *found = userdata;

        assert_int_not_equal(thread, getpid());
        *found = process_of(thread);
        assert_int_equal(process_open(thread), -ESRCH);
        return NULL;
}

static void test_threads(void **state) {
        pid_t found = 0;
        pthread_t thread;

        (void)state;
        assert_int_equal(process_of(getpid()), getpid());
        assert_int_equal(process_parent(getpid()), getppid());
        assert_int_equal(pthread_create(&thread, NULL, thread_main, &found), 0);
        pthread_join(thread, NULL);
        assert_int_equal(found, getpid());
        assert_int_equal(process_of(0), 0);
}

static void test_start_and_end(void **state) {
        pid_t pid = child();
        uint64_t start = process_start_time(pid);
        struct pollfd end = {.fd = process_open(pid), .events = POLLIN};

        (void)state;
        assert_true(end.fd >= 0);
        assert_true(start >= process_start_time(getpid()));
        assert_int_equal(process_start_time(pid), start);
        assert_int_equal(poll(&end, 1, 0), 0);
        kill(pid, SIGKILL);
        assert_int_equal(poll(&end, 1, 10000), 1);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(process_of(pid), 0);
        assert_int_equal(process_start_time(pid), 0);
        assert_int_equal(process_open(pid), -ESRCH);
        assert_false(process_is_dying(pid));
        close(end.fd);
}

/* Whether the process catches SIGQUIT. */
static bool catches_quit(pid_t pid) {
        char path[64], line[128];
        uint64_t caught = 0;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        file = fopen(path, "r");
        assert_non_null(file);
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, "SigCgt:", 7) == 0)
                        caught = strtoull(line + 7, NULL, 16);
        fclose(file);
        return caught & UINT64_C(1) << (SIGQUIT - 1);
}

/* Signals that a process blocks, handles or ignores do not end it. */
static void test_signals(void **state) {
        sigset_t set;
        pid_t pid;

        (void)state;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        pid = child();
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        kill(pid, SIGTERM);
        assert_false(process_is_dying(pid));
        /* A stopped process keeps what was sent to it. */
        kill(pid, SIGSTOP);
        assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
        kill(pid, SIGCHLD);
        assert_false(process_is_dying(pid));
        kill(pid, SIGQUIT);
        /* The child has no handler; if it runs in an emulator of programs, that one has. */
        assert_int_equal(process_is_dying(pid), !catches_quit(pid));
        child_end(pid);
}

static void test_users(void **state) {
        struct users *users;
        int *first, *second;

        (void)state;
        assert_int_equal(users_new(&users, sizeof(int)), 0);
        assert_null(users_find(users, 1));
        first = users_get(users, 1);
        second = users_get(users, 2);
        assert_int_equal(*first, 0);
        *first = 5;
        assert_ptr_not_equal(first, second);
        assert_ptr_equal(users_get(users, 1), first);
        assert_ptr_equal(users_find(users, 2), second);
        assert_int_equal(users_uid(second), 2);
        users_remove(users, second);
        assert_null(users_find(users, 2));
        for (uid_t uid = 10; uid < 1000; uid++)
                *(int *)users_get(users, uid) = (int)uid;
        for (uid_t uid = 10; uid < 1000; uid++)
                assert_int_equal(*(int *)users_find(users, uid), uid);
        assert_int_equal(*first, 5);
        assert_null(users_free(users));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_threads),
                cmocka_unit_test(test_start_and_end),
                cmocka_unit_test(test_signals),
                cmocka_unit_test(test_users),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
