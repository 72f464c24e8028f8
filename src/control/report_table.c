/* SPDX-License-Identifier: MIT */
#include "control/report_table.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include "base/words.h"
#include "control/report.h"

enum column {
        COL_NAME,
        COL_SIZE,
        COL_ALLOCATED,
        COL_HUGE,
        COL_MODE,
        COL_UID,
        COL_GID,
        COL_REFS,
        COL_FLAGS,
        COL_SEALS,
        COL_CREATED,
        COL_PID,
        COL_COMMAND,
        _COL_N,
};

/* Negative: aligned to the left. */
static const struct {
        const char *head;
        int width;
} columns[_COL_N] = {
        [COL_NAME] = {"NAME", -24},
        [COL_SIZE] = {"SIZE", 11},
        [COL_ALLOCATED] = {"ALLOCATED", 11},
        [COL_HUGE] = {"HUGE", 9},
        [COL_MODE] = {"MODE", -4},
        [COL_UID] = {"UID", 5},
        [COL_GID] = {"GID", 5},
        [COL_REFS] = {"REFS", 4},
        [COL_FLAGS] = {"FLAGS", -9},
        [COL_SEALS] = {"SEALS", -11},
        [COL_CREATED] = {"CREATED", -20},
        [COL_PID] = {"PID", 7},
        [COL_COMMAND] = {"COMMAND", 0},
};

/* Columns that a cell takes on a terminal, if it has plain letters only. */
static int cell_width(const char *cell) {
        int width = 0;

        for (; *cell; cell++)
                if (((unsigned char)*cell & 0xc0) != 0x80)
                        width++;
        return width;
}

/* An empty cell is written as a dash, so that every line has the same number of words. */
static void cell_print(FILE *stream, enum column column, const char *cell) {
        int width = columns[column].width, padding;

        if (*cell == '\0')
                cell = "-";
        padding = (width < 0 ? -width : width) - cell_width(cell);
        if (padding < 0)
                padding = 0;
        if (width > 0)
                fprintf(stream, "%*s%s", padding, "", cell);
        else
                fprintf(stream, "%s%*s", cell, padding, "");
        fputs(column == _COL_N - 1 ? "\n" : "  ", stream);
}

static void cell_number(FILE *stream, enum column column, uint64_t number) {
        char cell[32];

        snprintf(cell, sizeof(cell), "%" PRIu64, number);
        cell_print(stream, column, cell);
}

static void cell_words(FILE *stream, enum column column, const struct node *node,
                       void (*write)(FILE *stream, const struct node *node, bool quoted)) {
        char cell[128] = "";
        FILE *words = fmemopen(cell, sizeof(cell), "w");

        if (words) {
                write(words, node, false);
                fclose(words);
        }
        cell_print(stream, column, cell);
}

/* length: at most PATH_MAX. */
static void cell_escaped(FILE *stream, enum column column, const char *text, size_t length) {
        char cell[4 * PATH_MAX + 1];

        words_escape(cell, text, length);
        cell_print(stream, column, cell);
}

void report_table_head(FILE *stream) {
        for (int i = 0; i < _COL_N; i++)
                cell_print(stream, (enum column)i, columns[i].head);
}

void report_table_region(FILE *stream, const struct node *node, const char *name, size_t length) {
        struct tm tm = report_birth(node);
        char cell[64];

        cell_escaped(stream, COL_NAME, name, length);
        cell_number(stream, COL_SIZE, node->size);
        cell_number(stream, COL_ALLOCATED, node->blocks);
        cell_number(stream, COL_HUGE, node->huge);
        snprintf(cell, sizeof(cell), "%04o", node->mode & 07777);
        cell_print(stream, COL_MODE, cell);
        cell_number(stream, COL_UID, node->uid);
        cell_number(stream, COL_GID, node->gid);
        cell_number(stream, COL_REFS, node->opens);
        cell_words(stream, COL_FLAGS, node, report_flags);
        cell_words(stream, COL_SEALS, node, report_seals);
        strftime(cell, sizeof(cell), "%Y-%m-%dT%H:%M:%SZ", &tm);
        cell_print(stream, COL_CREATED, cell);
        cell_number(stream, COL_PID, (uint64_t)node->creator_pid);
        cell_escaped(stream, COL_COMMAND, node->creator_name, report_creator_length(node));
}

void report_table_too_long(FILE *stream, uint64_t count) {
        char cell[32];

        if (count == 0)
                return;
        snprintf(cell, sizeof(cell), "too-long=%" PRIu64, count);
        for (int i = 0; i < _COL_N; i++)
                cell_print(stream, (enum column)i,
                           i == COL_NAME    ? "..."
                           : i == COL_FLAGS ? cell
                                            : "-");
}
