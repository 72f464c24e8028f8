/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/size.h"
#include "cli.h"
#include "json_out.h"
#include "table.h"

/* df and limit: the space of the mount, and limits of directories. */

enum column {
        COL_DIRECTORY,
        COL_SIZE,
        COL_USED,
        COL_AVAIL,
        COL_USE,
        COL_FILES,
        COL_FUSED,
        COL_FAVAIL,
        COL_FUSE,
        _COL_DEFAULT,
        COL_OVERCOMMIT = _COL_DEFAULT,
};

static const struct table_column columns[] = {
        [COL_DIRECTORY] = {"DIRECTORY", 0.3, 0, SCOLS_JSON_STRING, "directory with a limit"},
        [COL_SIZE] = {"SIZE", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "limit of memory"},
        [COL_USED] = {"USED", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "memory in use"},
        [COL_AVAIL] = {"AVAIL", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "memory that is left"},
        [COL_USE] = {"USE%", 3, SCOLS_FL_RIGHT, SCOLS_JSON_STRING, "part of it in use"},
        [COL_FILES] = {"FILES", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "limit of files"},
        [COL_FUSED] = {"FUSED", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "files in use"},
        [COL_FAVAIL] = {"FAVAIL", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "files that are left"},
        [COL_FUSE] = {"FUSE%", 3, SCOLS_FL_RIGHT, SCOLS_JSON_STRING, "part of them in use"},
        [COL_OVERCOMMIT] = {"OVERCOMMIT", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                            "memory asked for, but taken by others"},
        {NULL},
};

static uint64_t left(uint64_t limit, uint64_t used) {
        return limit > used ? limit - used : 0;
}

/* In percent, rounded up as in df(1); without a limit there is none. */
static void set_part(struct table *table, struct libscols_line *line, int column, uint64_t limit,
                     uint64_t used) {
        char text[32] = "-";

        if (limit > 0)
                snprintf(text, sizeof(text), "%" PRIu64 "%%",
                         (uint64_t)(((__uint128_t)used * 100 + limit - 1) / limit));
        table_set(table, line, column, text);
}

/* What is printed, as a table or as JSON. */
struct printed {
        struct table table;
        FILE *json; /* NULL: a table */
        char *text;
        size_t length;
};

/* As .ctl/limits.json has it; see docs/json.md. */
static void add_json(FILE *stream, const char *directory, const struct iomem_space *space) {
        struct json_out out = {.stream = stream};

        fputs(ftell(stream) > 0 ? ",\n  {" : "\n  {", stream);
        json_out_bytes(&out, "directory", directory);
        json_out_number(&out, "size", (int64_t)space->size);
        json_out_number(&out, "used", (int64_t)space->used);
        json_out_number(&out, "overcommitted", (int64_t)space->overcommitted);
        json_out_number(&out, "inodes", (int64_t)space->inodes);
        json_out_number(&out, "inodes_used", (int64_t)space->inodes_used);
        fputc('}', stream);
}

static int add_space(void *userdata, const char *directory, const struct iomem_space *space) {
        struct printed *printed = userdata;
        struct table *table = &printed->table;
        struct libscols_line *line;

        if (printed->json) {
                add_json(printed->json, directory, space);
                return 0;
        }
        line = table_line(table);
        table_set(table, line, COL_DIRECTORY, directory);
        table_set_size(table, line, COL_SIZE, space->size);
        table_set_size(table, line, COL_USED, space->used);
        table_set_size(table, line, COL_AVAIL, left(space->size, space->used));
        set_part(table, line, COL_USE, space->size, space->used);
        table_set_number(table, line, COL_FILES, space->inodes);
        table_set_number(table, line, COL_FUSED, space->inodes_used);
        table_set_number(table, line, COL_FAVAIL, left(space->inodes, space->inodes_used));
        set_part(table, line, COL_FUSE, space->inodes, space->inodes_used);
        table_set_size(table, line, COL_OVERCOMMIT, space->overcommitted);
        return 0;
}

