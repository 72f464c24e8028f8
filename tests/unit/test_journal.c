/* SPDX-License-Identifier: MIT */

/*
 * The journal under a kill at every crash point: a child works on it and kills itself at the n-th
 * point; whoever attaches afterwards must find the state after one of the transactions, whole.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "records/journal.h"
#include "records/journal_convert.h"

struct record {
        uint32_t id;
        uint32_t value;
};

struct totals {
        uint64_t sum; /* of the values of all records */
        uint64_t transactions;
};

static const struct journal_table_spec tables[] = {{sizeof(struct record), 16}};
static const struct journal_spec spec = {
        .version = 7,
        .root_size = sizeof(struct totals),
        .scratch_size = 4096,
        .n_tables = 1,
        .tables = tables,
};

static struct record *record_get(struct journal *journal, uint32_t id) {
        struct record *record = journal_get(journal, 0, id);

        return record && record->id == id ? record : NULL;
}

static uint32_t record_add(struct journal *journal, uint32_t value) {
        struct totals *totals = journal_root(journal);
        uint32_t id = journal_new(journal, 0);
        struct record *record = journal_get(journal, 0, id);

        if (!record)
                return 0;
        *record = (struct record){id, value};
        JOURNAL_SET(journal, totals->sum, totals->sum + value);
        return id;
}

static void record_remove(struct journal *journal, uint32_t id) {
        struct totals *totals = journal_root(journal);

        JOURNAL_SET(journal, totals->sum, totals->sum - record_get(journal, id)->value);
        journal_delete(journal, 0, id);
}

static void record_change(struct journal *journal, uint32_t id, uint32_t value) {
        struct totals *totals = journal_root(journal);
        struct record *record = record_get(journal, id);

        JOURNAL_SET(journal, totals->sum, totals->sum - record->value + value);
        JOURNAL_SET(journal, record->value, value);
}

static void finish(struct journal *journal) {
        struct totals *totals = journal_root(journal);
        struct iovec iov = {&totals->transactions, sizeof(totals->transactions)};

        JOURNAL_SET(journal, totals->transactions, totals->transactions + 1);
        journal_commit_outcome(journal, 1000 + totals->transactions, &iov, 1);
}

/* Every kind of change, alone and mixed, with records taken and given back in one transaction. */
static void work(struct journal *journal) {
        uint32_t a, b, c;

        a = record_add(journal, 5);
        b = record_add(journal, 7);
        finish(journal);
        record_change(journal, a, 50);
        record_change(journal, a, 51);
        record_remove(journal, b);
        c = record_add(journal, 9);
        finish(journal);
        record_remove(journal, c);
        record_remove(journal, a);
        a = record_add(journal, 11);
        record_change(journal, a, 12);
        b = record_add(journal, 13);
        finish(journal);
        for (int i = 0; i < 8; i++)
                record_add(journal, 100);
        record_remove(journal, b);
        finish(journal);
}

static void check_whole(struct journal *journal) {
        const struct totals *totals = journal_root(journal);
        uint32_t live = 0;
        uint64_t sum = 0, key, told;
        size_t length;
        const void *outcome = journal_outcome(journal, &key, &length);

        for (uint32_t id = 1; id <= journal_high(journal, 0); id++) {
                const struct record *record = record_get(journal, id);

                if (!record)
                        continue;
                live++;
                sum += record->value;
        }
        assert_int_equal(live, journal_used(journal, 0));
        assert_int_equal(sum, totals->sum);
        assert_false(journal_dirty(journal));

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
static int crash_at(struct journal *journal, uint64_t n) {
        int status;
        pid_t pid;

        journal_crash_after(journal, n);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                work(journal);
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
                struct journal *journal, *again;
                const struct totals *totals;

                assert_int_equal(journal_create(&journal, &spec), 0);
                crashed = crash_at(journal, ++n);
                assert_int_equal(journal_attach(&again, dup(journal_fd(journal)), &spec), 0);
                check_whole(again);
                totals = journal_root(again);
                assert_true(totals->transactions <= 4);
                seen[totals->transactions]++;

                /* And it can be worked on. */
                journal_crash_after(again, 0);
                while (journal_used(again, 0) > 0)
                        for (uint32_t id = 1; id <= journal_high(again, 0); id++)
                                if (record_get(again, id))
                                        record_remove(again, id);
                finish(again);
                check_whole(again);
                journal_free(again);
                journal_free(journal);
        } while (crashed);
        for (int i = 0; i < 5; i++)
                assert_true(seen[i] > 0);
}

