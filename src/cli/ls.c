/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "base/size.h"
#include "base/words.h"
#include "cli.h"
#include "json_out.h"
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

/* The members of the JSON object that a column stands for. */
static const char *member_of(int column) {
        switch (column) {
        case COL_CREATOR:
                return "creator";
        case COL_ESCAPED:
                return "name";
        default:
                return columns[column].name;
        }
}

/* A list of regions that is being printed, as a table or as JSON. */
struct printed {
        struct table table;
        bool all; /* no columns were chosen */
        /* JSON of the regions, and of those that have no name yet.  It is printed when it is
         * complete, so that nobody gets half of it. */
        struct json_list {
                FILE *stream;
                char *text;
                size_t length;
        } lists[2];
};

static bool is_wanted(void *userdata, const char *member) {
        const struct printed *printed = userdata;

        for (int i = 0; !printed->all && i < printed->table.n_wanted; i++)
                if (strcasecmp(member_of(printed->table.wanted[i]), member) == 0)
                        return true;
        return printed->all;
}

static void add_json(struct printed *printed, const char *name, const struct iomem_stat *region) {
        FILE *stream = printed->lists[region->flags & IOMEM_POPULATING ? 1 : 0].stream;

        fputs(ftell(stream) > 0 ? ",\n  " : "\n  ", stream);
        json_out_region(stream, name, region, is_wanted, printed);
}

static int add_region(void *userdata, const char *name, const struct iomem_stat *region) {
        struct printed *printed = userdata;
        struct table *table = &printed->table;
        struct libscols_line *line;
        char text[256];

        if (table->json) {
                add_json(printed, name, region);
                return 0;
        }
        line = table_line(table);
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
static int printed_begin(struct printed *printed) {
        printed->all = !printed->table.chosen;
        if (!printed->table.json)
                return table_begin(&printed->table);
        for (int i = 0; i < 2; i++) {
                struct json_list *list = &printed->lists[i];

                list->stream = open_memstream(&list->text, &list->length);
                if (!list->stream)
                        return cli_fail("out of memory");
        }
        return 0;
}

static void printed_drop(struct printed *printed) {
        if (printed->table.scols)
                table_drop(&printed->table);
        for (int i = 0; i < 2; i++)
                free(printed->lists[i].text);
}

static int printed_end(struct printed *printed) {
        struct json_list *lists = printed->lists;
        bool failed = false;

        if (!printed->table.json)
                return table_end(&printed->table);
        for (int i = 0; i < 2; i++)
                failed = fclose(lists[i].stream) != 0 || failed;
        if (!failed)
                printf("{\"regions\": [%s%s], \"populating\": [%s%s]}\n", lists[0].text,
                       lists[0].length ? "\n" : "", lists[1].text, lists[1].length ? "\n" : "");
        printed_drop(printed);
        return failed ? cli_fail("out of memory") : EXIT_SUCCESS;
}

/* 0, or an exit status after a message. */
static int parse_options(struct table *table, int argc, char **argv) {
        static const struct option options[] = {TABLE_LONG_OPTIONS, {NULL, 0, NULL, 0}};

        return table_parse(table, argc, argv, TABLE_OPTIONS, options);
}

int cli_ls(int argc, char **argv) {
        struct iomem_connection *connection;
        struct printed printed = {0};
        const char *directory;
        int r;

        table_setup(&printed.table, "regions", columns, _COL_DEFAULT);
        r = parse_options(&printed.table, argc, argv);
        if (r != 0)
                return r;
        if (argc - optind > 1)
                return cli_misuse("ls takes one directory at most");
        r = cli_connect_directory(&connection, argv[optind], &directory);
        if (r == 0)
                r = printed_begin(&printed);
        if (r != 0) {
                iomem_disconnect(connection);
                return r;
        }
        r = iomem_list(connection, directory, IOMEM_LIST_POPULATING, add_region, &printed);
        iomem_disconnect(connection);
        if (r == 0)
                return printed_end(&printed);
        for (int i = 0; printed.table.json && i < 2; i++)
                fclose(printed.lists[i].stream);
        printed_drop(&printed);
        return cli_fail_iomem(r);
}

static int stat_one(struct printed *printed, const char *argument) {
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
        add_region(printed, name, &region);
        return EXIT_SUCCESS;
}

int cli_stat(int argc, char **argv) {
        struct printed printed = {0};
        int status, shown;

        table_setup(&printed.table, "regions", columns, COL_LINKS + 1);
        status = parse_options(&printed.table, argc, argv);
        if (status != 0)
                return status;
        if (optind == argc)
                return cli_misuse("stat needs a name");
        status = printed_begin(&printed);
        if (status != 0)
                return status;
        for (int i = optind; i < argc; i++) {
                int r = stat_one(&printed, argv[i]);

                status = r ? r : status;
        }
        shown = printed_end(&printed);
        return status ? status : shown;
}
