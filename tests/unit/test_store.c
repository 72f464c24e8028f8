/* SPDX-License-Identifier: MIT */

/*
 * Files with names in a private tmpfs: several stores, what an abort and a death leave; and the
 * numbers of descriptors.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include "memory/backing.h"
#include "memory/descriptor.h"
#include "memory/file.h"
#include "memory/store.h"

#define LIMIT (UINT64_C(1) << 20)

struct world {
        struct journal *journal;
        struct root *root;
        struct limit *one, *other;
};

static struct node *make_node(struct world *world, uint64_t ino) {
        uint32_t id = journal_new(world->journal, TABLE_NODE);
        struct node *node = journal_get(world->journal, TABLE_NODE, id);

        assert_non_null(node);
        node->id = id;
        node->ino = ino;
        node->mode = S_IFREG | 0640;
        node->backing = BACKING_TMPFS;
        node->fd = -1;
        return node;
}

static void world_new(struct world *world) {
        memset(world, 0, sizeof(*world));
        if (!backing_tmpfs_works())
                skip(); /* no privilege, or an emulated kernel without fsopen(2) */
        assert_int_equal(journal_create(&world->journal, layout_spec()), 0);
        world->root = journal_root(world->journal);
        assert_int_equal(limits_init(world->journal), 0);
        world->one = limit_mount(world->journal);
        world->one->tmpfs_fd = backing_tmpfs(LIMIT);
        assert_int_equal(limit_add(world->journal, LAYOUT_MOUNT_LIMIT, LAYOUT_ROOT_ID, LIMIT, 0,
                                   &world->other),
                         0);
        world->other->tmpfs_fd = backing_tmpfs(LIMIT);
        assert_true(world->one->tmpfs_fd >= 0 && world->other->tmpfs_fd >= 0);
        journal_commit(world->journal);
}

static void world_clear(struct world *world) {
        close(world->one->tmpfs_fd);
        close(world->other->tmpfs_fd);
        journal_free(world->journal);
}

static bool is_there(const struct limit *store, const struct node *node) {
        struct stat st;

        return store_stat(store, node, &st) == 0;
}

static void test_names(void **state) {
        uint32_t id;
        uint64_t ino;

        (void)state;
        assert_true(store_parse("1f-ffffffffff", &id, &ino));
        assert_int_equal(id, 0x1f);
        assert_true(ino == UINT64_C(0xffffffffff));
        assert_false(store_parse("ballast", &id, &ino));
        assert_false(store_parse("1f-", &id, &ino));
        assert_false(store_parse("1f-1 ", &id, &ino));
        assert_false(store_parse("", &id, &ino));
}

static void test_files(void **state) {
        struct world world;
        struct node *node, *second;
        struct stat st;
        int fd, used;

        (void)state;
        world_new(&world);
        node = make_node(&world, 100);
        second = make_node(&world, 101);
        assert_int_equal(store_make(world.journal, world.one, node), 0);
        assert_int_equal(store_make(world.journal, world.other, second), 0);
        journal_commit(world.journal);
        store_keep_made(world.journal);
        assert_int_equal(node->store, world.one->id);
        assert_true(is_there(world.one, node));
        assert_false(is_there(world.other, node));
        assert_true(is_there(world.other, second));

        assert_int_equal(file_truncate(world.journal, node, 5000), 0);
        assert_int_equal(file_own(world.journal, node, getuid(), getgid(), 0640), 0);
        assert_int_equal(file_stat(world.journal, node, &st), 0);
        assert_int_equal(st.st_size, 5000);
        assert_int_equal(st.st_mode, S_IFREG | 0640);
        assert_false(file_has_other_users(world.journal, node));
        /* Such an open is not counted, so a backing id can be made of it. */
        fd = file_open(world.journal, node, O_ACCMODE);
        assert_true(fd >= 0);
        assert_false(file_has_other_users(world.journal, node));
        close(fd);
        fd = file_open(world.journal, node, O_RDONLY);
        assert_true(fd >= 0);
        assert_true(file_has_other_users(world.journal, node));
        close(fd);
        /* No descriptor stays behind. */
        used = file_use(world.journal, node);
        assert_int_equal(used, fd);
        file_unuse(node, used);
        assert_int_equal(fcntl(used, F_GETFD), -1);

        store_unlink(world.one, node->id, node->ino);
        assert_false(is_there(world.one, node));
        world_clear(&world);
}

static void test_abort(void **state) {
        struct world world;
        struct node *node, copy;

        (void)state;
        world_new(&world);
        node = make_node(&world, 100);
        assert_int_equal(store_make(world.journal, world.one, node), 0);
        copy = *node;
        journal_rollback(world.journal);
        assert_true(is_there(world.one, &copy));
        store_undo_made(world.journal);
        assert_false(is_there(world.one, &copy));
        assert_int_equal(world.root->n_made, 0);
        world_clear(&world);
}

