/* SPDX-License-Identifier: MIT */

/*
 * The channel against a socket pair that plays the kernel: what is saved, what is sent again, and
 * that a request and a FORGET happen exactly once wherever a worker is killed.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "fuse/channel.h"
#include <linux/fuse.h>

enum { BATCH = 200, RESEND_CODE = 7 };
#define RESENT (UINT64_C(1) << 63)

struct kernel {
        struct journal *journal;
        struct root *root;
        int fd; /* the kernel's end */
        struct channel *channel;
        uint32_t offers; /* flags of INIT, besides the usual ones */
};

/* The file system: counts what it is told in fields of the root record. */

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        struct journal *journal = fuse_req_userdata(req);
        struct root *root = journal_root(journal);
        struct fuse_entry_param entry = {.ino = 2};

        (void)parent;
        (void)name;
        JOURNAL_SET(journal, root->next_ino, root->next_ino + 1);
        JOURNAL_SET(journal, root->next_event, root->next_event + 1);
        fuse_reply_entry(req, &entry);
}

static void on_forget(void *userdata, uint64_t nodeid, uint64_t count) {
        struct journal *journal = userdata;
        struct root *root = journal_root(journal);

        JOURNAL_SET(journal, root->next_ino, root->next_ino + count);
        JOURNAL_SET(journal, root->next_event, root->next_event + nodeid);
}

/* The channel that handles a SETATTR, and what it said about that. */
static const struct channel *asked;
static bool answer;

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid,
                       struct fuse_file_info *fi) {
        (void)ino;
        (void)valid;
        (void)fi;
        answer = channel_kills_privilege(asked);
        fuse_reply_attr(req, attr, 0);
}

static const struct fuse_lowlevel_ops operations = {
        .lookup = on_lookup,
        .setattr = on_setattr,
};

/* The kernel's side. */

static void kernel_send(struct kernel *kernel, uint32_t opcode, uint64_t unique, const void *body,
                        size_t size) {
        struct fuse_in_header header = {
                .len = (uint32_t)(sizeof(header) + size),
                .opcode = opcode,
                .unique = unique,
                .nodeid = 1,
        };
        struct iovec iov[] = {{&header, sizeof(header)}, {(void *)body, size}};

        assert_int_equal(writev(kernel->fd, iov, 2), header.len);
}

static ssize_t kernel_receive(struct kernel *kernel, void *buffer, size_t size) {
        return recv(kernel->fd, buffer, size, MSG_DONTWAIT);
}

static void kernel_send_init(struct kernel *kernel, uint64_t unique) {
        struct fuse_init_in init = {
                .major = FUSE_KERNEL_VERSION,
                .minor = FUSE_KERNEL_MINOR_VERSION,
                .max_readahead = 131072,
                .flags = UINT32_C(1) << 30 | FUSE_ASYNC_READ | FUSE_PARALLEL_DIROPS |
                         FUSE_ATOMIC_O_TRUNC | FUSE_WRITEBACK_CACHE | FUSE_MAX_PAGES |
                         kernel->offers,
                .flags2 = 1 << 5 | 1 << 7, /* passthrough, resend */
        };

        kernel_send(kernel, FUSE_INIT, unique, &init, sizeof(init));
}

static void channel_open(struct kernel *kernel) {
        assert_int_equal(channel_new(&kernel->channel, kernel->journal, &operations, on_forget,
                                     kernel->journal),
                         0);
}

static void kernel_new(struct kernel *kernel) {
        int fds[2];

        assert_int_equal(journal_create(&kernel->journal, layout_spec()), 0);
        kernel->root = journal_root(kernel->journal);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        kernel->root->fuse_fd = fds[0];
        kernel->root->settings.want_passthrough = PASSTHROUGH_OFF;
        kernel->fd = fds[1];
        channel_open(kernel);
}

static void kernel_free(struct kernel *kernel) {
        channel_free(kernel->channel);
        close(kernel->fd);
        close(kernel->root->fuse_fd);
        journal_free(kernel->journal);
}

static void kernel_init(struct kernel *kernel) {
        uint8_t reply[512];

        kernel_new(kernel);
        kernel_send_init(kernel, 2);
        assert_int_equal(channel_dispatch(kernel->channel), 1);
        assert_true(kernel_receive(kernel, reply, sizeof(reply)) > 0);
}

/* Runs work(kernel) in a process that dies at its n-th crash point.  Whether it died. */
static bool killed_at(struct kernel *kernel, uint64_t n, void (*work)(struct kernel *kernel)) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                journal_crash_after(kernel->journal, n);
                work(kernel);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        journal_crash_after(kernel->journal, 0);
        assert_true(WIFEXITED(status) || WTERMSIG(status) == SIGKILL);
        return WIFSIGNALED(status);
}

