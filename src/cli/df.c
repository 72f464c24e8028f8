/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include "base/size.h"
#include "cli.h"
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

/* Sizes in units are strings in JSON, too, as in lsblk(8). */
static const struct table_column *columns_for(bool bytes) {
        static struct table_column human[sizeof(columns) / sizeof(*columns)];

        if (bytes)
                return columns;
        memcpy(human, columns, sizeof(columns));
        human[COL_SIZE].json = human[COL_USED].json = human[COL_AVAIL].json =
                human[COL_OVERCOMMIT].json = SCOLS_JSON_STRING;
        return human;
}

static uint64_t left(uint64_t limit, uint64_t used) {
        return limit > used ? limit - used : 0;
}

/* In percent, rounded up as in df(1); without a limit there is none. */
static void set_part(struct table *table, struct libscols_line *line, int column, uint64_t limit,
                     uint64_t used) {
        char text[32] = "-";

        if (limit > 0)
                snprintf(text, sizeof(text), "%.0f%%",
                         (double)(((__uint128_t)used * 100 + limit - 1) / limit));
        table_set(table, line, column, text);
}

static int add_space(void *userdata, const char *directory, const struct iomem_space *space) {
        struct table *table = userdata;
        struct libscols_line *line = table_line(table);

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

int cli_df(int argc, char **argv) {
        static const struct option options[] = {TABLE_LONG_OPTIONS, {NULL, 0, NULL, 0}};
        struct iomem_connection *connection;
        const char *directory;
        struct table table;
        int r;

        table_setup(&table, "limits", columns, _COL_DEFAULT);
        r = table_parse(&table, argc, argv, TABLE_OPTIONS, options);
        if (r != 0)
                return r;
        table.columns = columns_for(table.bytes);
        if (argc - optind > 1)
                return cli_misuse("df takes one directory at most");
        r = cli_connect_directory(&connection, argv[optind], &directory);
        if (r == 0)
                r = table_begin(&table);
        if (r != 0) {
                iomem_disconnect(connection);
                return r;
        }
        r = iomem_space(connection, directory, add_space, &table);
        iomem_disconnect(connection);
        if (r == 0)
                return table_end(&table);
        table_drop(&table);
        return cli_fail_iomem(r);
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
