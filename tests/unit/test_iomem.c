/* SPDX-License-Identifier: MIT */

/* libiomem's own reading and writing: names, and what the daemon says of regions. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "error.h"
#include "json.h"
#include "name.h"

static const char region[] =
        "{\"name\": \"d/a\\\\b\\u0009\\u00e9\\udcff\", \"size\": 65536, \"allocated\": 4096, "
        "\"mode\": \"0640\", \"uid\": 7, \"gid\": 8, \"inode\": 18446744073709551615, "
        "\"links\": 1, \"refs\": 2, \"new\": {\"a\": [1, {}, [], null, -2.5e3, \"]\"]}, "
        "\"flags\": [\"fixed\", \"unheard-of\"], \"seals\": [\"shrink\", \"grow\"], "
        "\"created\": \"2026-01-31T12:00:00.25Z\", \"creator_uid\": 9, \"creator_pid\": -1, "
        "\"creator_command\": \"a name that is too long\"}";

static void region_is_understood(void **state) {
        struct iomem_stat out;

        (void)state;
        assert_int_equal(json_region(region, strlen(region), &out), 0);
        assert_int_equal(out.size, 65536);
        assert_int_equal(out.allocated, 4096);
        assert_true(out.inode == UINT64_MAX);
        assert_int_equal(out.mode, 0640);
        assert_int_equal(out.uid, 7);
        assert_int_equal(out.gid, 8);
        assert_int_equal(out.refs, 2);
        assert_int_equal(out.flags, IOMEM_FIXED);
        assert_int_equal(out.seals, IOMEM_SEAL_SHRINK | IOMEM_SEAL_GROW);
        assert_int_equal(out.created, 1769860800);
        assert_int_equal(out.created_nsec, 250000000);
        assert_int_equal(out.creator_pid, -1);
        assert_string_equal(out.creator_command, "a name that is ");
}

static int copy_name(void *userdata, const char *name, const struct iomem_stat *one) {
        assert_int_equal(one->size, 65536);
        snprintf(userdata, 64, "%s", name);
        return 7;
}

static void name_is_understood(void **state) {
        char text[1024], name[64] = "";

        (void)state;
        snprintf(text, sizeof(text), "{\"regions\": [%s]}", region);
        assert_int_equal(json_regions(text, strlen(text), false, copy_name, name), 7);
        assert_string_equal(name, "d/a\\b\t\xc3\xa9\xff");
}

/* JSON has no bytes that are no UTF-8: what is escaped says which there were. */
static void bytes_of_a_name_are_understood(void **state) {
        static const char text[] = "{\"regions\": [{\"name\": \"\xef\xbf\xbd\\\\\", \"size\": "
                                   "65536, \"name_escaped\": "
                                   "\"\\\\377\\\\134\", \"creator_command\": \"\xef\xbf\xbd\", "
                                   "\"creator_command_escaped\": \"\\\\303\"}]}";
        struct iomem_stat out;
        char name[64] = "";

        (void)state;
        assert_int_equal(json_regions(text, strlen(text), false, copy_name, name), 7);
        assert_string_equal(name, "\xff\\");
        assert_int_equal(json_region(text + 13, strlen(text) - 13 - 2, &out), 0);
        assert_string_equal(out.creator_command, "\xc3");
}

/* Whatever is cut off: no crash, and nothing that is half understood. */
static void part_of_a_region_is_refused(void **state) {
        struct iomem_stat out;

        (void)state;
        for (size_t length = 0; length < strlen(region); length++)
                assert_int_equal(json_region(region, length, &out), -EBADMSG);
}

static int count(void *userdata, const char *name, const struct iomem_stat *one) {
        int *n = userdata;

        assert_non_null(name);
        assert_non_null(one);
        return ++*n == 3 ? 42 : 0;
}

