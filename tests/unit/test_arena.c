/* SPDX-License-Identifier: MIT */

/*
 * The arena under a kill at every crash point: a child works on it and kills itself at the n-th
 * point; whoever attaches afterwards must find the state after one of the transactions, whole.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "arena.h"

struct record {
        uint32_t id;
        uint32_t value;
};

struct totals {
        uint64_t sum; /* of the values of all records */
        uint64_t transactions;
};

static const struct arena_table_spec tables[] = {{sizeof(struct record), 16}};
static const struct arena_spec spec = {
        .version = 7,
        .root_size = sizeof(struct totals),
        .scratch_size = 4096,
        .n_tables = 1,
        .tables = tables,
};

static struct record *record_get(struct arena *arena, uint32_t id) {
        struct record *record = arena_get(arena, 0, id);

        return record && record->id == id ? record : NULL;
}

static uint32_t record_add(struct arena *arena, uint32_t value) {
        struct totals *totals = arena_root(arena);
        uint32_t id = arena_new(arena, 0);
        struct record *record = arena_get(arena, 0, id);

        if (!record)
                return 0;
        *record = (struct record){id, value};
        ARENA_SET(arena, totals->sum, totals->sum + value);
        return id;
}

static void record_remove(struct arena *arena, uint32_t id) {
        struct totals *totals = arena_root(arena);

        ARENA_SET(arena, totals->sum, totals->sum - record_get(arena, id)->value);
        arena_delete(arena, 0, id);
}

static void record_change(struct arena *arena, uint32_t id, uint32_t value) {
        struct totals *totals = arena_root(arena);
        struct record *record = record_get(arena, id);

        ARENA_SET(arena, totals->sum, totals->sum - record->value + value);
        ARENA_SET(arena, record->value, value);
}

static void finish(struct arena *arena) {
        struct totals *totals = arena_root(arena);
        struct iovec iov = {&totals->transactions, sizeof(totals->transactions)};

        ARENA_SET(arena, totals->transactions, totals->transactions + 1);
        arena_commit_outcome(arena, 1000 + totals->transactions, &iov, 1);
}

/* Every kind of change, alone and mixed, with records taken and given back in one transaction. */
static void work(struct arena *arena) {
        uint32_t a, b, c;

        a = record_add(arena, 5);
        b = record_add(arena, 7);
        finish(arena);
        record_change(arena, a, 50);
        record_change(arena, a, 51);
        record_remove(arena, b);
        c = record_add(arena, 9);
        finish(arena);
        record_remove(arena, c);
        record_remove(arena, a);
        a = record_add(arena, 11);
        record_change(arena, a, 12);
        b = record_add(arena, 13);
        finish(arena);
        for (int i = 0; i < 8; i++)
                record_add(arena, 100);
        record_remove(arena, b);
        finish(arena);
}

static void check_whole(struct arena *arena) {
        const struct totals *totals = arena_root(arena);
        uint32_t live = 0;
        uint64_t sum = 0, key, told;
        size_t length;
        const void *outcome = arena_outcome(arena, &key, &length);

        for (uint32_t id = 1; id <= arena_high(arena, 0); id++) {
                const struct record *record = record_get(arena, id);

                if (!record)
                        continue;
                live++;
                sum += record->value;
        }
        assert_int_equal(live, arena_used(arena, 0));
        assert_int_equal(sum, totals->sum);
        assert_false(arena_dirty(arena));

        /* The outcome is that of the last transaction that happened. */
        if (totals->transactions == 0) {
                assert_int_equal(key, 0);
        } else {
                assert_int_equal(key, 1000 + totals->transactions);
                assert_int_equal(length, sizeof(told));
                memcpy(&told, outcome, sizeof(told));
                assert_int_equal(told, totals->transactions);
        }
}

/* Kills a child at the n-th crash point of work().  False when there are fewer than n. */
static int crash_at(struct arena *arena, uint64_t n) {
        int status;
        pid_t pid;

        arena_crash_after(arena, n);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                work(arena);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) {
                assert_int_equal(WEXITSTATUS(status), 0);
                return 0;
        }
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return 1;
}

