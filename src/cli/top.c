/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli.h"
#include "top_screen.h"

/* top: a live view of the regions; on a terminal, or as text. */

enum { INTERVAL_DEFAULT_S = 2 };

double top_now(void) {
        struct timespec at;

        clock_gettime(CLOCK_MONOTONIC, &at);
        return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

struct arguments {
        bool batch;
        uint64_t samples; /* 0: no limit */
};

static int parse_samples(const char *text, uint64_t *out) {
        char *end;

        errno = 0;
        *out = strtoull(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end || errno || *out == 0)
                return cli_misuse("not a number of samples: %s", text);
        return 0;
}

static int parse_delay(const char *text, double *out) {
        char *end;

        *out = strtod(text, &end);
        if (text[0] < '0' || text[0] > '9' || *end || *out < 0.1 || *out > 3600)
                return cli_misuse("not a time from 0.1 to 3600 seconds: %s", text);
        return 0;
}

static int parse_sort(const char *text, enum top_sort *out) {
        *out = top_sort_of(text);
        if (*out == _TOP_SORT_N)
                return cli_misuse("%s: sort by size, allocated, growth, users, age or name", text);
        return 0;
}

/* 0, or an exit status after a message. */
static int take_option(struct arguments *arguments, struct top_view *view, int option,
                       const char *argument) {
        switch (option) {
        case 'b':
                arguments->batch = true;
                return 0;
        case 'd':
                return parse_delay(argument, &view->interval);
        case 'F':
                snprintf(view->filter, sizeof(view->filter), "%s", argument);
                return 0;
        case 'n':
                return parse_samples(argument, &arguments->samples);
        case 'r':
                view->reverse = true;
                return 0;
        case 's':
                return parse_sort(argument, &view->sort);
        case 't':
                view->tree = true;
                return 0;
        default:
                return cli_try_help();
        }
}

static int parse(struct arguments *arguments, struct top_view *view, int argc, char **argv) {
        static const struct option options[] = {
                {"batch", no_argument, NULL, 'b'},
                {"delay", required_argument, NULL, 'd'},
                {"filter", required_argument, NULL, 'F'},
                {"iterations", required_argument, NULL, 'n'},
                {"reverse", no_argument, NULL, 'r'},
                {"sort", required_argument, NULL, 's'},
                {"tree", no_argument, NULL, 't'},
                {NULL, 0, NULL, 0},
        };
        int option, r;

        *arguments = (struct arguments){0};
        *view = (struct top_view){.sort = TOP_BY_SIZE, .interval = INTERVAL_DEFAULT_S};
        while ((option = cli_getopt(argc, argv, "bd:F:n:rs:t", options)) != -1) {
                r = take_option(arguments, view, option, optarg);
                if (r != 0)
                        return r;
        }
        return argc - optind > 1 ? cli_misuse("top takes one directory at most") : 0;
}

static void print_line(const char *text) {
        size_t length = strlen(text);

        while (length > 0 && text[length - 1] == ' ')
                length--;
        printf("%.*s\n", (int)length, text);
}

static bool print_frame(struct top_model *model, struct top_view *view) {
        struct top_frame frame;
        bool made;

        top_frame_make(&frame, model, view, TOP_WIDTH_MAX, 0);
        for (size_t i = 0; i < frame.n; i++)
                print_line(frame.lines[i].text);
        made = !frame.failed;
        top_frame_clear(&frame);
        return fflush(stdout) == 0 && made;
}

static void pause_for(double seconds) {
        struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

        while (nanosleep(&time, &time) < 0 && errno == EINTR)
                ;
}

/* One frame after the other, with an empty line between them. */
static int run_batch(struct top_model *model, struct top_view *view, uint64_t samples) {
        for (uint64_t i = 0; samples == 0 || i < samples; i++) {
                if (i > 0) {
                        pause_for(view->interval);
                        putchar('\n');
                }
                top_model_sample(model);
                top_model_take_events(model);
                if (model->error)
                        return cli_fail_iomem(model->error);
                if (!print_frame(model, view))
                        return ferror(stdout) ? CLI_FAILED : cli_fail("out of memory");
        }
        return EXIT_SUCCESS;
}

int cli_top(int argc, char **argv) {
        struct arguments arguments;
        struct top_model model;
        struct top_view view;
        int r = parse(&arguments, &view, argc, argv);

        if (r != 0)
                return r;
        r = top_model_open(&model, argv[optind]);
        if (r != 0)
                return r;
        if (arguments.batch)
                r = run_batch(&model, &view, arguments.samples);
        else
                r = top_screen_run(&model, &view, arguments.samples);
        top_model_close(&model);
        top_view_clear(&view);
        return r;
}
