/* SPDX-License-Identifier: MIT */

/*
 * The messages of the FUSE protocol: requests are made here byte by byte, whole and broken in every
 * place, each in a piece of memory of its very size, so that a sanitizer sees a read beyond it.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <cmocka.h>
#include "fuse/wire.h"

enum { BODY_MAX = 512 };

/* A request that can be made. */
struct sample {
        uint32_t opcode;
        size_t args;       /* bytes of the structure */
        const char *names; /* with their NULs */
        size_t names_size;
        int n_names;
        size_t payload;
        size_t count_at; /* where in the structure the payload is counted */
        bool may_grow;   /* more bytes at the end are passed over */
};

#define NAMES(text, n) .names = (text), .names_size = sizeof(text), .n_names = (n)

static const struct sample samples[] = {
        {WIRE_LOOKUP, NAMES("file", 1)},
        {WIRE_LOOKUP, NAMES("", 1)},
        {WIRE_FORGET, 8, .may_grow = true},
        {WIRE_GETATTR, 16, .may_grow = true},
        {WIRE_SETATTR, 88, .may_grow = true},
        {WIRE_READLINK, .may_grow = true},
        {WIRE_SYMLINK, NAMES("name\0target", 2)},
        {WIRE_MKNOD, 16, NAMES("n", 1)},
        {WIRE_MKDIR, 8, NAMES("dir", 1)},
        {WIRE_UNLINK, NAMES("u", 1)},
        {WIRE_RMDIR, NAMES("r", 1)},
        {WIRE_RENAME, 8, NAMES("old\0new", 2)},
        {WIRE_LINK, 8, NAMES("link", 1)},
        {WIRE_OPEN, 8, .may_grow = true},
        {WIRE_READ, 40, .may_grow = true},
        {WIRE_WRITE, 40, .payload = 100, .count_at = 16},
        {WIRE_WRITE, 40, .payload = 0, .count_at = 16},
        {WIRE_STATFS, .may_grow = true},
        {WIRE_RELEASE, 24, .may_grow = true},
        {WIRE_SETXATTR, 8, NAMES("user.a", 1), .payload = 5},
        {WIRE_SETXATTR, 8, NAMES("user.a", 1)},
        {WIRE_GETXATTR, 8, NAMES("user.a", 1)},
        {WIRE_LISTXATTR, 8, .may_grow = true},
        {WIRE_REMOVEXATTR, NAMES("user.a", 1)},
        {WIRE_INIT, 16, .may_grow = true},
        {WIRE_OPENDIR, 8, .may_grow = true},
        {WIRE_READDIR, 40, .may_grow = true},
        {WIRE_RELEASEDIR, 24, .may_grow = true},
        {WIRE_CREATE, 16, NAMES("new", 1)},
        {WIRE_INTERRUPT, 8, .may_grow = true},
        {WIRE_DESTROY, .may_grow = true},
        {WIRE_POLL, 24, .may_grow = true},
        {WIRE_FALLOCATE, 32, .may_grow = true},
        {WIRE_READDIRPLUS, 40, .may_grow = true},
        {WIRE_RENAME2, 16, NAMES("old\0new", 2)},
        {WIRE_LSEEK, 24, .may_grow = true},
        {WIRE_TMPFILE, 16, NAMES("/", 1)},
        {WIRE_STATX, 24, .may_grow = true},
        {WIRE_FLUSH, 0, .may_grow = true},
        {WIRE_IOCTL, 0, .may_grow = true},
};
#define N_SAMPLES (sizeof(samples) / sizeof(samples[0]))

/* A message of its very size; free(3) it. */
static struct wire_in_header *message_new(uint32_t opcode, const void *body, size_t size) {
        struct wire_in_header *message = malloc(sizeof(*message) + size);

        assert_non_null(message);
        *message = (struct wire_in_header){
                .len = (uint32_t)(sizeof(*message) + size),
                .opcode = opcode,
                .unique = 42,
                .node = 1,
        };
        if (size > 0)
                memcpy(message + 1, body, size);
        return message;
}

static size_t sample_body(const struct sample *sample, uint8_t body[BODY_MAX]) {
        size_t size = sample->args;

        memset(body, 0x5a, BODY_MAX);
        if (sample->payload > 0 || sample->count_at > 0 || sample->opcode == WIRE_SETXATTR)
                memcpy(body + sample->count_at, &(uint32_t){(uint32_t)sample->payload}, 4);
        if (sample->names)
                memcpy(body + size, sample->names, sample->names_size);
        return size + sample->names_size + sample->payload;
}