static void test_kill_anywhere(void **state) {
        uint64_t n = 0, seen[5] = {0};
        int crashed;

        (void)state;
        do {
                struct arena *arena, *again;
                const struct totals *totals;

                assert_int_equal(arena_create(&arena, &spec), 0);
                crashed = crash_at(arena, ++n);
                assert_int_equal(arena_attach(&again, dup(arena_fd(arena)), &spec), 0);
                check_whole(again);
                totals = arena_root(again);
                assert_true(totals->transactions <= 4);
                seen[totals->transactions]++;

                /* And it can be worked on. */
                arena_crash_after(again, 0);
                while (arena_used(again, 0) > 0)
                        for (uint32_t id = 1; id <= arena_high(again, 0); id++)
                                if (record_get(again, id))
                                        record_remove(again, id);
                finish(again);
                check_whole(again);
                arena_free(again);
                arena_free(arena);
        } while (crashed);
        for (int i = 0; i < 5; i++)
                assert_true(seen[i] > 0);
}

static void test_rollback(void **state) {
        struct arena *arena;
        struct totals *totals;
        uint32_t a, b;

        (void)state;
        assert_int_equal(arena_create(&arena, &spec), 0);
        totals = arena_root(arena);
        a = record_add(arena, 1);
        finish(arena);
        b = record_add(arena, 2);
        record_change(arena, a, 3);
        record_remove(arena, a);
        assert_true(arena_dirty(arena));
        arena_rollback(arena);
        assert_null(record_get(arena, b));
        assert_int_equal(record_get(arena, a)->value, 1);
        assert_int_equal(totals->sum, 1);
        check_whole(arena);
        arena_free(arena);
}

static void test_table_full(void **state) {
        struct arena *arena;

        (void)state;
        assert_int_equal(arena_create(&arena, &spec), 0);
        for (int i = 0; i < 16; i++)
                assert_int_not_equal(record_add(arena, 1), 0);
        assert_int_equal(record_add(arena, 1), 0);
        record_remove(arena, 5);
        assert_int_equal(record_add(arena, 1), 5);
        assert_null(arena_get(arena, 0, 0));
        assert_null(arena_get(arena, 0, 17));
        finish(arena);
        check_whole(arena);
        arena_free(arena);
}

static void test_long_outcome(void **state) {
        static char bytes[ARENA_OUTCOME_MAX + 1];
        struct iovec iov[2] = {{bytes, ARENA_OUTCOME_MAX}, {bytes, 1}};
        struct arena *arena;
        uint64_t key;
        size_t length;

        (void)state;
        assert_int_equal(arena_create(&arena, &spec), 0);
        arena_commit_outcome(arena, 3, iov, 1);
        arena_outcome(arena, &key, &length);
        assert_int_equal(key, 3);
        assert_int_equal(length, ARENA_OUTCOME_MAX);
        arena_commit_outcome(arena, 4, iov, 2);
        arena_outcome(arena, &key, &length);
        assert_int_equal(key, 4);
        assert_int_equal(length, 0);
        arena_free(arena);
}

static void test_other_layout(void **state) {
        struct arena_spec newer = spec;
        struct arena *arena, *again;

        (void)state;
        assert_int_equal(arena_create(&arena, &spec), 0);
        newer.version++;
        assert_int_equal(arena_attach(&again, arena_fd(arena), &newer), -EPROTO);
        newer = spec;
        newer.root_size += 8;
        assert_int_equal(arena_attach(&again, arena_fd(arena), &newer), -EPROTO);
        assert_int_equal(arena_attach(&again, STDIN_FILENO, &spec), -EPROTO);
        arena_free(arena);
        assert_null(arena_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kill_anywhere), cmocka_unit_test(test_rollback),
                cmocka_unit_test(test_table_full),    cmocka_unit_test(test_long_outcome),
                cmocka_unit_test(test_other_layout),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
