/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "base/words.h"
#include "cli.h"

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

/* Prints a JSON string; each byte that is no UTF-8 becomes U+FFFD. */
static void print_string(const char *text) {
        size_t length = strlen(text), n;
        uint32_t code;

        putchar('"');
        for (; length > 0; text += n, length -= n) {
                n = words_character(text, length, &code);
                if (n == 0)
                        fputs("\xef\xbf\xbd", stdout);
                else if (code == '"' || code == '\\')
                        printf("\\%c", (int)code);
                else if (words_is_control(code))
                        printf("\\u%04x", code);
                else
                        fwrite(text, 1, n, stdout);
                n = n ? n : 1;
        }
        putchar('"');
}

static void print_name(const char *escaped) {
        char *name = strdup(escaped);

        if (!name)
                abort();
        unescape(name);
        printf(", \"name\": ");
        print_string(name);
        if (!words_is_utf8(name, strlen(name))) {
                printf(", \"name_escaped\": ");
                print_string(escaped);
        }
        free(name);
}

static void print_value(const char *value) {
        if (*value && value[strspn(value, "0123456789")] == '\0')
                fputs(value, stdout);
        else
                print_string(value);
}

/* Prints one JSON object on a line of its own. */
static void print_json(char *line) {
        char *sequence = take_word(&line), *kind = take_word(&line), *name = take_word(&line);
        char *pair;

        if (!name)
                return;
        printf("{\"sequence\": ");
        print_value(sequence);
        printf(", \"event\": ");
        print_string(kind);
        if (strcmp(name, "-") != 0)
                print_name(name);
        while ((pair = take_word(&line))) {
                char *value = strchr(pair, '=');

                if (!value)
                        continue;
                *value++ = '\0';
                printf(", ");
                print_string(pair);
                printf(": ");
                print_value(value);
        }
        printf("}\n");
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