/* Decodes body cut or stretched to size. */
static int decode(uint32_t opcode, const void *body, size_t size) {
        struct wire_in_header *message = message_new(opcode, body, size);
        struct wire_request request = {0};
        int r = wire_decode(&request, message, message->len);

        if (r == 0) {
                const char *end = (const char *)message + message->len;

                for (int i = 0; i < 2; i++)
                        if (request.name[i])
                                assert_true(request.name[i] + strlen(request.name[i]) < end);
                assert_true((const char *)request.payload + request.payload_size <= end);
        }
        free(message);
        return r;
}

static void test_whole_requests(void **state) {
        (void)state;
        for (size_t i = 0; i < N_SAMPLES; i++) {
                const struct sample *sample = &samples[i];
                struct wire_request request = {0};
                struct wire_in_header *message;
                uint8_t body[BODY_MAX];
                const char *name = sample->names;

                message = message_new(sample->opcode, body, sample_body(sample, body));
                memcpy(message + 1, body, message->len - sizeof(*message));
                assert_int_equal(wire_decode(&request, message, message->len), 0);
                assert_ptr_equal(request.header, message);
                assert_ptr_equal(request.args, message + 1);
                for (int n = 0; n < sample->n_names; n++) {
                        assert_string_equal(request.name[n], name);
                        assert_int_equal(request.name_length[n], strlen(name));
                        name += strlen(name) + 1;
                }
                assert_int_equal(request.payload_size, sample->payload);
                assert_ptr_equal((const char *)request.payload + sample->payload,
                                 (const char *)message + message->len);
                free(message);
        }
}

static void test_cut_requests(void **state) {
        (void)state;
        for (size_t i = 0; i < N_SAMPLES; i++) {
                uint8_t body[BODY_MAX];
                size_t size = sample_body(&samples[i], body);

                for (size_t cut = 0; cut < size; cut++)
                        assert_int_equal(decode(samples[i].opcode, body, cut), -EINVAL);
        }
}

static void test_stretched_requests(void **state) {
        (void)state;
        for (size_t i = 0; i < N_SAMPLES; i++)
                for (size_t more = 1; more <= 16; more++)
                        for (int filler = 0; filler < 2; filler++) {
                                uint8_t body[BODY_MAX];
                                size_t size = sample_body(&samples[i], body);

                                memset(body + size, filler ? 'x' : 0, more);
                                assert_int_equal(decode(samples[i].opcode, body, size + more),
                                                 samples[i].may_grow ? 0 : -EINVAL);
                        }
}

static void test_names_end_where_they_say(void **state) {
        (void)state;
        assert_int_equal(decode(WIRE_LOOKUP, "a\0b", 4), -EINVAL);
        assert_int_equal(decode(WIRE_LOOKUP, "ab", 2), -EINVAL);
        assert_int_equal(decode(WIRE_SYMLINK, "a\0b\0c", 6), -EINVAL);
        assert_int_equal(decode(WIRE_SYMLINK, "a\0bc", 4), -EINVAL);
        assert_int_equal(decode(WIRE_SYMLINK, "a", 2), -EINVAL);
        assert_int_equal(decode(WIRE_SYMLINK, "\0", 2), 0);
}

/* Counts that no message could hold, some of which would come to little in 32 bits. */
static void test_counts_beyond_the_message(void **state) {
        const uint32_t counts[] = {2, 3, 0x10000000, 0x10000001, 0x80000000, UINT32_MAX};
        struct {
                struct wire_batch_forget_in in;
                struct wire_forget_one one[1];
        } batch = {.in.count = 1};

        (void)state;
        assert_int_equal(decode(WIRE_BATCH_FORGET, &batch, sizeof(batch)), 0);
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                struct {
                        struct wire_write_in in;
                        char byte[1];
                } write = {.in.size = counts[i]};
                struct {
                        struct wire_setxattr_in in;
                        char name[2];
                        char byte[1];
                } set = {.in.size = counts[i], .name = "a"};

                batch.in.count = counts[i];
                assert_int_equal(decode(WIRE_BATCH_FORGET, &batch, sizeof(batch)), -EINVAL);
                assert_int_equal(decode(WIRE_WRITE, &write, sizeof(write.in) + 1), -EINVAL);
                assert_int_equal(decode(WIRE_SETXATTR, &set, sizeof(set.in) + 3), -EINVAL);
        }
        batch.in.count = 0;
        assert_int_equal(decode(WIRE_BATCH_FORGET, &batch, sizeof(batch)), -EINVAL);
        assert_int_equal(decode(WIRE_BATCH_FORGET, &batch, sizeof(batch.in)), 0);
}

