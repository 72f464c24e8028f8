/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/size.h"
#include "base/words.h"
#include "cli.h"
#include "table.h"

/* ls and stat: list regions. */

enum column {
        COL_NAME,
        COL_SIZE,
        COL_ALLOCATED,
        COL_MODE,
        COL_USER,
        COL_GROUP,
        COL_SEALS,
        COL_FLAGS,
        COL_REFS,
        _COL_DEFAULT,
        COL_CREATED = _COL_DEFAULT,
        COL_CREATOR,
        COL_INODE,
        COL_LINKS,
        COL_ESCAPED,
};

static const struct table_column columns[] = {
        [COL_NAME] = {"NAME", 0.3, 0, SCOLS_JSON_STRING, "name"},
        [COL_SIZE] = {"SIZE", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "size"},
        [COL_ALLOCATED] = {"ALLOCATED", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "memory in use"},
        [COL_MODE] = {"MODE", 4, 0, SCOLS_JSON_STRING, "permissions"},
        [COL_USER] = {"USER", 0.1, 0, SCOLS_JSON_STRING, "owner"},
        [COL_GROUP] = {"GROUP", 0.1, 0, SCOLS_JSON_STRING, "group"},
        [COL_SEALS] = {"SEALS", 0.1, 0, SCOLS_JSON_STRING, "what cannot be done any more"},
        [COL_FLAGS] = {"FLAGS", 0.1, 0, SCOLS_JSON_STRING, "how it was made"},
        [COL_REFS] = {"REFS", 2, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "open handles of the mount"},
        [COL_CREATED] = {"CREATED", 19, 0, SCOLS_JSON_STRING, "time of its creation"},
        [COL_CREATOR] = {"CREATOR", 0.1, 0, SCOLS_JSON_STRING, "command and pid that made it"},
        [COL_INODE] = {"INODE", 4, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "inode number"},
        [COL_LINKS] = {"LINKS", 2, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, "number of its names"},
        [COL_ESCAPED] = {"NAME_ESCAPED", 0.3, 0, SCOLS_JSON_STRING, "name as commands take it"},
        {NULL},
};

static void set_name(struct table *table, struct libscols_line *line, const char *name) {
        char escaped[4 * PATH_MAX + 1];

        words_escape(escaped, name, strnlen(name, PATH_MAX));
        table_set(table, line, COL_NAME, name);
        table_set(table, line, COL_ESCAPED, escaped);
}

/* Sizes in units are strings in JSON, too, as in lsblk(8). */
static const struct table_column *columns_for(bool bytes) {
        static struct table_column human[sizeof(columns) / sizeof(*columns)];

        if (bytes)
                return columns;
        for (size_t i = 0; i < sizeof(columns) / sizeof(*columns); i++)
                human[i] = columns[i];
        human[COL_SIZE].json = human[COL_ALLOCATED].json = SCOLS_JSON_STRING;
        return human;
}

static void set_birth(struct table *table, struct libscols_line *line,
                      const struct iomem_stat *region) {
        char text[64];
        time_t created = (time_t)region->created;
        struct tm tm;

        if (localtime_r(&created, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S%z", &tm))
                table_set(table, line, COL_CREATED, text);
        if (region->creator_pid > 0)
                snprintf(text, sizeof(text), "%s[%d]", region->creator_command,
                         (int)region->creator_pid);
        else
                snprintf(text, sizeof(text), "%s", region->creator_command);
        table_set(table, line, COL_CREATOR, text);
}

static int add_region(void *userdata, const char *name, const struct iomem_stat *region) {
        struct table *table = userdata;
        struct libscols_line *line = table_line(table);
        char text[256];

        if (table->colored && (region->flags & IOMEM_POPULATING))
                scols_line_set_color(line, "yellow"); /* it does not exist yet */

        set_name(table, line, name);
        table_set_size(table, line, COL_SIZE, region->size);
        table_set_size(table, line, COL_ALLOCATED, region->allocated);
        snprintf(text, sizeof(text), "%04o", region->mode);
        table_set(table, line, COL_MODE, text);
        cli_format_user(text, sizeof(text), region->uid);
        table_set(table, line, COL_USER, text);
        cli_format_group(text, sizeof(text), region->gid);
        table_set(table, line, COL_GROUP, text);
        cli_format_seals(text, sizeof(text), region->seals);
        table_set(table, line, COL_SEALS, text);
        cli_format_flags(text, sizeof(text), region->flags);
        table_set(table, line, COL_FLAGS, text);
        table_set_number(table, line, COL_REFS, region->refs);
        set_birth(table, line, region);
        table_set_number(table, line, COL_INODE, region->inode);
        table_set_number(table, line, COL_LINKS, region->links);
        return 0;
}

/* 0, or an exit status after a message. */
static int parse_options(struct table *table, int argc, char **argv) {
        static const struct option options[] = {TABLE_LONG_OPTIONS, {NULL, 0, NULL, 0}};
        int r = table_parse(table, argc, argv, TABLE_OPTIONS, options);

        table->columns = columns_for(table->bytes);
        return r;
}

int cli_ls(int argc, char **argv) {
        struct iomem_connection *connection;
        struct table table;
        const char *directory;
        int r;

        table_setup(&table, "regions", columns, _COL_DEFAULT);
        r = parse_options(&table, argc, argv);
        if (r != 0)
                return r;
        if (argc - optind > 1)
                return cli_misuse("ls takes one directory at most");
        r = cli_connect_directory(&connection, argv[optind], &directory);
        if (r == 0)
                r = table_begin(&table);
        if (r != 0) {
                iomem_disconnect(connection);
                return r;
        }
        r = iomem_list(connection, directory, IOMEM_LIST_POPULATING, add_region, &table);
        iomem_disconnect(connection);
        if (r == 0)
                return table_end(&table);
        table_drop(&table);
        return cli_fail_iomem(r);
}

static int stat_one(struct table *table, const char *argument) {
        struct iomem_connection *connection;
        struct iomem_stat region;
        const char *name;
        int r = cli_connect(&connection, argument, &name);

        if (r != 0)
                return r;
        r = iomem_stat(connection, name, &region);
        iomem_disconnect(connection);
        if (r < 0)
                return cli_fail_iomem(r);
        add_region(table, name, &region);
        return EXIT_SUCCESS;
}

int cli_stat(int argc, char **argv) {
        int status, shown;
        struct table table;

        table_setup(&table, "regions", columns, COL_LINKS + 1);
        status = parse_options(&table, argc, argv);
        if (status != 0)
                return status;
        if (optind == argc)
                return cli_misuse("stat needs a name");
        status = table_begin(&table);
        if (status != 0)
                return status;
        for (int i = optind; i < argc; i++) {
                int r = stat_one(&table, argv[i]);

                status = r ? r : status;
        }
        shown = table_end(&table);
        return status ? status : shown;
}
