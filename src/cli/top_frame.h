/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * top_frame: the lines that `iomem top` shows, made of what the model knows and of what the user
 * wants to see.  The same lines go to a terminal and, in batch mode, to a file.
 *
 * Owns the frame's lines and the order of the rows.  Never: knows a terminal.
 */

#include "top_model.h"

enum { TOP_WIDTH_MAX = 1024 };

enum top_sort {
        TOP_BY_SIZE,
        TOP_BY_ALLOCATED,
        TOP_BY_GROWTH,
        TOP_BY_USERS,
        TOP_BY_AGE,
        TOP_BY_NAME,
        _TOP_SORT_N,
};

/* How a line looks. */
enum top_look {
        TOP_PLAIN,
        TOP_TITLE,
        TOP_HEADING,
        TOP_BAR,      /* less than 75% used */
        TOP_BAR_HIGH, /* less than 90% */
        TOP_BAR_FULL,
        TOP_DIRECTORY,
        TOP_POPULATING,
        TOP_RESTART,
        TOP_SELECTED,
        _TOP_LOOK_N,
};

/* What the user wants to see. */
struct top_view {
        enum top_sort sort;
        bool reverse, tree, paused, help;
        char filter[128];
        bool typing; /* the filter */
        double interval;
        size_t first;    /* row at the top */
        size_t selected; /* row */
        /* Directories of the tree that are closed: paths, to be freed. */
        char **closed;
        size_t n_closed;
};

struct top_line {
        enum top_look look;
        char *text; /* to be freed */
};

struct top_frame {
        struct top_line *lines;
        size_t n, capacity;
        size_t n_rows;  /* of regions and directories that the filter lets through */
        size_t page;    /* rows that fit */
        char *selected; /* name of the selected row, to be freed; NULL for none */
        bool failed;    /* there was no memory */
};

/* The word of -s, or _TOP_SORT_N. */
enum top_sort top_sort_of(const char *word);
/* Makes the frame for that many columns and lines; 0 lines: as many as there are. */
void top_frame_make(struct top_frame *frame, const struct top_model *model, struct top_view *view,
                    unsigned int columns, unsigned int lines);
void top_frame_clear(struct top_frame *frame);
/* Opens or closes a directory of the tree. */
void top_view_toggle(struct top_view *view, const char *directory);
void top_view_clear(struct top_view *view);