/* A worker that dies before the commit leaves a file; one that dies after it leaves a mark. */
static void test_death(void **state) {
        struct world world;
        struct node *kept, *lost, copy;

        (void)state;
        world_new(&world);
        kept = make_node(&world, 100);
        assert_int_equal(store_make(world.journal, world.one, kept), 0);
        journal_commit(world.journal);
        lost = make_node(&world, 101);
        assert_int_equal(store_make(world.journal, world.other, lost), 0);
        copy = *lost;
        assert_int_equal(world.root->n_made, 2);
        journal_rollback(world.journal);
        store_undo_made(world.journal);
        assert_true(is_there(world.one, kept));
        assert_false(is_there(world.other, &copy));
        world_clear(&world);
}

static void test_too_many_in_one(void **state) {
        struct world world;

        (void)state;
        world_new(&world);
        for (int i = 0; i < LAYOUT_MADE_MAX; i++)
                assert_int_equal(
                        store_make(world.journal, world.one, make_node(&world, 100 + (uint64_t)i)),
                        0);
        assert_int_equal(store_make(world.journal, world.one, make_node(&world, 999)), -ENOMEM);
        journal_rollback(world.journal);
        store_undo_made(world.journal);
        world_clear(&world);
}

/* The kernel keeps the limit of each store for itself. */
static void test_limits(void **state) {
        struct world world;
        struct node *node, *second;
        int fd;

        (void)state;
        world_new(&world);
        node = make_node(&world, 100);
        second = make_node(&world, 101);
        assert_int_equal(store_make(world.journal, world.one, node), 0);
        assert_int_equal(store_make(world.journal, world.other, second), 0);
        fd = file_use(world.journal, node);
        assert_int_equal(posix_fallocate(fd, 0, LIMIT), 0);
        assert_int_equal(posix_fallocate(fd, LIMIT, 1), ENOSPC);
        file_unuse(node, fd);
        assert_int_equal(backing_tmpfs_used(world.one->tmpfs_fd), LIMIT);
        assert_int_equal(backing_tmpfs_used(world.other->tmpfs_fd), 0);
        fd = file_use(world.journal, second);
        assert_int_equal(posix_fallocate(fd, 0, LIMIT), 0);
        file_unuse(second, fd);
        world_clear(&world);
}

static void test_descriptors(void **state) {
        struct world world;
        int number, next;

        (void)state;
        memset(&world, 0, sizeof(world));
        assert_int_equal(journal_create(&world.journal, layout_spec()), 0);
        descriptor_init(world.journal);
        number = descriptor_new(world.journal, 7);
        assert_true(number >= DESCRIPTOR_SPARE);
        journal_rollback(world.journal);
        assert_int_equal(descriptor_new(world.journal, 7), number);
        assert_int_equal(descriptor_move(dup(STDERR_FILENO), number), 0);
        next = descriptor_new(world.journal, 8);
        assert_int_equal(next, number + 1);
        /* A number that somebody uses without a record is passed over. */
        assert_int_equal(dup2(STDERR_FILENO, number + 2), number + 2);
        assert_int_equal(descriptor_new(world.journal, 9), number + 3);
        close(number + 2);
        assert_int_equal(descriptor_new(world.journal, 9), number + 2);
        descriptor_delete(world.journal, next);
        assert_int_equal(descriptor_new(world.journal, 10), next);
        close(number);
        journal_free(world.journal);
}

static void test_no_descriptors(void **state) {
        struct world world;
        struct rlimit limit, low;
        uint64_t left;

        (void)state;
        memset(&world, 0, sizeof(world));
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        low = (struct rlimit){128, limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        assert_int_equal(journal_create(&world.journal, layout_spec()), 0);
        descriptor_init(world.journal);
        left = descriptor_left(world.journal);
        assert_int_equal(left, 128 - DESCRIPTOR_SPARE - 128 / 8);
        for (uint64_t i = 0; i < left; i++)
                assert_true(descriptor_new(world.journal, 1) > 0);
        assert_int_equal(descriptor_left(world.journal), 0);
        assert_int_equal(descriptor_new(world.journal, 1), -ENOSPC);
        assert_int_equal(descriptor_new(world.journal, 1), -ENOSPC);
        assert_int_equal(journal_used(world.journal, TABLE_DESCRIPTOR), left);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        journal_free(world.journal);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),           cmocka_unit_test(test_files),
                cmocka_unit_test(test_abort),           cmocka_unit_test(test_death),
                cmocka_unit_test(test_too_many_in_one), cmocka_unit_test(test_limits),
                cmocka_unit_test(test_descriptors),     cmocka_unit_test(test_no_descriptors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
