/* SPDX-License-Identifier: MIT */

/* Sizes as people write them: the one parser of the daemon, its commands and iomem. */

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/size.h"

struct size_case {
        const char *text;
        int result;
        uint64_t size;
};

static void check(const struct size_case *cases, size_t n,
                  int (*parse)(const char *text, size_t length, uint64_t *out)) {
        for (size_t i = 0; i < n; i++) {
                size_t length = strlen(cases[i].text);
                char *text = malloc(length ? length : 1);
                uint64_t size = 0;
                int r;

                /* Without terminator, so that a sanitizer sees a read beyond the end. */
                assert_non_null(text);
                memcpy(text, cases[i].text, length);
                r = parse(text, length, &size);
                if (r != cases[i].result || size != cases[i].size)
                        fail_msg("%s: %d, %" PRIu64, cases[i].text, r, size);
                free(text);
        }
}

static void test_sizes(void **state) {
        static const struct size_case cases[] = {
                {"0", 0, 0},
                {"1", 0, 1},
                {"4096", 0, 4096},
                {"4096B", 0, 4096},
                {"3k", 0, 3072},
                {"3K", 0, 3072},
                {"3KiB", 0, 3072},
                {"3kiB", 0, 3072},
                {"3KB", 0, 3000},
                {"64M", 0, 64ull << 20},
                {"64MiB", 0, 64ull << 20},
                {"64MB", 0, 64000000},
                {"2g", 0, 2ull << 30},
                {"1T", 0, 1ull << 40},
                {"1p", 0, 1ull << 50},
                {"7E", 0, 7ull << 60},
                {"9EB", 0, 9000000000000000000ull},
                {"1.5G", 0, 3ull << 29},
                {"1.5GB", 0, 1500000000},
                {"0.5k", 0, 512},
                {"1.0M", 0, 1 << 20},
                {"0.1K", 0, 102},
                {"7.999999999999999999999999999E", 0, 9223372036854775806ull},
                {"0x10", 0, 16},
                {"0x10k", 0, 16384},
                {"0X1f", 0, 31},
                {"007", 0, 7},
                {"9223372036854775807", 0, INT64_MAX},
                {"8388607t", 0, 8388607ull << 40},
                {"8388608t", -EFBIG, 0},
                {"8E", -EFBIG, 0},
                {"9223372036854775808", -EFBIG, 0},
                {"18446744073709551616", -EFBIG, 0},
                {"18446744073709551616E", -EFBIG, 0},
                {"99999999999999999999999999", -EFBIG, 0},
                {"99999999999999999999999999.9EB", -EFBIG, 0},
                {"0xffffffffffffffffff", -EFBIG, 0},
                {"", -EINVAL, 0},
                {"k", -EINVAL, 0},
                {"B", -EINVAL, 0},
                {".5G", -EINVAL, 0},
                {"1.G", -EINVAL, 0},
                {"1.5", -EINVAL, 0},
                {"1.5B", -EINVAL, 0},
                {"1,5G", -EINVAL, 0},
                {"1..5G", -EINVAL, 0},
                {"1.5.5G", -EINVAL, 0},
                {"-1", -EINVAL, 0},
                {"+1", -EINVAL, 0},
                {"1kb", -EINVAL, 0},
                {"1Kib", -EINVAL, 0},
                {"1Ki", -EINVAL, 0},
                {"1KiBs", -EINVAL, 0},
                {"1kk", -EINVAL, 0},
                {"1BB", -EINVAL, 0},
                {"1iB", -EINVAL, 0},
                {"1x", -EINVAL, 0},
                {"1Z", -EINVAL, 0},
                {"0x", -EINVAL, 0},
                {"0xg", -EINVAL, 0},
                {"0x1.8k", -EINVAL, 0},
                {"1 ", -EINVAL, 0},
                {" 1", -EINVAL, 0},
                {"1 M", -EINVAL, 0},
                {"99999999999999999999999999x", -EINVAL, 0},
                {"50%", -EINVAL, 0},
                {"1\v", -EINVAL, 0},
                {"1\xc3\xa4", -EINVAL, 0},
        };

        (void)state;
        check(cases, sizeof(cases) / sizeof(cases[0]), size_parse);
}

static void test_counts(void **state) {
        static const struct size_case cases[] = {
                {"10000", 0, 10000},  {"100k", 0, 102400}, {"1.5k", -EINVAL, 0},
                {"1B", -EINVAL, 0},   {"1KB", -EINVAL, 0}, {"x", -EINVAL, 0},
                {"8192P", -EFBIG, 0}, {"", -EINVAL, 0},    {"5%", -EINVAL, 0},
        };

        (void)state;
        check(cases, sizeof(cases) / sizeof(cases[0]), size_parse_count);
}

static void test_whole_numbers(void **state) {
        static const struct size_case cases[] = {
                {"0", 0, 0},          {"60", 0, 60},       {"1k", -EINVAL, 0},
                {"0x10", -EINVAL, 0}, {"1.5", -EINVAL, 0}, {"9223372036854775808", -EFBIG, 0},
                {"", -EINVAL, 0},
        };

        (void)state;
        check(cases, sizeof(cases) / sizeof(cases[0]), size_parse_whole);
}

static void test_format(void **state) {
        static const struct {
                uint64_t size;
                const char *text;
        } cases[] = {
                {0, "0B"},
                {1, "1B"},
                {1023, "1023B"},
                {1024, "1K"},
                {1536, "1.5K"},
                {64ull << 20, "64M"},
                {(64ull << 20) + 1, "64M"},
                {(1ull << 20) - 1, "1M"},
                {(1ull << 30) - 1, "1G"},
                {(1ull << 60) - 1, "1E"},
                {INT64_MAX, "8E"},
                {UINT64_MAX, "16E"},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char text[SIZE_TEXT_MAX];

                size_format(text, cases[i].size);
                assert_string_equal(text, cases[i].text);
        }
}

/* What is printed can be typed in again, and means the same within half of the last digit. */
static void test_format_and_parse(void **state) {
        (void)state;
        for (unsigned int shift = 0; shift < 63; shift++) {
                uint64_t size = (UINT64_C(1) << shift) + (UINT64_C(1) << shift) / 7, again;
                char text[SIZE_TEXT_MAX];

                size_format(text, size);
                assert_int_equal(size_parse(text, strlen(text), &again), 0);
                assert_true(again >= size - size / 10 && again <= size + size / 10);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_counts),
                cmocka_unit_test(test_whole_numbers),
                cmocka_unit_test(test_format),
                cmocka_unit_test(test_format_and_parse),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
