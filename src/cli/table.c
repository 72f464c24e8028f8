/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/size.h"
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

static int column_unknown(const struct table *table, const char *name, size_t length) {
        const char *names[TABLE_COLUMNS_MAX + 1], *meant;
        char word[64];
        int n = 0;

        snprintf(word, sizeof(word), "%.*s", (int)length, name);
        for (char *at = word; *at; at++)
                *at = (char)toupper((unsigned char)*at);
        while (n < TABLE_COLUMNS_MAX && table->columns[n].name) {
                names[n] = table->columns[n].name;
                n++;
        }
        names[n] = NULL;
        meant = cli_suggest(word, names);
        if (meant)
                return cli_misuse("unknown column: %.*s; did you mean '%s'?", (int)length, name,
                                  meant);
        return cli_misuse("unknown column: %.*s", (int)length, name);
}

/* A list of columns; one that begins with + is added to the default columns. */
static int table_choose(struct table *table, const char *list) {
        if (*list == '+')
                list++;
        else
                table->n_wanted = 0;
        table->chosen = table->chosen || table->n_wanted == 0;
        for (;;) {
                size_t length = strcspn(list, ",");
                int column = column_find(table, list, length);

                if (column < 0)
                        return column_unknown(table, list, length);
                if (table->n_wanted == TABLE_COLUMNS_MAX)
                        return cli_misuse("too many columns");
                table->wanted[table->n_wanted++] = column;
                if (list[length] == '\0')
                        return 0;
                list += length + 1;
        }
}

static int table_color(struct table *table, const char *when) {
        if (!when || strcmp(when, "auto") == 0)
                table->color = when ? COLOR_AUTO : COLOR_ALWAYS;
        else if (strcmp(when, "always") == 0)
                table->color = COLOR_ALWAYS;
        else if (strcmp(when, "never") == 0)
                table->color = COLOR_NEVER;
        else
                return cli_misuse("--color=%s: say auto, always or never", when);
        return 0;
}

/* 0, or an exit status after a message. */
static int table_option(struct table *table, int option, const char *argument) {
        switch (option) {
        case 'b':
                table->bytes = true;
                return 0;
        case 'J':
                table->json = true;
                return 0;
        case 'n':
                table->no_headings = true;
                return 0;
        case 'o':
                return table_choose(table, argument);
        case 'r':
                table->raw = true;
                return 0;
        case TABLE_OPTION_COLOR:
                return table_color(table, argument);
        default:
                return cli_try_help();
        }
}

int table_parse(struct table *table, int argc, char **argv, const char *short_options,
                const struct option *options) {
        int option;

        while ((option = cli_getopt(argc, argv, short_options, options)) != -1) {
                int r = table_option(table, option, optarg);

                if (r != 0)
                        return r;
        }
        return table->json && table->raw ? cli_misuse("-J and -r exclude each other") : 0;
}

/* Whether the administrator or the user has colors off: terminal-colors.d(5), NO_COLOR. */
static bool colors_are_off(void) {
        static const char *const files[] = {"iomem.disable", "disable"};
        const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
        char directory[PATH_MAX / 2], path[PATH_MAX];
        bool off = (no_color && *no_color) || !term || strcmp(term, "dumb") == 0;

        snprintf(directory, sizeof(directory), "%s%s",
                 config ? config
                 : home ? home
                        : "",
                 config ? "" : "/.config");
        for (size_t i = 0; i < sizeof(files) / sizeof(*files) && !off; i++) {
                snprintf(path, sizeof(path), "%s/terminal-colors.d/%s", directory, files[i]);
                off = access(path, F_OK) == 0;
                snprintf(path, sizeof(path), "/etc/terminal-colors.d/%s", files[i]);
                off = off || access(path, F_OK) == 0;
        }
        return off;
}

static bool table_is_colored(const struct table *table) {
        if (table->json || table->raw || table->color == COLOR_NEVER)
                return false;
        if (table->color == COLOR_ALWAYS)
                return true;
        return isatty(fileno(table->stream ? table->stream : stdout)) && !colors_are_off();
}

static int table_add_column(struct table *table, const struct table_column *column) {
        struct libscols_column *new =
                scols_table_new_column(table->scols, column->name, column->width, column->flags);

        if (!new)
                return -1;
        scols_column_set_json_type(new, column->json);
        if (table->colored)
                scols_cell_set_color(scols_column_get_header(new), "\033[1m");
        return 0;
}

int table_begin(struct table *table) {
        scols_init_debug(0);
        table->scols = scols_new_table();
        if (!table->scols)
                return cli_fail("out of memory");
        table->colored = table_is_colored(table);
        scols_table_set_name(table->scols, table->name);
        scols_table_enable_json(table->scols, table->json);
        scols_table_enable_raw(table->scols, table->raw);
        scols_table_enable_noheadings(table->scols, table->no_headings);
        scols_table_enable_colors(table->scols, table->colored);
        if (table->stream)
                scols_table_set_stream(table->scols, table->stream);
        for (int i = 0; i < table->n_wanted; i++)
                if (table_add_column(table, &table->columns[table->wanted[i]]) < 0)
                        return cli_fail("out of memory");
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
        char text[SIZE_TEXT_MAX];

        if (table->bytes) {
                table_set_number(table, line, column, bytes);
                return;
        }
        size_format(text, bytes);
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
