/* SPDX-License-Identifier: MIT */

/*
 * Requests of the FUSE protocol.  An input is a message.  It is decoded as it came, and all that the
 * decoder points to is read; then it goes, with its true length in it, through a channel whose
 * handlers do the same and answer, or defer, which an INTERRUPT may end.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fuse/reply.h"
#include "fuzz.h"

enum {
        MESSAGE_MAX = 64 * 1024, /* bytes: what the socket takes */
        DEFERRED_MAX = 16,
        REPLY_MAX = 4096,
};

static struct {
        struct journal *journal;
        struct root *root;
        struct channel *channel;
        int kernel; /* its end of the connection */
        struct deferred_request deferred[DEFERRED_MAX];
        bool waits[DEFERRED_MAX];
        uint64_t forgotten;
        unsigned int handled;
        struct txn *txn;
} world;

static volatile uint64_t sink;

static void touch(const void *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                sink += ((const uint8_t *)bytes)[i];
}

/* The structures' sizes once more, and not from the decoder's table. */
static size_t args_size(uint32_t opcode) {
        switch (opcode) {
        case WIRE_FORGET:
                return sizeof(struct wire_forget_in);
        case WIRE_BATCH_FORGET:
                return sizeof(struct wire_batch_forget_in);
        case WIRE_GETATTR:
                return sizeof(struct wire_getattr_in);
        case WIRE_STATX:
                return sizeof(struct wire_statx_in);
        case WIRE_SETATTR:
                return sizeof(struct wire_setattr_in);
        case WIRE_MKNOD:
                return sizeof(struct wire_mknod_in);
        case WIRE_MKDIR:
                return sizeof(struct wire_mkdir_in);
        case WIRE_RENAME:
                return sizeof(struct wire_rename_in);
        case WIRE_RENAME2:
                return sizeof(struct wire_rename2_in);
        case WIRE_LINK:
                return sizeof(struct wire_link_in);
        case WIRE_OPEN:
        case WIRE_OPENDIR:
                return sizeof(struct wire_open_in);
        case WIRE_CREATE:
        case WIRE_TMPFILE:
                return sizeof(struct wire_create_in);
        case WIRE_READ:
        case WIRE_READDIR:
        case WIRE_READDIRPLUS:
                return sizeof(struct wire_read_in);
        case WIRE_WRITE:
                return sizeof(struct wire_write_in);
        case WIRE_RELEASE:
        case WIRE_RELEASEDIR:
                return sizeof(struct wire_release_in);
        case WIRE_SETXATTR:
                return sizeof(struct wire_setxattr_in);
        case WIRE_GETXATTR:
        case WIRE_LISTXATTR:
                return sizeof(struct wire_getxattr_in);
        case WIRE_INTERRUPT:
                return sizeof(struct wire_interrupt_in);
        case WIRE_POLL:
                return sizeof(struct wire_poll_in);
        case WIRE_FALLOCATE:
                return sizeof(struct wire_fallocate_in);
        case WIRE_LSEEK:
                return sizeof(struct wire_lseek_in);
        default:
                return 0;
        }
}

static void check(const struct wire_request *in) {
        const char *start = (const char *)in->header, *end = start + in->header->len;

        touch(in->header, sizeof(*in->header));
        touch(in->args, args_size(in->header->opcode));
        FUZZ_CHECK((const char *)in->args == start + sizeof(*in->header));
        FUZZ_CHECK((const char *)in->args + args_size(in->header->opcode) <= end);
        for (int i = 0; i < 2; i++)
                if (in->name[i]) {
                        FUZZ_CHECK(strlen(in->name[i]) == in->name_length[i]);
                        FUZZ_CHECK(in->name[i] > (const char *)in->header);
                        FUZZ_CHECK(in->name[i] + in->name_length[i] < end);
                }
        FUZZ_CHECK((const char *)in->payload + in->payload_size <= end);
        touch(in->payload, in->payload_size);
        if (in->header->opcode == WIRE_INIT) {
                struct wire_init_in init;

                wire_init_args(in, &init);
                touch(&init, sizeof(init));
        }
}

static void decode(const void *bytes, size_t size) {
        struct wire_request in = {0};

        if (wire_decode(&in, bytes, size) == 0)
                check(&in);
}

