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
#include "fuse/replay.h"
#include "fuse/reply.h"

enum { BATCH = 200 };

struct kernel {
        struct journal *journal;
        struct root *root;
        struct txn *txn;
        int fd; /* the kernel's end */
        struct channel *channel;
        uint32_t offers; /* flags of INIT, besides the usual ones */
        bool old;        /* it knows no second word of flags */
};

/* What we want, and what we do not. */
enum {
        ATOMIC_O_TRUNC = 1 << 3,
        EXPORT_SUPPORT = 1 << 4,
        WRITEBACK_CACHE = 1 << 16,
        OFFERS = WIRE_INIT_EXT | WIRE_INIT_ASYNC_READ | WIRE_INIT_PARALLEL_DIROPS |
                 WIRE_INIT_MAX_PAGES | WIRE_INIT_READDIRPLUS | ATOMIC_O_TRUNC | EXPORT_SUPPORT |
                 WRITEBACK_CACHE,
};

/* The file system: counts what it is told in fields of the root record. */

static void on_lookup(struct fuse_request *req) {
        struct journal *journal = req->userdata;
        struct root *root = journal_root(journal);

        assert_string_equal(req->in->name[0], "name");
        JOURNAL_SET(journal, root->next_ino, root->next_ino + 1);
        JOURNAL_SET(journal, root->next_event, root->next_event + 1);
        reply_entry(req, &(struct wire_entry){.node = 2});
}

static void on_forget(void *userdata, uint64_t nodeid, uint64_t count) {
        struct journal *journal = userdata;
        struct root *root = journal_root(journal);

        JOURNAL_SET(journal, root->next_ino, root->next_ino + count);
        JOURNAL_SET(journal, root->next_event, root->next_event + nodeid);
}

static bool kills; /* what was said of the last SETATTR */

static void on_setattr(struct fuse_request *req) {
        kills = req->kills_setid;
        reply_attributes(req, &(struct wire_attributes){0});
}

/* READs wait; one for each number of bytes. */
enum { READERS = 4 };
static struct deferred_request readers[READERS];
static int n_readers, n_interrupted;

static void on_interrupt(struct deferred_request *deferred) {
        struct fuse_request req = channel_undefer(deferred);

        n_interrupted++;
        reply_error(&req, -EINTR);
}

static void on_read(struct fuse_request *req) {
        const struct wire_read_in *in = req->in->args;
        struct deferred_request *deferred = &readers[n_readers++ % READERS];

        channel_defer(deferred, req, in->size > 0 ? on_interrupt : NULL);
}

/* Handlers with faults. */
static void on_readlink(struct fuse_request *req) {
        (void)req; /* forgets to answer */
}

static void on_statfs(struct fuse_request *req) {
        reply_error(req, EIO); /* of the wrong sign */
        reply_error(req, 0);
}

static const struct channel_operations operations = {
        .handlers =
                {
                        [WIRE_LOOKUP] = on_lookup,
                        [WIRE_SETATTR] = on_setattr,
                        [WIRE_READ] = on_read,
                        [WIRE_READLINK] = on_readlink,
                        [WIRE_STATFS] = on_statfs,
                },
        .forget = on_forget,
};

/* The kernel's side. */

static void kernel_send(struct kernel *kernel, uint32_t opcode, uint64_t unique, const void *body,
                        size_t size) {
        struct wire_in_header header = {
                .len = (uint32_t)(sizeof(header) + size),
                .opcode = opcode,
                .unique = unique,
                .node = 1,
        };
        struct iovec iov[] = {{&header, sizeof(header)}, {(void *)body, size}};

        assert_int_equal(writev(kernel->fd, iov, 2), header.len);
}

static ssize_t kernel_receive(struct kernel *kernel, void *buffer, size_t size) {
        return recv(kernel->fd, buffer, size, MSG_DONTWAIT);
}

static void kernel_send_init(struct kernel *kernel, uint64_t unique) {
        struct wire_init_in init = {
                .major = WIRE_MAJOR,
                .minor = 45,
                .max_readahead = 131072,
                .flags = kernel->old ? kernel->offers : OFFERS | kernel->offers,
                .flags2 = WIRE_INIT2_PASSTHROUGH | WIRE_INIT2_RESEND,
        };

        kernel_send(kernel, WIRE_INIT, unique, &init,
                    kernel->old ? WIRE_INIT_IN_MIN : sizeof(init));
}

