/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "json_out.h"

/*
 * events: prints events as they happen.  They come from a file of .ctl, so the mount must be
 * visible.  Its lines are `SEQUENCE KIND NAME [KEY=VALUE ...]`.
 */

/* Takes the next word off the line; NULL at its end. */
static char *take_word(char **line) {
        char *word = *line + strspn(*line, " ");

        if (!*word)
                return NULL;
        *line = word + strcspn(word, " ");
        if (**line)
                *(*line)++ = '\0';
        return word;
}

/* Replaces the escapes of a name by their bytes. */
static void unescape(char *name) {
        char *out = name;

        for (; *name; name++) {
                if (name[0] == '\\' && strspn(name + 1, "01234567") >= 3) {
                        *out++ = (char)((name[1] - '0') * 64 + (name[2] - '0') * 8 + name[3] - '0');
                        name += 3;
                } else {
                        *out++ = *name;
                }
        }
        *out = '\0';
}

static void put_name(struct json_out *out, const char *escaped) {
        char *name = strdup(escaped);

        if (!name)
                abort();
        unescape(name);
        json_out_bytes(out, "name", name);
        free(name);
}

/* `size=4096`: bytes, ids and counts are numbers, seals are words. */
static void put_detail(struct json_out *out, const char *key, const char *value) {
        bool number = *value && value[strspn(value, "0123456789")] == '\0';

        if (!number)
                json_out_text(out, key, value);
        else if (strcmp(key, "seals") == 0) /* the kernel's F_SEAL_SHRINK is 2 */
                json_out_words(out, key, (uint32_t)strtoul(value, NULL, 10) >> 1, cli_seal_names);
        else if (strcmp(key, "uid") == 0)
                json_out_user(out, key, "user", (uid_t)strtoul(value, NULL, 10));
        else
                json_out_number(out, key, strtoll(value, NULL, 10));
}

/* Prints one JSON object on a line of its own. */
static void print_json(char *line) {
        char *sequence = take_word(&line), *kind = take_word(&line), *name = take_word(&line);
        struct json_out out = {.stream = stdout};
        char *pair;

        if (!name)
                return;
        putchar('{');
        json_out_number(&out, "sequence", strtoll(sequence, NULL, 10));
        json_out_text(&out, "event", kind);
        if (strcmp(name, "-") != 0)
                put_name(&out, name);
        while ((pair = take_word(&line))) {
                char *value = strchr(pair, '=');

                if (!value)
                        continue;
                *value++ = '\0';
                put_detail(&out, pair, value);
        }
        puts("}");
}

static int follow(FILE *events, const char *path, bool json) {
        char *line = NULL;
        size_t size = 0;

        while (getline(&line, &size, events) > 0) {
                line[strcspn(line, "\n")] = '\0';
                if (json)
                        print_json(line);
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
