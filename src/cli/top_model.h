/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * top_model: what `iomem top` knows: the regions now and a moment ago, the mount's numbers, and the
 * latest events.
 *
 * Owns the connection, the reader of events and all rows.  Never: draws, waits for an event.
 */

#include <stdbool.h>
#include <stdint.h>
#include "iomem.h"

enum { TOP_EVENTS = 64, TOP_EVENT_TEXT = 256 };

/* A region, or in the tree a directory with the sums of what is below it. */
struct top_row {
        char *name; /* path below the listed directory, to be freed */
        bool directory;
        unsigned int depth;  /* components before the last one */
        int parent;          /* in the tree: the directory's row, -1 for none */
        unsigned int number; /* of regions */
        struct iomem_stat region;
        double growth; /* bytes of memory a second */
};

/* Of a limit: the whole mount's, or a tree's. */
struct top_limit {
        char *name;                               /* to be freed */
        uint64_t used, limit, files, files_limit; /* a limit of 0: none */
};

/* One event, as it is shown. */
struct top_event {
        char text[TOP_EVENT_TEXT];
        bool restart;
};

struct top_numbers {
        bool known; /* .ctl/stats could be read */
        bool all;   /* with the numbers for the administrator */
        bool passthrough;
        double requests; /* of the kernel and commands, until now */
        double restarts;
        double used, size, files, files_max;
};

struct top_model {
        struct iomem_connection *connection;
        struct iomem_events *events_reader; /* NULL: the mount is not visible */
        char mount[4096];                   /* the directory; "" if it is not visible */
        const char *directory;              /* what is listed; NULL for all */

        struct top_row *rows; /* regions only, by name */
        size_t n, capacity;
        struct top_limit *limits;
        size_t n_limits;
        struct top_numbers numbers;
        double requests_rate; /* a second; negative: not known yet */
        double at;            /* seconds, of the sample */
        uint64_t cost_ms;     /* what the sample took */
        int error;            /* of the last sample: 0 or negative errno */

        struct top_event events[TOP_EVENTS]; /* a ring */
        uint64_t n_events;                   /* ever */

        /* Inode and memory of each region of the sample before, by inode. */
        struct top_before {
                uint64_t inode, allocated;
        } * before;
        size_t n_before;
};

/* 0, or an exit status after a message.  directory: argument of the command, or NULL. */
int top_model_open(struct top_model *model, const char *directory);
void top_model_close(struct top_model *model);
/* Looks again.  0 or negative errno, which is also in model->error: the old rows stay then. */
int top_model_sample(struct top_model *model);
/* Takes the events that there are; returns how many. */
unsigned int top_model_take_events(struct top_model *model);
/* Adds the directories to rows, which are by name: *out has n rows, to be freed with
 * top_rows_free(). */
int top_model_tree(struct top_row **out, size_t *n, const struct top_row *rows, size_t n_rows);
void top_rows_free(struct top_row *rows, size_t n);