static void test_rollback(void **state) {
        struct journal *journal;
        struct totals *totals;
        uint32_t a, b;

        (void)state;
        assert_int_equal(journal_create(&journal, &spec), 0);
        totals = journal_root(journal);
        a = record_add(journal, 1);
        finish(journal);
        b = record_add(journal, 2);
        record_change(journal, a, 3);
        record_remove(journal, a);
        assert_true(journal_dirty(journal));
        journal_rollback(journal);
        assert_null(record_get(journal, b));
        assert_int_equal(record_get(journal, a)->value, 1);
        assert_int_equal(totals->sum, 1);
        check_whole(journal);
        journal_free(journal);
}

static void test_table_full(void **state) {
        struct journal *journal;

        (void)state;
        assert_int_equal(journal_create(&journal, &spec), 0);
        for (int i = 0; i < 16; i++)
                assert_int_not_equal(record_add(journal, 1), 0);
        assert_int_equal(record_add(journal, 1), 0);
        record_remove(journal, 5);
        assert_int_equal(record_add(journal, 1), 5);
        assert_null(journal_get(journal, 0, 0));
        assert_null(journal_get(journal, 0, 17));
        finish(journal);
        check_whole(journal);
        journal_free(journal);
}

static void test_long_outcome(void **state) {
        static char bytes[JOURNAL_OUTCOME_MAX + 1];
        struct iovec iov[2] = {{bytes, JOURNAL_OUTCOME_MAX}, {bytes, 1}};
        struct journal *journal;
        uint64_t key;
        size_t length;

        (void)state;
        assert_int_equal(journal_create(&journal, &spec), 0);
        journal_commit_outcome(journal, 3, iov, 1);
        journal_outcome(journal, &key, &length);
        assert_int_equal(key, 3);
        assert_int_equal(length, JOURNAL_OUTCOME_MAX);
        journal_commit_outcome(journal, 4, iov, 2);
        journal_outcome(journal, &key, &length);
        assert_int_equal(key, 4);
        assert_int_equal(length, 0);
        journal_free(journal);
}

enum { PAGE = 4096, PAGES = 64 };

static uint64_t bytes_of(struct journal *journal) {
        struct stat st;

        assert_int_equal(fstat(journal_fd(journal), &st), 0);
        return (uint64_t)st.st_blocks * 512;
}

static void fill(struct journal *journal, uint32_t id) {
        memset(journal_get(journal, 0, id), (int)id, PAGE);
}

static void check_filled(struct journal *journal, uint32_t id) {
        const uint8_t *bytes = journal_get(journal, 0, id);

        for (int i = 0; i < PAGE; i++)
                assert_int_equal(bytes[i], (uint8_t)id);
}

