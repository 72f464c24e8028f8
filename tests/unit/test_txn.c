/* SPDX-License-Identifier: MIT */

/*
 * Transactions: what an abort takes back, what a commit has done after it, and in which order.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "volume/volume.h"

struct world {
        struct journal *journal;
        struct root *root;
        struct txn *txn;
        char told[64]; /* what happened, a letter each */
        unsigned int n_told;
        bool again; /* a hook is to commit once more */
};

static void tell(struct world *world, char what) {
        assert_true(world->n_told < sizeof(world->told) - 1);
        world->told[world->n_told++] = what;
        world->told[world->n_told] = '\0';
}

static void on_backing(void *userdata) {
        tell(userdata, 'b');
}

static void on_events(void *userdata) {
        struct world *world = userdata;

        tell(world, 'e');
        if (!world->again)
                return;
        /* Work that commits adds to what is to be done, and does not begin it itself. */
        world->again = false;
        JOURNAL_SET(world->journal, world->root->next_event, world->root->next_event + 1);
        txn_after_commit(world->txn, TXN_AFTER_BACKING);
        assert_int_equal(txn_commit(world->txn), 0);
        tell(world, ')');
}

static void on_commit(void *userdata) {
        tell(userdata, 'C');
}

static void on_abort(void *userdata) {
        tell(userdata, 'A');
}

static void on_close(void *userdata, int fd, uint64_t blocks) {
        tell(userdata, blocks == 7 ? 'x' : '?');
        close(fd);
}

static void on_send(void *userdata, const struct iovec *iov, int n_iov) {
        (void)iov;
        assert_int_equal(n_iov, 1);
        tell(userdata, 's');
}

static void world_new(struct world *world) {
        memset(world, 0, sizeof(*world));
        assert_int_equal(journal_create(&world->journal, layout_spec()), 0);
        world->root = journal_root(world->journal);
        assert_int_equal(txn_new(&world->txn, world->journal), 0);
        txn_set_after(world->txn, TXN_AFTER_BACKING, on_backing, world);
        txn_set_after(world->txn, TXN_AFTER_EVENTS, on_events, world);
        txn_add_member(world->txn, on_commit, on_abort, world);
        txn_set_close(world->txn, on_close, world);
}

static void world_clear(struct world *world) {
        txn_free(world->txn);
        journal_free(world->journal);
}