static void test_headers(void **state) {
        struct wire_in_header *message = message_new(WIRE_STATFS, NULL, 0);
        struct wire_request request = {0};

        (void)state;
        for (size_t size = 0; size < sizeof(*message); size++)
                assert_int_equal(wire_decode(&request, message, size), -EPROTO);
        message->len++;
        assert_int_equal(wire_decode(&request, message, sizeof(*message)), -EPROTO);
        message->len = 0;
        assert_int_equal(wire_decode(&request, message, sizeof(*message)), -EPROTO);
        message->len = sizeof(*message);
        for (uint32_t opcode = WIRE_OPCODES; opcode != 0; opcode <<= 1) {
                message->opcode = opcode;
                assert_int_equal(wire_decode(&request, message, message->len), -ENOSYS);
                assert_ptr_equal(request.header, message);
        }
        message->opcode = 0;
        assert_int_equal(wire_decode(&request, message, message->len), -ENOSYS);
        free(message);
}

/* What the kernel appends to requests is no part of their names. */
static void test_extensions(void **state) {
        struct wire_in_header *message =
                message_new(WIRE_LOOKUP, "name\0\0\0\0\1\2\3\4\5\6\7\0", 13);
        struct wire_request request = {0};

        (void)state;
        message->extensions = 1;
        assert_int_equal(wire_decode(&request, message, message->len), 0);
        assert_string_equal(request.name[0], "name");
        message->extensions = 2; /* beyond the start of the body */
        assert_int_equal(wire_decode(&request, message, message->len), -EINVAL);
        message->extensions = UINT16_MAX;
        assert_int_equal(wire_decode(&request, message, message->len), -EINVAL);
        message->extensions = 0;
        assert_int_equal(wire_decode(&request, message, message->len), -EINVAL);
        free(message);
}

static void test_init_of_all_lengths(void **state) {
        const struct wire_init_in in = {
                .major = 7, .minor = 45, .flags = WIRE_INIT_EXT, .flags2 = 77, .unused = {1}};
        uint8_t body[2 * sizeof(in)] = {0};

        (void)state;
        memcpy(body, &in, sizeof(in));
        for (size_t size = WIRE_INIT_IN_MIN; size <= sizeof(body); size += 4) {
                struct wire_in_header *message = message_new(WIRE_INIT, body, size);
                struct wire_request request = {0};
                struct wire_init_in out;

                assert_int_equal(wire_decode(&request, message, message->len), 0);
                wire_init_args(&request, &out);
                assert_int_equal(out.minor, 45);
                assert_int_equal(out.flags, WIRE_INIT_EXT);
                assert_int_equal(out.flags2, size > WIRE_INIT_IN_MIN ? 77 : 0);
                assert_int_equal(out.unused[0], size > 20 ? 1 : 0);
                free(message);
        }
}

static struct wire_entry some_entry(void) {
        return (struct wire_entry){
                .node = 5,
                .generation = 6,
                .valid = 7,
                .attributes =
                        {
                                .st = {.st_ino = 1000,
                                       .st_mode = S_IFCHR | 0640,
                                       .st_nlink = 2,
                                       .st_uid = 3,
                                       .st_gid = 4,
                                       .st_rdev = makedev(1, 9),
                                       .st_size = INT64_C(1) << 40,
                                       .st_blocks = 8,
                                       .st_blksize = 4096,
                                       .st_atim = {10, 11},
                                       .st_mtim = {12, 13},
                                       .st_ctim = {-14, 15}},
                                .btime = {16, 17},
                                .valid = 86400,
                        },
        };
}