static void channel_open(struct kernel *kernel) {
        assert_int_equal(txn_new(&kernel->txn, kernel->journal), 0);
        assert_int_equal(channel_new(&kernel->channel, kernel->txn, &operations, kernel->journal),
                         0);
}

static void channel_close(struct kernel *kernel) {
        channel_free(kernel->channel);
        txn_free(kernel->txn);
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
        channel_close(kernel);
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

/* The next worker, as recovery_run() has it. */
static void resume(struct kernel *kernel) {
        journal_rollback(kernel->journal);
        kernel->root->counters.restarts++;
        channel_close(kernel);
        channel_open(kernel);
        replay_outcome(kernel->journal);
        channel_finish_forget(kernel->channel);
        replay_requests(kernel->journal);
}

/* Reads replies until the wish for resent requests; how many had this unique. */
static unsigned int replies_until_resend(struct kernel *kernel, uint64_t unique) {
        uint8_t buffer[512];
        const struct wire_out_header *header = (const void *)buffer;
        unsigned int n = 0;

        while (kernel_receive(kernel, buffer, sizeof(buffer)) > 0) {
                if (header->unique == 0) {
                        assert_int_equal(header->error, WIRE_NOTIFY_RESEND);
                        return n;
                }
                n += header->unique == unique && header->error == 0;
        }
        fail_msg("no RESEND");
        return 0;
}

struct init_reply {
        struct wire_out_header header;
        struct wire_init_out out;
};

/* Tests */

static void test_init_is_answered_and_saved(void **state) {
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
        assert_int_equal(reply.out.major, WIRE_MAJOR);
        assert_int_equal(reply.out.flags, WIRE_INIT_EXT | WIRE_INIT_ASYNC_READ |
                                                  WIRE_INIT_EXPORT_SUPPORT |
                                                  WIRE_INIT_PARALLEL_DIROPS | WIRE_INIT_MAX_PAGES |
                                                  WIRE_INIT_READDIRPLUS | WIRE_INIT_BIG_WRITES);
        assert_int_equal(reply.out.flags2, 0); /* passthrough=off */
        assert_int_equal(reply.out.max_write, 1024 * 1024);
        assert_int_equal(reply.out.max_pages, 1024 * 1024 / sysconf(_SC_PAGESIZE));
        assert_int_equal(reply.out.max_readahead, 131072);
        assert_int_equal(reply.out.time_gran, 1);

        channel_close(&kernel);
        channel_open(&kernel);
        assert_true(channel_is_ready(kernel.channel));
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), -1);
        kernel_free(&kernel);
}

static void test_init_of_an_old_kernel(void **state) {
        struct kernel kernel = {.old = true, .offers = WIRE_INIT_ASYNC_READ};
        struct init_reply reply;

        (void)state;
        kernel_new(&kernel);
        kernel.root->settings.want_passthrough = PASSTHROUGH_ON;
        kernel_send_init(&kernel, 2);
        /* What lies where newer kernels have more flags was not sent. */
        assert_int_equal(channel_dispatch(kernel.channel), -EOPNOTSUPP);
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
        assert_int_equal(reply.out.flags, WIRE_INIT_ASYNC_READ | WIRE_INIT_BIG_WRITES);
        assert_int_equal(reply.out.flags2, 0);
        assert_int_equal(reply.out.max_pages, 0);
        kernel_free(&kernel);
}