static void dispatch(struct kernel *kernel) {
        channel_dispatch(kernel->channel);
}

/* The next worker, as worker_run() has it. */
static void resume(struct kernel *kernel) {
        journal_rollback(kernel->journal);
        kernel->root->counters.restarts++;
        channel_free(kernel->channel);
        channel_open(kernel);
        assert_int_equal(channel_resume(kernel->channel), 0);
}

/* Reads replies until the wish for resent requests; how many had this unique. */
static unsigned int replies_until_resend(struct kernel *kernel, uint64_t unique) {
        uint8_t buffer[512];
        const struct fuse_out_header *header = (const void *)buffer;
        unsigned int n = 0;

        while (kernel_receive(kernel, buffer, sizeof(buffer)) > 0) {
                if (header->unique == 0) {
                        assert_int_equal(header->error, RESEND_CODE);
                        return n;
                }
                n += header->unique == unique && header->error == 0;
        }
        fail_msg("no RESEND");
        return 0;
}

struct init_reply {
        struct fuse_out_header header;
        struct fuse_init_out out;
};

/* Tests */

static void test_init_is_answered_saved_and_replayed(void **state) {
        struct kernel kernel = {};
        struct init_reply reply;

        (void)state;
        kernel_new(&kernel);
        assert_false(channel_is_ready(kernel.channel));
        assert_int_equal(channel_dispatch(kernel.channel), 0);
        kernel_send_init(&kernel, 2);
        assert_int_equal(channel_dispatch(kernel.channel), 1);
        assert_true(channel_is_ready(kernel.channel));
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
        assert_int_equal(reply.header.error, 0);
        assert_int_equal(reply.out.flags & (FUSE_ATOMIC_O_TRUNC | FUSE_WRITEBACK_CACHE), 0);
        assert_int_equal(reply.out.flags & FUSE_PARALLEL_DIROPS, FUSE_PARALLEL_DIROPS);
        assert_int_equal(reply.out.flags2 & 1 << 5, 0); /* passthrough=off */
        assert_int_equal(reply.out.max_write, 1024 * 1024);

        channel_free(kernel.channel);
        channel_open(&kernel);
        assert_true(channel_is_ready(kernel.channel));
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), -1);
        kernel_free(&kernel);
}

static void test_passthrough_is_asked_for(void **state) {
        struct kernel kernel = {};
        struct init_reply reply;

        (void)state;
        kernel_new(&kernel);
        kernel.root->settings.want_passthrough = PASSTHROUGH_ON;
        kernel_send_init(&kernel, 2);
        /* A socket has no backing files: that it was asked for is not enough. */
        assert_int_equal(channel_dispatch(kernel.channel), -EOPNOTSUPP);
        assert_false(channel_has_passthrough(kernel.channel));
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
        assert_int_equal(reply.out.flags & UINT32_C(1) << 30, UINT32_C(1) << 30);
        assert_int_equal(reply.out.flags2 & 1 << 5, 1 << 5);
        assert_int_equal(reply.out.unused[0], 1); /* max_stack_depth */
        kernel_free(&kernel);
}

static void dispatch_lookup(struct kernel *kernel, uint64_t unique) {
        kernel_send(kernel, FUSE_LOOKUP, unique, "name", 5);
        assert_int_equal(channel_dispatch(kernel->channel), 1);
}

/* Whatever the crash point: the change happens once, and its reply is there once it has. */
static bool kernel_kills(struct kernel *kernel, uint32_t valid) {
        static uint64_t unique = 100;
        struct fuse_setattr_in in = {.valid = valid};
        uint8_t reply[512];

        kernel_send(kernel, FUSE_SETATTR, unique += 2, &in, sizeof(in));
        asked = kernel->channel;
        assert_int_equal(channel_dispatch(kernel->channel), 1);
        assert_true(kernel_receive(kernel, reply, sizeof(reply)) > 0);
        return answer;
}

