/* SPDX-License-Identifier: MIT */

/* What listings say of a region, whatever its name is: characters, JSON, and tables. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <cmocka.h>
#include "base/words.h"
#include "control/report_json.h"
#include "control/report_table.h"

/* Every code, as UTF-8 has it, and nothing that is nearly so. */
static void characters(void **state) {
        static const char *const bad[] = {
                "\x80",
                "\xbf",
                "\xc0\x80",
                "\xc1\xbf",
                "\xc3",
                "\xc3(",
                "\xe0\x9f\xbf",
                "\xed\xa0\x80",
                "\xed\xbf\xbf",
                "\xe2\x82",
                "\xf0\x8f\xbf\xbf",
                "\xf4\x90\x80\x80",
                "\xf5\x80\x80\x80",
                "\xf0\x9f\x98",
                "\xff",
                "\xfe",
        };
        uint32_t code;

        (void)state;
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
                assert_int_equal(words_character(bad[i], strlen(bad[i]), &code), 0);
        assert_int_equal(words_character("\xe2\x82\xac!", 4, &code), 3);
        assert_int_equal(code, 0x20ac);
        assert_int_equal(words_character("\xf4\x8f\xbf\xbf", 4, &code), 4);
        assert_int_equal(code, 0x10ffff);
        assert_int_equal(words_character("\x7f", 1, &code), 1);
        /* What is beyond the length is not there. */
        assert_int_equal(words_character("\xe2\x82\xac", 2, &code), 0);
}

static void expect_escaped(const char *name, const char *want) {
        char escaped[256];

        words_escape(escaped, name, strlen(name));
        assert_string_equal(escaped, want);
}

static void escapes(void **state) {
        (void)state;
        expect_escaped("plain \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
                       "plain\\040\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
        expect_escaped("\t\n\\\x7f\x1b", "\\011\\012\\134\\177\\033");
        expect_escaped("\xff\xc3", "\\377\\303");
        expect_escaped("\xc2\x9b"
                       "31m",
                       "\\302\\23331m"); /* CSI of C1 */
        expect_escaped("\xe2\x80\xae"
                       "x",
                       "\\342\\200\\256x"); /* right to left */
        expect_escaped("\xe2\x81\xa6"
                       "x",
                       "\\342\\201\\246x");                                  /* isolates */
        expect_escaped("\xd8\x9c\xe2\x80\x8f", "\\330\\234\\342\\200\\217"); /* marks */
        expect_escaped("\xe2\x80\xa8", "\\342\\200\\250");                   /* a line's end */
}

static struct node region(void) {
        struct node node = {
                .mode = S_IFREG | 0640,
                .uid = 7,
                .gid = 8,
                .nlink = 1,
                .size = 5000,
                .blocks = 4096,
                .ino = 9,
                .flags = NODE_FIXED | NODE_EPHEMERAL,
                .seals = F_SEAL_SHRINK | F_SEAL_GROW,
                .creator_pid = 11,
        };

        memcpy(node.creator_name, "maker", 5);
        return node;
}

static char *json(const struct node *node, const char *name) {
        char *text = NULL;
        size_t length;
        FILE *stream = open_memstream(&text, &length);

        report_json_region(stream, node, name, strlen(name));
        fclose(stream);
        return text;
}

static void json_is_what_it_was(void **state) {
        struct node node = region();
        char *text = json(&node, "d/a");

        (void)state;
        assert_string_equal(text,
                            "{\"name\": \"d/a\", \"size\": 5000, \"allocated\": 4096, \"huge\": 0, "
                            "\"mode\": \"0640\", \"uid\": 7, \"gid\": 8, \"inode\": 9, "
                            "\"links\": 1, \"refs\": 0, \"writers\": 0, "
                            "\"flags\": [\"ephemeral\", \"fixed\"], "
                            "\"seals\": [\"shrink\", \"grow\"], "
                            "\"created\": \"1970-01-01T00:00:00.000000Z\", \"creator_uid\": 0, "
                            "\"creator_pid\": 11, \"creator_command\": \"maker\"}");
        free(text);
}

static void json_of_any_name(void **state) {
        struct node node = region();
        char *text = json(&node, "\"\\\n\xc2\x85\xe2\x80\xae\xc3\xa9");

        (void)state;
        assert_non_null(
                strstr(text, "{\"name\": \"\\\"\\\\\\u000a\\u0085\\u202e\xc3\xa9\", \"size\""));
        free(text);
        /* Bytes that are no UTF-8: valid JSON, and nothing is lost. */
        text = json(&node, "a\xff \xed\xa0\x80\\");
        assert_non_null(strstr(text, "{\"name\": \"a\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd"
                                     "\xef\xbf\xbd\\\\\", \"name_escaped\": "
                                     "\"a\\\\377\\\\040\\\\355\\\\240\\\\200\\\\134\", \"size\""));
        free(text);
        /* A command is cut to 15 bytes, perhaps within a character. */
        memcpy(node.creator_name, "0123456789abcd\xc3\xa9", 16);
        text = json(&node, "a");
        assert_non_null(strstr(text, "\"creator_command\": \"0123456789abcd\xc3\xa9\"}"));
        free(text);
        node.creator_name[15] = '\0';
        text = json(&node, "a");
        assert_non_null(strstr(text, "\"creator_command\": \"0123456789abcd\xef\xbf\xbd\", "
                                     "\"creator_command_escaped\": \"0123456789abcd\\\\303\"}"));
        free(text);
}

static void table_of_any_name(void **state) {
        struct node node = region();
        char *text = NULL;
        size_t length;
        FILE *stream = open_memstream(&text, &length);

        (void)state;
        memcpy(node.creator_name, "a b\xc2\x9b", 6);
        report_table_head(stream);
        report_table_region(stream, &node, "x \xc2\x9b\xff\xe2\x80\xae\n", 9);
        report_table_too_long(stream, 3);
        fclose(stream);
        assert_non_null(strstr(text, "\nx\\040\\302\\233\\377\\342\\200\\256\\012  "));
        assert_non_null(strstr(text, "  a\\040b\\302\\233\n"));
        assert_non_null(strstr(text, "  ephemeral,fixed  shrink,grow  "));
        assert_non_null(strstr(text, "\n...  "));
        assert_non_null(strstr(text, "  too-long=3  "));
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(characters),          cmocka_unit_test(escapes),
                cmocka_unit_test(json_is_what_it_was), cmocka_unit_test(json_of_any_name),
                cmocka_unit_test(table_of_any_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