/* Another major number: a newer one is answered with ours, and INIT comes again. */
static void test_init_of_other_protocols(void **state) {
        struct wire_init_in init = {.major = WIRE_MAJOR + 1, .minor = 3};
        struct kernel kernel = {};
        struct init_reply reply;

        (void)state;
        kernel_new(&kernel);
        kernel_send(&kernel, WIRE_INIT, 2, &init, sizeof(init));
        assert_int_equal(channel_dispatch(kernel.channel), 1);
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
        assert_int_equal(reply.out.major, WIRE_MAJOR);
        assert_false(channel_is_ready(kernel.channel));
        assert_int_equal(kernel.root->init_length, 0);
        kernel_send_init(&kernel, 4);
        assert_int_equal(channel_dispatch(kernel.channel), 1);
        assert_true(channel_is_ready(kernel.channel));
        kernel_free(&kernel);

        init = (struct wire_init_in){.major = WIRE_MAJOR, .minor = WIRE_MINOR_MIN - 1};
        kernel_new(&kernel);
        kernel_send(&kernel, WIRE_INIT, 2, &init, sizeof(init));
        assert_int_equal(channel_dispatch(kernel.channel), -EPROTO);
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply.header));
        assert_int_equal(reply.header.error, -EPROTO);
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
        assert_int_equal(kernel.root->passthrough, 0);
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
        assert_int_equal(reply.out.flags & WIRE_INIT_EXT, WIRE_INIT_EXT);
        assert_int_equal(reply.out.flags2, WIRE_INIT2_PASSTHROUGH);
        assert_int_equal(reply.out.max_stack_depth, 1);
        kernel_free(&kernel);
}

/* Sends a request and takes the reply: its error, or the number of bytes of its body. */
static int ask(struct kernel *kernel, uint32_t opcode, uint64_t unique, const void *body,
               size_t size) {
        uint8_t buffer[512];
        const struct wire_out_header *header = (const void *)buffer;
        ssize_t n;

        kernel_send(kernel, opcode, unique, body, size);
        assert_int_equal(channel_dispatch(kernel->channel), 1);
        n = kernel_receive(kernel, buffer, sizeof(buffer));
        assert_true(n >= (ssize_t)sizeof(*header));
        assert_int_equal(header->len, n);
        assert_true(header->unique == unique);
        assert_int_equal(kernel_receive(kernel, buffer + 256, 256), -1);
        return header->error < 0 ? header->error : (int)n - (int)sizeof(*header);
}

static void test_requests_before_init_are_refused(void **state) {
        struct kernel kernel = {};

        (void)state;
        kernel_new(&kernel);
        assert_int_equal(ask(&kernel, WIRE_LOOKUP, 2, "name", 5), -EIO);
        assert_int_equal(kernel.root->next_ino, 0);
        kernel_send_init(&kernel, 4);
        assert_int_equal(channel_dispatch(kernel.channel), 1);
        kernel_free(&kernel);
}

static void test_answers_of_the_channel(void **state) {
        struct wire_init_in init = {.major = WIRE_MAJOR, .minor = 45};
        char nothing[64] = {0};
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        assert_int_equal(ask(&kernel, WIRE_INIT, 4, &init, sizeof(init)), -EIO); /* a second one */
        assert_int_equal(ask(&kernel, WIRE_DESTROY, 6, NULL, 0), 0);
        assert_int_equal(ask(&kernel, WIRE_GETATTR, 8, nothing, 16), -ENOSYS); /* no handler */
        assert_int_equal(ask(&kernel, 31, 10, nothing, 48), -ENOSYS);          /* GETLK */
        assert_int_equal(ask(&kernel, 4096, 12, nothing, 16), -ENOSYS);
        assert_int_equal(ask(&kernel, UINT32_MAX, 14, NULL, 0), -ENOSYS);
        assert_int_equal(kernel.root->counters.requests[0], 2);
        /* Not answered, and no harm. */
        kernel_send(&kernel, WIRE_NOTIFY_REPLY, 16, nothing, 40);
        assert_int_equal(channel_dispatch(kernel.channel), 1);
        assert_int_equal(kernel_receive(&kernel, nothing, sizeof(nothing)), -1);
        kernel_free(&kernel);
}

static void test_malformed_requests_are_refused(void **state) {
        uint8_t buffer[64];
        struct wire_batch_forget_in batch = {.count = UINT32_MAX};
        struct wire_setattr_in setattr = {0};
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        assert_int_equal(ask(&kernel, WIRE_LOOKUP, 4, "name", 4), -EINVAL);
        assert_int_equal(ask(&kernel, WIRE_LOOKUP, 4, "na\0me", 6), -EINVAL);
        assert_int_equal(ask(&kernel, WIRE_LOOKUP, 4, NULL, 0), -EINVAL);
        assert_int_equal(ask(&kernel, WIRE_SETATTR, 6, &setattr, sizeof(setattr) - 1), -EINVAL);
        /* These are never answered. */
        kernel_send(&kernel, WIRE_BATCH_FORGET, 8, &batch, sizeof(batch));
        kernel_send(&kernel, WIRE_FORGET, 10, &batch, 4);
        kernel_send(&kernel, WIRE_INTERRUPT, 12, &batch, 4);
        for (int i = 0; i < 3; i++)
                assert_int_equal(channel_dispatch(kernel.channel), 1);
        assert_int_equal(kernel_receive(&kernel, buffer, sizeof(buffer)), -1);
        assert_int_equal(kernel.root->next_ino, 0);
        resume(&kernel);
        assert_int_equal(kernel.root->next_ino, 0);
        kernel_free(&kernel);
}