/* Records whose memory goes back to the kernel when they are deleted, and not before a rollback. */
static void test_gives_back(void **state) {
        static const struct journal_table_spec paged[] = {{PAGE, PAGES, .gives_back = 1}};
        struct journal_spec other = spec;
        struct journal *journal;
        uint64_t empty, full;

        (void)state;
        other.tables = paged;
        assert_int_equal(journal_create(&journal, &other), 0);
        empty = bytes_of(journal);
        for (int round = 0; round < 3; round++) {
                for (uint32_t i = 1; i <= PAGES; i++) {
                        uint32_t id = journal_new(journal, 0);

                        assert_in_range(id, 1, PAGES);
                        assert_int_equal(*(uint32_t *)journal_get(journal, 0, id), 0);
                        fill(journal, id);
                }
                assert_int_equal(journal_new(journal, 0), 0);
                journal_commit(journal);
                full = bytes_of(journal);
                assert_true(full >= empty + PAGES * PAGE);

                for (uint32_t id = 1; id <= PAGES; id++)
                        journal_delete(journal, 0, id);
                journal_rollback(journal);
                assert_int_equal(journal_used(journal, 0), PAGES);
                for (uint32_t id = 1; id <= PAGES; id++)
                        check_filled(journal, id);

                /* Deleted and taken again by one transaction, which is undone. */
                journal_delete(journal, 0, 5);
                assert_int_equal(journal_new(journal, 0), 5);
                fill(journal, 5);
                *(uint8_t *)journal_get(journal, 0, 5) = 0;
                journal_rollback(journal);
                check_filled(journal, 5);

                for (uint32_t id = 1; id <= PAGES; id++)
                        journal_delete(journal, 0, id);
                journal_commit(journal);
                assert_int_equal(journal_used(journal, 0), 0);
                /* The undo log keeps some. */
                assert_true(bytes_of(journal) <= empty + 1024 * 1024);
        }
        journal_free(journal);
}

static void test_other_layout(void **state) {
        struct journal_spec newer = spec;
        struct journal *journal, *again;

        (void)state;
        assert_int_equal(journal_create(&journal, &spec), 0);
        newer.version++;
        assert_int_equal(journal_attach(&again, journal_fd(journal), &newer), -EPROTO);
        newer = spec;
        newer.root_size += 8;
        assert_int_equal(journal_attach(&again, journal_fd(journal), &newer), -EPROTO);
        assert_int_equal(journal_attach(&again, STDIN_FILENO, &spec), -EPROTO);
        journal_free(journal);
        assert_null(journal_free(NULL));
}

/* The next layout: records have grown at their beginning, the root at its end, and there is another
 * table. */
struct next_record {
        uint32_t id;
        uint32_t extra;
        uint64_t value;
};

struct next_totals {
        struct totals totals;
        uint64_t extra;
};

static const struct journal_table_spec next_tables[] = {{sizeof(struct next_record), 32},
                                                        {sizeof(struct record), 8}};
static const struct journal_spec next_spec = {
        .version = 8,
        .root_size = sizeof(struct next_totals),
        .scratch_size = 8192,
        .n_tables = 2,
        .tables = next_tables,
};

static void next_root(void *to, const void *from) {
        ((struct next_totals *)to)->totals = *(const struct totals *)from;
        ((struct next_totals *)to)->extra = 3;
}

static void next_convert(void *to, const void *from) {
        *(struct next_record *)to =
                (struct next_record){.value = ((const struct record *)from)->value};
}

static void (*const next_records[])(void *to, const void *from) = {next_convert};
static const struct journal_step next_step = {&spec, &next_spec, next_root, next_records};

/* Two live records, and one that is free. */
static struct journal *journal_to_convert(void) {
        struct journal *journal;
        uint32_t id;

        assert_int_equal(journal_create(&journal, &spec), 0);
        record_add(journal, 10);
        id = record_add(journal, 20);
        record_add(journal, 30);
        finish(journal);
        record_remove(journal, id);
        finish(journal);
        /* Not finished: it must not be there afterwards. */
        record_change(journal, 1, 99);
        return journal;
}

static void check_next(int fd) {
        struct journal *journal;
        const struct next_record *record;
        struct next_totals *totals;
        uint64_t key;
        size_t length;

        assert_int_equal(journal_attach(&journal, fd, &next_spec), 0);
        totals = journal_root(journal);
        assert_int_equal(totals->totals.sum, 40);
        assert_int_equal(totals->totals.transactions, 2);
        assert_int_equal(totals->extra, 3);
        record = journal_get(journal, 0, 1);
        assert_int_equal(record->id, 1);
        assert_int_equal(record->value, 10);
        assert_int_equal(journal_used(journal, 0), 2);
        assert_int_equal(journal_high(journal, 0), 3);
        assert_int_equal(*(uint64_t *)journal_outcome(journal, &key, &length), 2);
        assert_int_equal(key, 1002);
        assert_int_equal(journal_new(journal, 0), 2);
        assert_int_equal(journal_new(journal, 0), 4);
        assert_int_equal(journal_new(journal, 1), 1);
        journal_commit(journal);
        journal_free(journal);
}

