/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "event_json.h"

/*
 * events: prints events as they happen.  They come from a file of .ctl, so the mount must be
 * visible.
 */

static int follow(FILE *events, const char *path, bool json) {
        char *line = NULL;
        size_t size = 0;

        while (getline(&line, &size, events) > 0) {
                line[strcspn(line, "\n")] = '\0';
                if (json)
                        event_json(stdout, line);
                else
                        puts(line);
                if (fflush(stdout) != 0)
                        break;
        }
        free(line);
        return ferror(events) ? cli_fail_errno(-errno, path) : EXIT_SUCCESS;
}

/* The directory: a path, or a name in the place where names are. */
static int open_events(FILE **out, char path[PATH_MAX], const char *directory) {
        int r = directory && cli_is_path(directory) && cli_where
                        ? cli_misuse("%s: with -m, names are relative to that", directory)
                        : 0;

        if (r != 0)
                return r;
        if (!directory || cli_is_path(directory))
                snprintf(path, PATH_MAX, "%s/.ctl/events", directory ? directory : cli_place());
        else
                snprintf(path, PATH_MAX, "%s/%s/.ctl/events", cli_place(), directory);
        *out = fopen(path, "re");
        return *out ? 0 : cli_fail_errno(-errno, path);
}

int cli_events(int argc, char **argv) {
        static const struct option options[] = {
                {"json", no_argument, NULL, 'J'},
                {NULL, 0, NULL, 0},
        };
        char path[PATH_MAX];
        bool json = false;
        FILE *events;
        int option, r;

        while ((option = cli_getopt(argc, argv, "J", options)) != -1) {
                if (option != 'J')
                        return cli_try_help();
                json = true;
        }
        if (argc - optind > 1)
                return cli_misuse("events takes one directory at most");
        r = open_events(&events, path, argv[optind]);
        if (r != 0)
                return r;
        r = follow(events, path, json);
        fclose(events);
        return r;
}