static void test_faults_of_handlers(void **state) {
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        assert_int_equal(ask(&kernel, WIRE_READLINK, 4, NULL, 0), -EIO);
        assert_int_equal(ask(&kernel, WIRE_STATFS, 6, NULL, 0), -EIO); /* once */
        kernel_free(&kernel);
}

/* Requests that wait */

static void send_read(struct kernel *kernel, uint64_t unique, bool interruptible) {
        struct wire_read_in in = {.size = interruptible};

        kernel_send(kernel, WIRE_READ, unique, &in, sizeof(in));
        assert_int_equal(channel_dispatch(kernel->channel), 1);
}

static void send_interrupt(struct kernel *kernel, uint64_t unique) {
        struct wire_interrupt_in in = {.unique = unique};

        kernel_send(kernel, WIRE_INTERRUPT, unique | WIRE_UNIQUE_INTERRUPT, &in, sizeof(in));
        assert_int_equal(channel_dispatch(kernel->channel), 1);
}

static void expect_reply(struct kernel *kernel, uint64_t unique, int error) {
        struct wire_out_header reply;

        assert_int_equal(kernel_receive(kernel, &reply, sizeof(reply)), sizeof(reply));
        assert_true(reply.unique == unique);
        assert_int_equal(reply.error, error);
}

static void expect_silence(struct kernel *kernel) {
        uint8_t buffer[64];

        assert_int_equal(kernel_receive(kernel, buffer, sizeof(buffer)), -1);
}

static void test_a_request_is_answered_later(void **state) {
        struct kernel kernel = {};
        struct fuse_request req;

        (void)state;
        kernel_init(&kernel);
        n_readers = 0;
        send_read(&kernel, 4, true);
        send_read(&kernel, 6 | WIRE_UNIQUE_RESENT, true);
        expect_silence(&kernel);
        req = channel_undefer(&readers[1]);
        JOURNAL_SET(kernel.journal, kernel.root->next_ino, 7);
        reply_error_kept(&req, -EAGAIN);
        expect_reply(&kernel, 6 | WIRE_UNIQUE_RESENT, -EAGAIN);
        assert_false(journal_dirty(kernel.journal));
        assert_int_equal(kernel.root->next_ino, 7);
        req = channel_undefer(&readers[0]);
        reply_error(&req, 0);
        expect_reply(&kernel, 4, 0);
        kernel_free(&kernel);
}

static void test_an_error_aborts(void **state) {
        struct kernel kernel = {};
        struct fuse_request req;

        (void)state;
        kernel_init(&kernel);
        n_readers = 0;
        send_read(&kernel, 4, true);
        send_read(&kernel, 6, true);
        req = channel_undefer(&readers[0]);
        JOURNAL_SET(kernel.journal, kernel.root->next_ino, 7);
        reply_error(&req, -ENOSPC);
        expect_reply(&kernel, 4, -ENOSPC);
        assert_int_equal(kernel.root->next_ino, 0);

        /* What cannot be committed is an error, whatever was to be the reply. */
        req = channel_undefer(&readers[1]);
        JOURNAL_SET(kernel.journal, kernel.root->next_ino, 7);
        txn_fail(kernel.txn, -ENOMEM);
        reply_offset(&req, 12);
        expect_reply(&kernel, 6, -ENOMEM);
        assert_int_equal(kernel.root->next_ino, 0);
        assert_false(journal_dirty(kernel.journal));
        kernel_free(&kernel);
}