/* 0, or an exit status after a message. */
static int printed_begin(struct printed *printed) {
        if (!printed->table.json)
                return table_begin(&printed->table);
        printed->json = open_memstream(&printed->text, &printed->length);
        return printed->json ? 0 : cli_fail("out of memory");
}

/* Prints it unless it failed. */
static int printed_end(struct printed *printed, bool failed) {
        if (printed->json) {
                failed = fclose(printed->json) != 0 || failed;
                if (!failed)
                        printf("{\"limits\": [%s\n]}\n", printed->text);
                free(printed->text);
                return 0;
        }
        if (!failed)
                return table_end(&printed->table);
        table_drop(&printed->table);
        return 0;
}

int cli_df(int argc, char **argv) {
        static const struct option options[] = {TABLE_LONG_OPTIONS, {NULL, 0, NULL, 0}};
        struct iomem_connection *connection;
        struct printed printed = {0};
        const char *directory;
        int r, status;

        table_setup(&printed.table, "limits", columns, _COL_DEFAULT);
        r = table_parse(&printed.table, argc, argv, TABLE_OPTIONS, options);
        if (r != 0)
                return r;
        if (argc - optind > 1)
                return cli_misuse("df takes one directory at most");
        r = cli_connect_directory(&connection, argv[optind], &directory);
        if (r == 0)
                r = printed_begin(&printed);
        if (r != 0) {
                iomem_disconnect(connection);
                return r;
        }
        r = iomem_space(connection, directory, add_space, &printed);
        iomem_disconnect(connection);
        status = r < 0 ? cli_fail_iomem(r) : 0;
        r = printed_end(&printed, status != 0);
        return status ? status : r;
}

/* size=, or nr_inodes=.  0, or an exit status after a message. */
static int parse_limit(const char *word, uint64_t *size, uint64_t *inodes) {
        const char *value = strchr(word, '=');
        uint64_t *limit = strncmp(word, "size=", 5) == 0 ? size : inodes;
        int r = 0;

        if (limit == size)
                r = cli_parse_size(value + 1, size);
        else if (strncmp(word, "nr_inodes=", 10) != 0)
                return cli_misuse("not a limit: %s (size=SIZE, nr_inodes=COUNT, or none)", word);
        else if (size_parse_count(value + 1, strlen(value + 1), inodes) < 0)
                return cli_misuse("%s: not a number (such as 10000 or 100k)", value + 1);
        return r == 0 && *limit == 0 ? cli_misuse("a limit is above 0; none takes it away") : r;
}

/* Both are 0 for `none`. */
static int parse_limits(int n, char **words, uint64_t *size, uint64_t *inodes) {
        int r = 0;

        *size = *inodes = 0;
        if (n == 1 && strcmp(words[0], "none") == 0)
                return 0;
        for (int i = 0; r == 0 && i < n; i++)
                r = parse_limit(words[i], size, inodes);
        return r;
}

int cli_limit(int argc, char **argv) {
        static const struct option options[] = {{NULL, 0, NULL, 0}};
        struct iomem_connection *connection;
        uint64_t size, inodes;
        const char *name;
        int r;

        if (cli_getopt(argc, argv, "", options) != -1)
                return cli_try_help();
        if (argc - optind < 1)
                return cli_misuse("limit needs a directory");
        if (argc - optind == 1) {
                optind = 0;
                return cli_df(argc, argv);
        }
        r = parse_limits(argc - optind - 1, argv + optind + 1, &size, &inodes);
        if (r == 0)
                r = cli_connect(&connection, argv[optind], &name);
        if (r != 0)
                return r;
        r = iomem_limit(connection, name, size, inodes);
        iomem_disconnect(connection);
        return r < 0 ? cli_fail_iomem(r) : EXIT_SUCCESS;
}