/* Handlers */

static void on_interrupt(struct deferred_request *deferred) {
        struct fuse_request req = channel_undefer(deferred);

        world.waits[deferred - world.deferred] = false;
        reply_error(&req, -EINTR);
}

static void on_any(struct fuse_request *req) {
        check(req->in);
        world.handled++;
        reply_bytes(req, req->in->payload,
                    req->in->payload_size < REPLY_MAX / 2 ? req->in->payload_size : 0);
}

static void on_read(struct fuse_request *req) {
        unsigned int i = world.handled++ % DEFERRED_MAX;

        check(req->in);
        if (world.waits[i]) {
                struct fuse_request before = channel_undefer(&world.deferred[i]);

                reply_error(&before, -EAGAIN);
        }
        world.waits[i] = true;
        channel_defer(&world.deferred[i], req, on_interrupt);
}

static void on_forget(void *userdata, uint64_t node, uint64_t count) {
        (void)userdata;
        world.forgotten += node ^ count;
}

static struct channel_operations operations = {.forget = on_forget};

static void kernel_send(const void *bytes, size_t size) {
        FUZZ_CHECK(send(world.kernel, bytes, size, MSG_DONTWAIT) == (ssize_t)size);
}

/* Every reply is well formed; how many there were. */
static unsigned int kernel_receive(void) {
        static uint64_t buffer[REPLY_MAX / 8];
        const struct wire_out_header *header = (const void *)buffer;
        unsigned int n = 0;
        ssize_t got;

        while ((got = recv(world.kernel, buffer, sizeof(buffer), MSG_DONTWAIT)) >= 0) {
                FUZZ_CHECK(got >= (ssize_t)sizeof(*header) && header->len == got);
                FUZZ_CHECK(header->error <= 0 && header->error > -512);
                FUZZ_CHECK(header->error == 0 || got == sizeof(*header));
                n++;
        }
        return n;
}

static void world_make(void) {
        struct {
                struct wire_in_header header;
                struct wire_init_in in;
        } init = {
                .header = {.len = sizeof(init), .opcode = WIRE_INIT, .unique = 2},
                .in = {.major = WIRE_MAJOR, .minor = 45, .flags = WIRE_INIT_EXT, .flags2 = 1 << 7},
        };
        int fds[2];

        for (int i = 0; i < WIRE_OPCODES; i++)
                operations.handlers[i] = on_any;
        operations.handlers[WIRE_READ] = on_read;
        FUZZ_CHECK(journal_create(&world.journal, layout_spec()) == 0);
        FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
        world.root = journal_root(world.journal);
        world.root->fuse_fd = fds[0];
        world.root->log_fd = -1;
        world.root->settings.want_passthrough = PASSTHROUGH_OFF;
        world.kernel = fds[1];
        FUZZ_CHECK(txn_new(&world.txn, world.journal) == 0);
        FUZZ_CHECK(channel_new(&world.channel, world.txn, &operations, NULL) == 0);
        kernel_send(&init, sizeof(init));
        FUZZ_CHECK(channel_dispatch(world.channel) == 1);
        FUZZ_CHECK(kernel_receive() == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct wire_in_header *message;
        uint32_t opcode;
        unsigned int replies;

        if (!world.journal)
                world_make();
        if (size > MESSAGE_MAX)
                return 0;
        message = malloc(size ? size : 1);
        FUZZ_CHECK(message);
        memcpy(message, data, size);
        decode(message, size);
        if (size >= sizeof(*message)) {
                message->len = (uint32_t)size;
                opcode = message->opcode;
                decode(message, size);
                kernel_send(message, size);
                FUZZ_CHECK(channel_dispatch(world.channel) == 1);
                replies = kernel_receive();
                if (opcode == WIRE_FORGET || opcode == WIRE_BATCH_FORGET ||
                    opcode == WIRE_NOTIFY_REPLY)
                        FUZZ_CHECK(replies == 0);
                else if (opcode != WIRE_READ && opcode != WIRE_INTERRUPT)
                        FUZZ_CHECK(replies == 1);
                FUZZ_CHECK(!journal_dirty(world.journal));
        }
        free(message);
        return 0;
}
