/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * table: output in columns, by libsmartcols, with the same options as lsns(8).
 *
 * Owns the libsmartcols table.
 */

#include <getopt.h>
#include <libsmartcols.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_COLUMNS_MAX = 32 };

struct table_column {
        const char *name;
        double width; /* a hint, as in libsmartcols */
        int flags;    /* SCOLS_FL_... */
        int json;     /* SCOLS_JSON_... */
        const char *help;
};

struct table {
        const struct table_column *columns; /* all columns; the last element has no name */
        const char *name;                   /* of the list, for JSON */
        int wanted[TABLE_COLUMNS_MAX];
        int n_wanted;
        bool bytes, json, raw, no_headings;
        bool chosen;  /* columns were chosen by -o LIST, not by -o +LIST */
        bool colored; /* valid after table_begin() */
        enum { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color;
        FILE *stream; /* default: stdout */
        struct libscols_table *scols;
};

enum { TABLE_OPTION_COLOR = 512 };

/* Short options to be added to those of the command, and the long ones. */
#define TABLE_OPTIONS "bJno:r"
#define TABLE_LONG_OPTIONS                                                                         \
        {"bytes", no_argument, NULL, 'b'}, {"color", optional_argument, NULL, TABLE_OPTION_COLOR}, \
                {"json", no_argument, NULL, 'J'}, {"noheadings", no_argument, NULL, 'n'},          \
                {"output", required_argument, NULL, 'o'}, {                                        \
                "raw", no_argument, NULL, 'r'                                                      \
        }

/* The first n_default columns are shown unless an option chooses others. */
void table_setup(struct table *table, const char *name, const struct table_column *columns,
                 int n_default);
/* Parses the arguments of a command whose only options are those of a table.  0, or an exit status
 * after a message. */
int table_parse(struct table *table, int argc, char **argv, const char *short_options,
                const struct option *options);
/* To be called after the options.  0, or an exit status after a message. */
int table_begin(struct table *table);
struct libscols_line *table_line(struct table *table);
/* Sets the cell of a column, given by its number in `columns`, if it is shown. */
void table_set(struct table *table, struct libscols_line *line, int column, const char *text);
void table_set_number(struct table *table, struct libscols_line *line, int column, uint64_t number);
/* In units, or with -b in bytes. */
void table_set_size(struct table *table, struct libscols_line *line, int column, uint64_t bytes);
/* Drops the table without printing it. */
void table_drop(struct table *table);
/* Prints the table; returns an exit status. */
int table_end(struct table *table);