static void test_interrupts_find_their_request(void **state) {
        struct kernel kernel = {};
        struct fuse_request req;

        (void)state;
        kernel_init(&kernel);
        n_readers = n_interrupted = 0;
        send_read(&kernel, 4, true);
        send_read(&kernel, (4 + 2 * 64) | WIRE_UNIQUE_RESENT, true); /* of the same bucket */
        send_read(&kernel, 8, false);
        /* The kernel names a resent request with the mark. */
        send_interrupt(&kernel, (4 + 2 * 64) | WIRE_UNIQUE_RESENT);
        expect_reply(&kernel, (4 + 2 * 64) | WIRE_UNIQUE_RESENT, -EINTR);
        send_interrupt(&kernel, 4);
        expect_reply(&kernel, 4, -EINTR);
        /* One that cannot be interrupted, and one that has been answered. */
        send_interrupt(&kernel, 8);
        send_interrupt(&kernel, 4);
        expect_silence(&kernel);
        assert_int_equal(n_interrupted, 2);
        req = channel_undefer(&readers[2]);
        reply_error(&req, 0);
        expect_reply(&kernel, 8, 0);
        kernel_free(&kernel);
}

static void test_interrupts_may_come_first(void **state) {
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        n_readers = n_interrupted = 0;
        send_interrupt(&kernel, 10);
        send_interrupt(&kernel, 12);
        expect_silence(&kernel);
        assert_int_equal(ask(&kernel, WIRE_LOOKUP, 14, "name", 5), sizeof(struct wire_entry_out));
        send_read(&kernel, 10, true);
        expect_reply(&kernel, 10, -EINTR);
        send_read(&kernel, 16, true); /* another one waits */
        expect_silence(&kernel);
        assert_int_equal(n_interrupted, 1);
        channel_undefer(&readers[1]);
        kernel_free(&kernel);
}

static void dispatch_lookup(struct kernel *kernel, uint64_t unique) {
        kernel_send(kernel, WIRE_LOOKUP, unique, "name", 5);
        assert_int_equal(channel_dispatch(kernel->channel), 1);
}

static bool kernel_kills(struct kernel *kernel, uint32_t valid) {
        static uint64_t unique = 100;
        struct wire_setattr_in in = {.valid = valid};
        uint8_t reply[512];

        kernel_send(kernel, WIRE_SETATTR, unique += 2, &in, sizeof(in));
        assert_int_equal(channel_dispatch(kernel->channel), 1);
        assert_true(kernel_receive(kernel, reply, sizeof(reply)) > 0);
        return kills;
}

/* Extended attributes, and set-user-id with them, if the kernel offers it and they are wanted. */
static void test_killpriv_is_taken_with_xattr(void **state) {
        (void)state;
        for (int i = 0; i < 4; i++) {
                bool offered = i & 1, wanted = i & 2;
                struct kernel kernel = {.offers = offered ? WIRE_INIT_KILLPRIV_V2 : 0};
                struct init_reply reply;

                kernel_new(&kernel);
                kernel.root->settings.xattr = wanted;
                assert_false(channel_has_xattr(kernel.channel));
                kernel_send_init(&kernel, 2);
                assert_int_equal(channel_dispatch(kernel.channel), 1);
                assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
                assert_int_equal(!!(reply.out.flags & WIRE_INIT_KILLPRIV_V2), offered && wanted);
                assert_int_equal(channel_has_xattr(kernel.channel), offered && wanted);
                channel_close(&kernel);
                channel_open(&kernel); /* the next worker */
                assert_int_equal(channel_has_xattr(kernel.channel), offered && wanted);

                assert_int_equal(kernel_kills(&kernel, WIRE_SET_FH), offered && wanted);
                assert_int_equal(kernel_kills(&kernel, WIRE_SET_UID), offered && wanted);
                assert_int_equal(kernel_kills(&kernel, WIRE_SET_SIZE | WIRE_SET_KILL_SUIDGID),
                                 offered && wanted);
                assert_false(kernel_kills(&kernel, WIRE_SET_SIZE));
                assert_false(kernel_kills(&kernel, WIRE_SET_MODE | WIRE_SET_CTIME));
                assert_false(kernel_kills(&kernel, WIRE_SET_MTIME_NOW | WIRE_SET_MTIME));
                kernel_free(&kernel);
        }
}