/* Extended attributes, and set-user-id with them, if the kernel offers it and they are wanted. */
static void test_killpriv_is_taken_with_xattr(void **state) {
        (void)state;
        for (int i = 0; i < 4; i++) {
                bool offered = i & 1, wanted = i & 2;
                struct kernel kernel = {.offers = offered ? FUSE_HANDLE_KILLPRIV_V2 : 0};
                struct {
                        struct fuse_out_header header;
                        struct fuse_init_out out;
                } reply;

                kernel_new(&kernel);
                kernel.root->settings.xattr = wanted;
                assert_false(channel_has_xattr(kernel.channel));
                kernel_send_init(&kernel, 2);
                assert_int_equal(channel_dispatch(kernel.channel), 1);
                assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
                assert_int_equal(!!(reply.out.flags & FUSE_HANDLE_KILLPRIV_V2), offered && wanted);
                assert_int_equal(channel_has_xattr(kernel.channel), offered && wanted);
                channel_free(kernel.channel);
                channel_open(&kernel); /* the next worker */
                assert_int_equal(channel_has_xattr(kernel.channel), offered && wanted);

                assert_int_equal(kernel_kills(&kernel, FATTR_FH), offered && wanted);
                assert_int_equal(kernel_kills(&kernel, FATTR_UID), offered && wanted);
                assert_int_equal(kernel_kills(&kernel, FATTR_SIZE | FATTR_KILL_SUIDGID),
                                 offered && wanted);
                assert_false(kernel_kills(&kernel, FATTR_SIZE));
                assert_false(kernel_kills(&kernel, FATTR_MODE | FATTR_CTIME));
                assert_false(kernel_kills(&kernel, FATTR_MTIME_NOW | FATTR_MTIME));
                kernel_free(&kernel);
        }
}

static void test_request_happens_once(void **state) {
        bool killed = true;

        (void)state;
        for (uint64_t n = 1; killed; n++) {
                struct kernel kernel = {};
                unsigned int replies;

                kernel_init(&kernel);
                kernel_send(&kernel, FUSE_LOOKUP, 4, "name", 5);
                killed = killed_at(&kernel, n, dispatch);
                resume(&kernel);
                replies = replies_until_resend(&kernel, 4);
                assert_int_equal(kernel.root->next_ino, replies > 0);
                if (replies == 0)
                        dispatch_lookup(&kernel, 4 | RESENT);
                assert_int_equal(kernel.root->next_ino, 1);
                assert_int_equal(kernel.root->next_event, 1);
                assert_false(journal_dirty(kernel.journal));
                kernel_free(&kernel);
        }
}

/* The outcome before is told again before the next request overwrites it. */
static void test_killed_while_resuming(void **state) {
        bool killed = true;

        (void)state;
        for (uint64_t n = 1; killed; n++) {
                struct kernel kernel = {};

                kernel_init(&kernel);
                kernel_send(&kernel, FUSE_LOOKUP, 4, "name", 5);
                /* All saved, nothing sent. */
                killed_at(&kernel, 7, dispatch);
                killed = killed_at(&kernel, n, resume);
                resume(&kernel);
                assert_true(kernel.root->next_ino <= 1);
                if (kernel.root->next_ino == 1)
                        assert_true(replies_until_resend(&kernel, 4) > 0);
                kernel_free(&kernel);
        }
}

static void send_batch(struct kernel *kernel) {
        struct {
                struct fuse_batch_forget_in in;
                struct fuse_forget_one one[BATCH];
        } batch = {.in.count = BATCH};

        for (uint64_t i = 0; i < BATCH; i++)
                batch.one[i] = (struct fuse_forget_one){.nodeid = i + 1, .nlookup = i};
        kernel_send(kernel, FUSE_BATCH_FORGET, 6, &batch, sizeof(batch));
}

static void test_forgets_happen_once(void **state) {
        bool killed = true;

        (void)state;
        /* A stride that meets every kind of point: there are some two thousand. */
        for (uint64_t n = 1; killed; n += 7) {
                struct kernel kernel = {};

                kernel_init(&kernel);
                send_batch(&kernel);
                killed = killed_at(&kernel, n, dispatch);
                resume(&kernel);
                assert_int_equal(kernel.root->next_ino, BATCH * (BATCH - 1) / 2);
                assert_int_equal(kernel.root->next_event, BATCH * (BATCH + 1) / 2);
                /* And not again. */
                resume(&kernel);
                assert_int_equal(channel_dispatch(kernel.channel), 0);
                resume(&kernel);
                assert_int_equal(kernel.root->next_ino, BATCH * (BATCH - 1) / 2);
                kernel_free(&kernel);
        }
}

static void test_single_forget(void **state) {
        const struct fuse_forget_in forget = {.nlookup = 3};
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        kernel_send(&kernel, FUSE_FORGET, 6, &forget, sizeof(forget));
        assert_int_equal(channel_dispatch(kernel.channel), 1);
        assert_int_equal(kernel.root->next_ino, 3);
        resume(&kernel);
        assert_int_equal(kernel.root->next_ino, 3);
        kernel_free(&kernel);
}