static void test_convert(void **state) {
        struct journal *journal = journal_to_convert();
        struct stat before, after;
        int fd = dup(journal_fd(journal));

        (void)state;
        assert_int_equal(journal_version(fd), 7);
        assert_int_equal(journal_convert(fd, &next_step), 0);
        assert_int_equal(journal_version(fd), 8);
        assert_int_equal(journal_convert(fd, &next_step), -EPROTO);
        journal_free(journal);
        /* The old records' memory comes back. */
        fstat(fd, &before);
        check_next(dup(fd));
        fstat(fd, &after);
        assert_true(after.st_blocks < before.st_blocks);
        close(fd);
}

static void test_convert_and_revert(void **state) {
        struct journal *journal = journal_to_convert();
        int fd = dup(journal_fd(journal));

        (void)state;
        for (int i = 0; i < 2; i++) {
                assert_int_equal(journal_convert(fd, &next_step), 0);
                journal_revert(journal);
                assert_int_equal(journal_version(fd), 7);
                assert_int_equal(record_get(journal, 1)->value, 10);
                check_whole(journal);
                record_change(journal, 1, 11);
                record_change(journal, 1, 10);
                journal_commit(journal);
        }
        assert_int_equal(journal_convert(fd, &next_step), 0);
        journal_free(journal);
        check_next(fd);
}

/* A table has no room for the old records: nothing has changed. */
static void test_convert_refused(void **state) {
        static const struct journal_table_spec small[] = {{sizeof(struct next_record), 2}};
        const struct journal_spec to = {8, sizeof(struct next_totals), 4096, 1, small};
        const struct journal_step step = {&spec, &to, next_root, next_records};
        static void (*const same[])(void *, const void *) = {NULL};
        const struct journal_step unlike = {&spec, &next_spec, next_root, same};
        struct journal *journal = journal_to_convert();

        (void)state;
        assert_int_equal(journal_convert(journal_fd(journal), &step), -ENOSPC);
        assert_int_equal(journal_convert(journal_fd(journal), &unlike), -EPROTO);
        assert_int_equal(journal_convert(STDIN_FILENO, &step), -EPROTO);
        assert_int_equal(journal_version(journal_fd(journal)), 7);
        check_whole(journal);
        journal_free(journal);
}

/* Killed at any point, the records are the old ones or the new ones, and can be converted again. */
static void test_convert_killed(void **state) {
        (void)state;
        for (uint64_t n = 1;; n++) {
                struct journal *journal = journal_to_convert();
                int fd = dup(journal_fd(journal)), status;
                pid_t pid;

                journal_crash_after(journal, n);
                pid = fork();
                if (pid == 0)
                        _exit(journal_convert(fd, &next_step) == 0 ? 0 : 1);
                waitpid(pid, &status, 0);
                journal_crash_after(journal, 0);
                journal_free(journal);
                if (journal_version(fd) == 7)
                        assert_int_equal(journal_convert(fd, &next_step), 0);
                check_next(fd);
                if (WIFEXITED(status)) {
                        assert_int_equal(WEXITSTATUS(status), 0);
                        assert_true(n > 3);
                        return;
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kill_anywhere),      cmocka_unit_test(test_rollback),
                cmocka_unit_test(test_table_full),         cmocka_unit_test(test_long_outcome),
                cmocka_unit_test(test_other_layout),       cmocka_unit_test(test_convert),
                cmocka_unit_test(test_convert_and_revert), cmocka_unit_test(test_convert_refused),
                cmocka_unit_test(test_convert_killed),     cmocka_unit_test(test_gives_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
