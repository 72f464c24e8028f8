/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/words.h"
#include "cli.h"

void table_setup(struct table *table, const char *name, const struct table_column *columns,
                 int n_default) {
        *table = (struct table){.columns = columns, .name = name, .n_wanted = n_default};
        for (int i = 0; i < n_default; i++)
                table->wanted[i] = i;
}

static int column_find(const struct table *table, const char *name, size_t length) {
        for (int i = 0; table->columns[i].name; i++)
                if (strlen(table->columns[i].name) == length &&
                    strncasecmp(table->columns[i].name, name, length) == 0)
                        return i;
        return -1;
}

/* A list of columns; one that begins with + is added to the default columns. */
static int table_choose(struct table *table, const char *list) {
        if (*list == '+')
                list++;
        else
                table->n_wanted = 0;
        for (;;) {
                size_t length = strcspn(list, ",");
                int column = column_find(table, list, length);

                if (column < 0) {
                        cli_misuse("unknown column: %.*s", (int)length, list);
                        return -1;
                }
                if (table->n_wanted == TABLE_COLUMNS_MAX) {
                        cli_misuse("too many columns");
                        return -1;
                }
                table->wanted[table->n_wanted++] = column;
                if (list[length] == '\0')
                        return 1;
                list += length + 1;
        }
}

static int table_check(const struct table *table) {
        if (!table->json || !table->raw)
                return 1;
        cli_misuse("-J and -r exclude each other");
        return -1;
}

int table_option(struct table *table, int option, const char *argument) {
        switch (option) {
        case 'b':
                table->bytes = true;
                return 1;
        case 'J':
                table->json = true;
                return table_check(table);
        case 'n':
                table->no_headings = true;
                return 1;
        case 'o':
                return table_choose(table, argument);
        case 'r':
                table->raw = true;
                return table_check(table);
        default:
                return 0;
        }
}

static int table_add_column(struct table *table, const struct table_column *column) {
        struct libscols_column *new =
                scols_table_new_column(table->scols, column->name, column->width, column->flags);

        if (!new)
                return -1;
        scols_column_set_json_type(new, column->json);
        return 0;
}

int table_begin(struct table *table) {
        scols_init_debug(0);
        table->scols = scols_new_table();
        if (!table->scols) {
                cli_fail("out of memory");
                return -1;
        }
        scols_table_set_name(table->scols, table->name);
        scols_table_enable_json(table->scols, table->json);
        scols_table_enable_raw(table->scols, table->raw);
        scols_table_enable_noheadings(table->scols, table->no_headings);
        for (int i = 0; i < table->n_wanted; i++)
                if (table_add_column(table, &table->columns[table->wanted[i]]) < 0) {
                        cli_fail("out of memory");
                        return -1;
                }
        return 0;
}

struct libscols_line *table_line(struct table *table) {
        struct libscols_line *line = scols_table_new_line(table->scols, NULL);

        if (!line)
                abort();
        return line;
}

/*
 * Cleans text that libsmartcols would print unchanged: bytes that are no UTF-8, which JSON does not
 * allow, and characters that change how a terminal shows the rest of the line.  To be freed.
 */
static char *table_clean(const struct table *table, const char *text) {
        size_t length = strlen(text), n;
        char *clean = malloc(4 * length + 1), *at = clean;
        uint32_t code;

        if (!clean)
                abort();
        for (; length > 0; text += n, length -= n) {
                n = words_character(text, length, &code);
                if (n == 0 && table->json)
                        at = stpcpy(at, "\xef\xbf\xbd"); /* U+FFFD */
                else if (n > 1 && !table->json && words_is_control(code))
                        at += words_escape(at, text, n);
                else
                        at = mempcpy(at, text, n ? n : 1);
                n = n ? n : 1;
        }
        *at = '\0';
        return clean;
}

void table_set(struct table *table, struct libscols_line *line, int column, const char *text) {
        char *clean = table_clean(table, text);

        for (int i = 0; i < table->n_wanted; i++)
                if (table->wanted[i] == column && scols_line_set_data(line, (size_t)i, clean) != 0)
                        abort();
        free(clean);
}

void table_set_number(struct table *table, struct libscols_line *line, int column,
                      uint64_t number) {
        char text[32];

        snprintf(text, sizeof(text), "%" PRIu64, number);
        table_set(table, line, column, text);
}

void table_set_size(struct table *table, struct libscols_line *line, int column, uint64_t bytes) {
        char text[32];

        if (table->bytes) {
                table_set_number(table, line, column, bytes);
                return;
        }
        cli_format_size(text, sizeof(text), bytes);
        table_set(table, line, column, text);
}

void table_drop(struct table *table) {
        scols_unref_table(table->scols);
        table->scols = NULL;
}

int table_end(struct table *table) {
        int r = scols_print_table(table->scols);

        table_drop(table);
        return r == 0 ? EXIT_SUCCESS : cli_fail("writing the table failed");
}