static void regions_are_listed(void **state) {
        static const struct {
                const char *text;
                int result, n;
        } cases[] = {
                {"{\"regions\": []}", 0, 0},
                {"{\"regions\": [\n{\"name\": \"a\"},\n{}\n]}\n", 0, 2},
                {"{\"version\": [1], \"regions\": [{}]}", 0, 1},
                {"{\"regions\": [{}, {}, {}, {}]}", 42, 3},
                {"{}", -EBADMSG, 0},
                {"{\"regions\": [{}", -EBADMSG, 1},
                {"[]", -EBADMSG, 0},
                {"", -EBADMSG, 0},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                int n = 0;

                assert_int_equal(
                        json_regions(cases[i].text, strlen(cases[i].text), false, count, &n),
                        cases[i].result);
                assert_int_equal(n, cases[i].n);
        }
}

/* With `all`, those that are being populated come as well. */
static void others_are_passed_over(void **state) {
        static const char text[] = "{\"regions\": [{}, {}], \"populating\": [{}]}";
        int n = 0;

        (void)state;
        assert_int_equal(json_regions(text, strlen(text), false, count, &n), 0);
        assert_int_equal(n, 2);
        n = 0;
        assert_int_equal(json_regions(text, strlen(text), true, count, &n), 42);
        assert_int_equal(n, 3);
}

static void names_are_checked(void **state) {
        static const char *const good[] = {"a", "a/b", "...", ".a", "a b", "ctl", ".ctlx"};
        static const char *const bad[] = {"",   "/",    "/a",    "a/",       "a//b", ".",
                                          "..", "a/..", "./a/b", "a/.ctl/b", ".ctl", NULL};

        (void)state;
        for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
                assert_int_equal(name_check(good[i]), 0);
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
                assert_int_equal(name_check(bad[i]), -EINVAL);
                assert_string_not_equal(iomem_error(), "");
        }
}

static void long_names_are_refused(void **state) {
        char name[5000];

        (void)state;
        memset(name, 'x', sizeof(name));
        name[256] = '\0';
        assert_int_equal(name_check(name), -ENAMETOOLONG);
        name[255] = '\0';
        assert_int_equal(name_check(name), 0);
        for (size_t i = 0; i < sizeof(name); i++)
                name[i] = i % 2 ? '/' : 'x';
        name[4097] = '\0';
        assert_int_equal(name_check(name), -ENAMETOOLONG);
        name[4095] = '\0';
        assert_int_equal(name_check(name), 0);
}

static void names_are_escaped(void **state) {
        char out[NAME_ESCAPED_MAX], longest[4096];

        (void)state;
        name_escape(out, "p q/", "a\tb\nc\\d\x7f\xc3\xa9");
        assert_string_equal(out, "p\\040q/a\\011b\\012c\\134d\\177\xc3\xa9");
        memset(longest, ' ', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        name_escape(out, "", longest);
        assert_int_equal(strlen(out), 4 * 4095);
}

static void names_are_unescaped(void **state) {
        char name[] = "p\\040q/a\\011b\\134c\\377\\09\\";

        (void)state;
        name_unescape(name);
        assert_string_equal(name, "p q/a\tb\\c\xff\\09\\");
}

static void errors_have_texts(void **state) {
        (void)state;
        assert_int_equal(error_set(-EIO, "%s: %d", "text", 7), -EIO);
        assert_string_equal(iomem_error(), "text: 7");
        assert_int_equal(error_about(-ENOENT, "frames"), -ENOENT);
        assert_string_equal(iomem_error(), "frames: no such file or directory");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(region_is_understood),
                cmocka_unit_test(name_is_understood),
                cmocka_unit_test(bytes_of_a_name_are_understood),
                cmocka_unit_test(part_of_a_region_is_refused),
                cmocka_unit_test(regions_are_listed),
                cmocka_unit_test(others_are_passed_over),
                cmocka_unit_test(names_are_checked),
                cmocka_unit_test(long_names_are_refused),
                cmocka_unit_test(names_are_escaped),
                cmocka_unit_test(names_are_unescaped),
                cmocka_unit_test(errors_have_texts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