static void check_attr(const struct wire_attr *attr) {
        assert_int_equal(attr->ino, 1000);
        assert_true(attr->size == UINT64_C(1) << 40);
        assert_int_equal(attr->blocks, 8);
        assert_int_equal(attr->mode, S_IFCHR | 0640);
        assert_int_equal(attr->nlink, 2);
        assert_int_equal(attr->uid, 3);
        assert_int_equal(attr->gid, 4);
        assert_int_equal(attr->rdev, makedev(1, 9));
        assert_int_equal(attr->blksize, 4096);
        assert_int_equal(attr->atime, 10);
        assert_int_equal(attr->atime_nsec, 11);
        assert_int_equal(attr->mtime, 12);
        assert_int_equal(attr->mtime_nsec, 13);
        assert_true((int64_t)attr->ctime == -14);
        assert_int_equal(attr->ctime_nsec, 15);
        assert_int_equal(attr->flags, 0);
}

static void test_attributes_are_put(void **state) {
        struct wire_entry entry = some_entry();
        struct wire_entry_out entry_out;
        struct wire_attr_out attr_out;
        struct wire_statx_out statx_out;

        (void)state;
        memset(&entry_out, 0xff, sizeof(entry_out));
        memset(&attr_out, 0xff, sizeof(attr_out));
        memset(&statx_out, 0xff, sizeof(statx_out));
        wire_put_entry(&entry_out, &entry);
        assert_int_equal(entry_out.node, 5);
        assert_int_equal(entry_out.generation, 6);
        assert_int_equal(entry_out.entry_valid, 7);
        assert_int_equal(entry_out.entry_valid_nsec, 0);
        assert_int_equal(entry_out.attr_valid, 86400);
        assert_int_equal(entry_out.attr_valid_nsec, 0);
        check_attr(&entry_out.attr);
        wire_put_attr(&attr_out, &entry.attributes);
        assert_int_equal(attr_out.valid, 86400);
        assert_int_equal(attr_out.valid_nsec, 0);
        check_attr(&attr_out.attr);
        wire_put_statx(&statx_out, &entry.attributes);
        assert_int_equal(statx_out.valid, 86400);
        assert_int_equal(statx_out.mask, STATX_BASIC_STATS | STATX_BTIME);
        assert_int_equal(statx_out.btime.sec, 16);
        assert_int_equal(statx_out.btime.nsec, 17);
        assert_int_equal(statx_out.ctime.sec, -14);
        assert_int_equal(statx_out.rdev_major, 1);
        assert_int_equal(statx_out.rdev_minor, 9);
        assert_int_equal(statx_out.attributes_mask, 0);
        assert_int_equal(statx_out.spare2[13], 0);
}

/* Entries of a directory follow each other as the kernel takes them apart. */
static void test_dirents_follow_each_other(void **state) {
        struct wire_entry entry = some_entry();

        (void)state;
        for (int plus = 0; plus < 2; plus++) {
                size_t head = plus ? sizeof(struct wire_entry_out) : 0, used = 0, at = 0;
                char name[256] = "", *buffer = malloc(256 * 512);

                assert_non_null(buffer);
                for (size_t length = 1; length <= 255; length++) {
                        name[length - 1] = 'n';
                        used += wire_put_dirent(buffer + used, name, length, length, &entry, plus);
                }
                for (size_t length = 1; length <= 255; length++) {
                        const struct wire_dirent *dirent = (const void *)(buffer + at + head);
                        size_t end = head + sizeof(*dirent) + length;

                        assert_int_equal(dirent->ino, 1000);
                        assert_int_equal(dirent->cookie, length);
                        assert_int_equal(dirent->name_length, length);
                        assert_int_equal(dirent->type, 2); /* DT_CHR */
                        assert_memory_equal(dirent->name, name, length);
                        if (plus)
                                check_attr(&((const struct wire_entry_out *)(const void *)(buffer +
                                                                                           at))
                                                    ->attr);
                        assert_int_equal(wire_dirent_size(length, plus), (end + 7) / 8 * 8);
                        for (size_t i = end; i < wire_dirent_size(length, plus); i++)
                                assert_int_equal(buffer[at + i], 0);
                        at += wire_dirent_size(length, plus);
                }
                assert_int_equal(at, used);
                free(buffer);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole_requests),
                cmocka_unit_test(test_cut_requests),
                cmocka_unit_test(test_stretched_requests),
                cmocka_unit_test(test_names_end_where_they_say),
                cmocka_unit_test(test_counts_beyond_the_message),
                cmocka_unit_test(test_headers),
                cmocka_unit_test(test_extensions),
                cmocka_unit_test(test_init_of_all_lengths),
                cmocka_unit_test(test_attributes_are_put),
                cmocka_unit_test(test_dirents_follow_each_other),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