static int some_fd(void) {
        int fd = memfd_create("test", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static bool is_open(int fd) {
        return fcntl(fd, F_GETFD) >= 0;
}

/* A change, with all that can go with one. */
static void change(struct world *world, int opened, int given_up) {
        JOURNAL_SET(world->journal, world->root->next_ino, world->root->next_ino + 1);
        assert_int_equal(txn_own_fd(world->txn, opened), opened);
        txn_close_later(world->txn, given_up, 7);
        txn_after_commit(world->txn, TXN_AFTER_EVENTS);
        txn_after_commit(world->txn, TXN_AFTER_BACKING);
}

static void test_abort(void **state) {
        int opened = some_fd(), given_up = some_fd();
        struct world world;

        (void)state;
        world_new(&world);
        change(&world, opened, given_up);
        txn_abort(world.txn);
        assert_string_equal(world.told, "A");
        assert_int_equal(world.root->next_ino, 0);
        assert_false(is_open(opened));
        assert_true(is_open(given_up));
        /* Nothing of it is left to the next one. */
        assert_int_equal(txn_commit(world.txn), 0);
        assert_string_equal(world.told, "AC");
        close(given_up);
        world_clear(&world);
}

static void test_commit(void **state) {
        int opened = some_fd(), given_up = some_fd();
        struct world world;

        (void)state;
        world_new(&world);
        change(&world, opened, given_up);
        assert_int_equal(txn_commit(world.txn), 0);
        assert_string_equal(world.told, "Cbex");
        assert_int_equal(world.root->next_ino, 1);
        assert_true(is_open(opened));
        assert_false(is_open(given_up));
        txn_abort(world.txn);
        assert_true(is_open(opened));
        close(opened);
        world_clear(&world);
}

static void test_reply_comes_before_the_rest(void **state) {
        struct world world;
        struct iovec iov = {"reply", 5};
        uint64_t key;
        size_t length;

        (void)state;
        world_new(&world);
        change(&world, some_fd(), some_fd());
        assert_int_equal(txn_commit_reply(world.txn, 5, &iov, 1, on_send, &world), 0);
        assert_string_equal(world.told, "sCbex");
        assert_memory_equal(journal_outcome(world.journal, &key, &length), "reply", 5);
        assert_int_equal(key, 5);
        assert_int_equal(length, 5);
        /* What changes nothing has no outcome: the last one stays. */
        assert_int_equal(txn_commit_reply(world.txn, 6, &iov, 1, on_send, &world), 0);
        (void)journal_outcome(world.journal, &key, &length);
        assert_int_equal(key, 5);
        world_clear(&world);
}

static void test_work_may_commit(void **state) {
        struct world world;

        (void)state;
        world_new(&world);
        world.again = true;
        change(&world, some_fd(), some_fd());
        assert_int_equal(txn_commit(world.txn), 0);
        assert_string_equal(world.told, "CbeC)bx");
        assert_int_equal(world.root->next_event, 1);
        world_clear(&world);
}

static void test_failed(void **state) {
        struct iovec iov = {"reply", 5};
        int opened = some_fd();
        struct world world;

        (void)state;
        world_new(&world);
        change(&world, opened, -1);
        txn_fail(world.txn, -ENOSPC);
        txn_fail(world.txn, -ENOMEM); /* the first one counts */
        assert_int_equal(txn_commit_reply(world.txn, 5, &iov, 1, on_send, &world), -ENOSPC);
        assert_string_equal(world.told, "A");
        assert_int_equal(world.root->next_ino, 0);
        assert_false(is_open(opened));
        assert_int_equal(txn_check(world.txn), 0);

        /* The end of something cannot be refused. */
        change(&world, some_fd(), -1);
        txn_fail(world.txn, -ENOSPC);
        txn_commit_anyway(world.txn);
        assert_string_equal(world.told, "ACbe");
        assert_int_equal(world.root->next_ino, 1);
        world_clear(&world);
}

/* A transaction that grows says so, is refused beyond its bound, and can still be undone. */
static void test_bound(void **state) {
        struct world world;
        uint64_t n = 0;

        (void)state;
        world_new(&world);
        while (!txn_is_nearly_full(world.txn))
                JOURNAL_SET(world.journal, world.root->next_ino, ++n);
        assert_int_equal(txn_check(world.txn), 0);
        txn_abort(world.txn);
        for (n = 0; journal_size(world.journal) <= JOURNAL_BOUND;)
                JOURNAL_SET(world.journal, world.root->next_ino, ++n);
        assert_true(n > 10000);
        assert_int_equal(txn_commit(world.txn), -ENOMEM);
        assert_int_equal(world.root->next_ino, 0);
        assert_int_equal(txn_commit(world.txn), 0);
        world_clear(&world);
}

static void test_many_descriptors(void **state) {
        enum { MANY = 300 };
        int fds[MANY];
        struct world world;

        (void)state;
        world_new(&world);
        txn_set_close(world.txn, NULL, NULL);
        for (int i = 0; i < MANY; i++)
                fds[i] = txn_own_fd(world.txn, some_fd());
        assert_int_equal(txn_commit(world.txn), 0);
        for (int i = 0; i < MANY; i++)
                txn_close_later(world.txn, fds[i], 0);
        assert_int_equal(txn_commit(world.txn), 0);
        for (int i = 0; i < MANY; i++)
                assert_false(is_open(fds[i]));
        world_clear(&world);
}

/* Backing ids: closed when no record names them any more, and not before; opened in vain, at once. */

struct kernel {
        int next, closed[64];
        unsigned int n_closed;
};

static int kernel_open(void *userdata, uint32_t node, int fd) {
        struct kernel *kernel = userdata;

        assert_true(node > 0 && fd >= 0);
        return kernel->next > 0 ? kernel->next++ : -EMFILE;
}

static void kernel_close(void *userdata, int id) {
        struct kernel *kernel = userdata;

        kernel->closed[kernel->n_closed++] = id;
}

static void test_backing_ids(void **state) {
        struct kernel kernel = {.next = 1};
        const struct volume_kernel doors = {kernel_open, kernel_close, &kernel, {0}};
        const struct create_attrs attrs = {.mode = S_IFREG | 0600};
        struct caller caller = {.has_groups = true};
        const struct change by = {.caller = &caller};
        struct journal *journal;
        struct root *root;
        struct loop *loop;
        struct job_queue *queue;
        struct volume *volume;
        struct node *dir, *node;
        int backing;

        (void)state;
        assert_int_equal(journal_create(&journal, layout_spec()), 0);
        root = journal_root(journal);
        root->settings.root_mode = 0755;
        root->fuse_fd = -1;
        root->settings.want_passthrough = PASSTHROUGH_ON;
        assert_int_equal(loop_new(&loop), 0);
        assert_int_equal(job_queue_new(&queue, loop, "test"), 0);
        assert_int_equal(volume_new(&volume, journal, loop, NULL, queue), 0);
        volume_set_kernel(volume, &doors);
        dir = tree_node(volume->tree, LAYOUT_ROOT_ID);
        assert_int_equal(volume_make(volume, &by, dir, "a", 1, &attrs, &node), 0);
        assert_int_equal(txn_commit(volume->txn), 0);
        root->passthrough = 1;

        /* In vain. */
        assert_int_equal(volume_open(volume, node, true, &backing), 0);
        assert_int_equal(backing, 1);
        assert_int_equal(node->opens, 1);
        txn_abort(volume->txn);
        assert_int_equal(kernel.n_closed, 1);
        assert_int_equal(kernel.closed[0], 1);
        assert_int_equal(node->opens, 0);

        assert_int_equal(volume_open(volume, node, true, &backing), 0);
        assert_int_equal(txn_commit(volume->txn), 0);
        assert_int_equal(volume_unlink(volume, &by, dir, "a", 1), 0);
        assert_int_equal(txn_commit(volume->txn), 0);
        assert_int_equal(kernel.n_closed, 1);
        volume_release(volume, &by, node, true);
        assert_int_equal(kernel.n_closed, 1);
        assert_int_equal(txn_commit(volume->txn), 0);
        assert_int_equal(kernel.n_closed, 2);
        assert_int_equal(kernel.closed[1], 2);
        assert_int_equal(root->n_closing, 0);

        /* The kernel gives none. */
        kernel.next = 0;
        root->passthrough = 0; /* on a memfd: no tmpfs can be mounted in emulation */
        assert_int_equal(volume_make_unnamed(volume, &by, dir, &attrs, &node), 0);
        root->passthrough = 1;
        assert_int_equal(volume_open(volume, node, true, &backing), -EMFILE);
        txn_abort(volume->txn);
        assert_int_equal(journal_used(journal, TABLE_NODE), 1);

        job_queue_free(queue);
        volume_free(volume);
        loop_free(loop);
        journal_free(journal);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_abort),
                cmocka_unit_test(test_commit),
                cmocka_unit_test(test_reply_comes_before_the_rest),
                cmocka_unit_test(test_work_may_commit),
                cmocka_unit_test(test_failed),
                cmocka_unit_test(test_bound),
                cmocka_unit_test(test_many_descriptors),
                cmocka_unit_test(test_backing_ids),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