/* Whatever the crash point: the change happens once, and its reply is there once it has. */
static void test_request_happens_once(void **state) {
        bool killed = true;

        (void)state;
        for (uint64_t n = 1; killed; n++) {
                struct kernel kernel = {};
                unsigned int replies;

                kernel_init(&kernel);
                kernel_send(&kernel, WIRE_LOOKUP, 4, "name", 5);
                killed = killed_at(&kernel, n, dispatch);
                resume(&kernel);
                replies = replies_until_resend(&kernel, 4);
                assert_int_equal(kernel.root->next_ino, replies > 0);
                if (replies == 0)
                        dispatch_lookup(&kernel, 4 | WIRE_UNIQUE_RESENT);
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
                kernel_send(&kernel, WIRE_LOOKUP, 4, "name", 5);
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
                struct wire_batch_forget_in in;
                struct wire_forget_one one[BATCH];
        } batch = {.in.count = BATCH};

        for (uint64_t i = 0; i < BATCH; i++)
                batch.one[i] = (struct wire_forget_one){.node = i + 1, .count = i};
        kernel_send(kernel, WIRE_BATCH_FORGET, 6, &batch, sizeof(batch));
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
        const struct wire_forget_in forget = {.count = 3};
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        kernel_send(&kernel, WIRE_FORGET, 6, &forget, sizeof(forget));
        assert_int_equal(channel_dispatch(kernel.channel), 1);
        assert_int_equal(kernel.root->next_ino, 3);
        resume(&kernel);
        assert_int_equal(kernel.root->next_ino, 3);
        kernel_free(&kernel);
}

/* A WRITE of one byte that ends at `end` of its file; there is no handler, which does not matter. */
static void write_up_to(struct kernel *kernel, uint64_t end) {
        struct {
                struct wire_write_in in;
                char byte;
        } body = {.in = {.offset = end - 1, .size = 1}};
        uint8_t reply[64];

        kernel_send(kernel, WIRE_WRITE, 12, &body, sizeof(body.in) + 1);
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
                bytes = kernel.root->request_at + sizeof(struct wire_in_header) +
                        sizeof(struct wire_write_in);
                distance = (bytes - end) % 4096;
                assert_true(kernel.root->request_at % 8 == 0);
                assert_true(kernel.root->request_at % 4096 + sizeof(struct wire_in_header) <= 4096);
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
        struct wire_out_header reply;
        struct kernel kernel = {};

        (void)state;
        kernel_init(&kernel);
        kernel.root->suspects[1] = (struct suspect){.key = 8, .deaths = 2};
        kernel.root->suspects[2] = (struct suspect){.key = 10, .deaths = 1};
        dispatch_lookup(&kernel, 8 | WIRE_UNIQUE_RESENT);
        assert_int_equal(kernel_receive(&kernel, &reply, sizeof(reply)), sizeof(reply));
        assert_int_equal(reply.error, -EIO);
        assert_true(reply.unique == (8 | WIRE_UNIQUE_RESENT));
        assert_int_equal(kernel.root->counters.poisoned, 1);
        assert_int_equal(kernel.root->next_ino, 0);
        dispatch_lookup(&kernel, 10 | WIRE_UNIQUE_RESENT);
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

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_init_is_answered_and_saved),
                cmocka_unit_test(test_init_of_an_old_kernel),
                cmocka_unit_test(test_init_of_other_protocols),
                cmocka_unit_test(test_passthrough_is_asked_for),
                cmocka_unit_test(test_requests_before_init_are_refused),
                cmocka_unit_test(test_answers_of_the_channel),
                cmocka_unit_test(test_malformed_requests_are_refused),
                cmocka_unit_test(test_faults_of_handlers),
                cmocka_unit_test(test_a_request_is_answered_later),
                cmocka_unit_test(test_an_error_aborts),
                cmocka_unit_test(test_interrupts_find_their_request),
                cmocka_unit_test(test_interrupts_may_come_first),
                cmocka_unit_test(test_killpriv_is_taken_with_xattr),
                cmocka_unit_test(test_request_happens_once),
                cmocka_unit_test(test_killed_while_resuming),
                cmocka_unit_test(test_forgets_happen_once),
                cmocka_unit_test(test_single_forget),
                cmocka_unit_test(test_place_of_a_write_that_goes_on),
                cmocka_unit_test(test_forgets_happen_once_anywhere),
                cmocka_unit_test(test_poison_is_refused_when_resent),
                cmocka_unit_test(test_nonsense_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