/* A WRITE of one byte that ends at `end` of its file; there is no handler, which does not matter. */
static void write_up_to(struct kernel *kernel, uint64_t end) {
        struct {
                struct fuse_write_in in;
                char byte;
        } body = {.in = {.offset = end - 1, .size = 1}};
        uint8_t reply[64];

        kernel_send(kernel, FUSE_WRITE, 12, &body, sizeof(body.in) + 1);
        assert_int_equal(channel_dispatch(kernel->channel), 1);
        assert_true(kernel_receive(kernel, reply, sizeof(reply)) > 0);
}

static void test_place_of_a_write_that_goes_on(void **state) {
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        for (uint64_t end = 1; end <= 2 * 4096; end++) {
                uint64_t bytes, distance;

                write_up_to(&kernel, end);
                assert_int_equal(channel_dispatch(kernel.channel), 0);
                bytes = kernel.root->request_at + sizeof(struct fuse_in_header) +
                        sizeof(struct fuse_write_in);
                distance = (bytes - end) % 4096;
                assert_true(kernel.root->request_at % 8 == 0);
                assert_true(kernel.root->request_at % 4096 + sizeof(struct fuse_in_header) <= 4096);
                if (end % 4096 == 0)
                        assert_true(distance == 0);
                else
                        assert_in_range(distance, 2048 - 127, 2048);
                assert_true(kernel.root->request_at + LAYOUT_REQUEST_MAX <= LAYOUT_SCRATCH_SIZE);
        }
        kernel_free(&kernel);
}

/* Wherever the request before makes the place for it. */
static void test_forgets_happen_once_anywhere(void **state) {
        bool killed = true;

        (void)state;
        for (uint64_t n = 1; killed; n += 97) {
                struct kernel kernel = {};

                kernel_init(&kernel);
                write_up_to(&kernel, n * 13);
                send_batch(&kernel);
                killed = killed_at(&kernel, n, dispatch);
                resume(&kernel);
                assert_int_equal(kernel.root->next_ino, BATCH * (BATCH - 1) / 2);
                write_up_to(&kernel, 4096);
                assert_int_equal(channel_dispatch(kernel.channel), 0);
                resume(&kernel);
                assert_int_equal(kernel.root->next_ino, BATCH * (BATCH - 1) / 2);
                kernel_free(&kernel);
        }
}

static void test_poison_is_refused_when_resent(void **state) {
        struct fuse_out_header reply;
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        kernel.root->suspects[1] = (struct suspect){.key = 8, .deaths = 2};
        kernel.root->suspects[2] = (struct suspect){.key = 10, .deaths = 1};
        dispatch_lookup(&kernel, 8 | RESENT);
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
        assert_int_equal(reply.error, -EIO);
        assert_true(reply.unique == (8 | RESENT));
        assert_int_equal(kernel.root->counters.poisoned, 1);
        assert_int_equal(kernel.root->next_ino, 0);
        dispatch_lookup(&kernel, 10 | RESENT);
        assert_int_equal(kernel.root->next_ino, 1);
        kernel_free(&kernel);
}

static void test_nonsense_is_an_error(void **state) {
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        assert_int_equal(send(kernel.fd, "short", 5, 0), 5);
        assert_int_equal(channel_dispatch(kernel.channel), -EPROTO);
        kernel_free(&kernel);
}

static void test_closing_waits_for_the_commit(void **state) {
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        for (int i = 1; i <= LAYOUT_CLOSING_MAX + 5; i++)
                channel_backing_close(kernel.channel, i);
        assert_int_equal(kernel.root->n_closing, LAYOUT_CLOSING_MAX);
        channel_settle(kernel.channel);
        assert_int_equal(kernel.root->n_closing, LAYOUT_CLOSING_MAX);
        journal_rollback(kernel.journal);
        assert_int_equal(kernel.root->n_closing, 0);
        channel_backing_close(kernel.channel, 1);
        journal_commit(kernel.journal);
        channel_settle(kernel.channel);
        assert_int_equal(kernel.root->n_closing, 0);
        kernel_free(&kernel);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_init_is_answered_saved_and_replayed),
                cmocka_unit_test(test_passthrough_is_asked_for),
                cmocka_unit_test(test_killpriv_is_taken_with_xattr),
                cmocka_unit_test(test_request_happens_once),
                cmocka_unit_test(test_killed_while_resuming),
                cmocka_unit_test(test_forgets_happen_once),
                cmocka_unit_test(test_single_forget),
                cmocka_unit_test(test_place_of_a_write_that_goes_on),
                cmocka_unit_test(test_forgets_happen_once_anywhere),
                cmocka_unit_test(test_poison_is_refused_when_resent),
                cmocka_unit_test(test_nonsense_is_an_error),
                cmocka_unit_test(test_closing_waits_for_the_commit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
