/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/errno_text.h"
#include "base/size.h"
#include "json_out.h"

enum { OPTIONS_MAX = 32, WORD_MAX = 32 };

/* Messages */

static void complain(const char *format, va_list arguments) {
        fflush(stdout);
        fputs("iomem: ", stderr);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
}

int cli_fail(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        complain(format, arguments);
        va_end(arguments);
        return CLI_FAILED;
}

/* The exit status for a negative errno. */
static int status_of(int error) {
        switch (-error) {
        case ENOENT:
        case ENODEV:
        case ENOTDIR:
        case ENOTSOCK:
        case ECONNREFUSED:
        case ENOTCONN:
                return CLI_ABSENT;
        case EACCES:
        case EPERM:
        case EROFS:
                return CLI_DENIED;
        case ENOSPC:
        case ENOMEM:
        case EFBIG:
        case EDQUOT:
                return CLI_NO_ROOM;
        case ETIMEDOUT:
                return CLI_TIMED_OUT;
        case EEXIST:
        case EBUSY:
        case ENOTEMPTY:
                return CLI_IN_THE_WAY;
        default:
                return CLI_FAILED;
        }
}

int cli_fail_iomem(int error) {
        cli_fail("%s", iomem_error());
        return status_of(error);
}

int cli_fail_errno(int error, const char *what) {
        cli_fail("%s: %s", what, errno_text(error));
        return status_of(error);
}

int cli_try_help(void) {
        fputs("Try 'iomem --help' for more information.\n", stderr);
        return CLI_USAGE;
}

int cli_misuse(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        complain(format, arguments);
        va_end(arguments);
        return cli_try_help();
}

static unsigned int least(unsigned int a, unsigned int b) {
        return a < b ? a : b;
}

/* How many letters must be added, removed, changed or swapped to make one word of the other. */
static unsigned int distance(const char *one, const char *other) {
        unsigned int rows[3][WORD_MAX + 1];
        size_t n = strlen(other);

        if (strlen(one) > WORD_MAX || n > WORD_MAX)
                return WORD_MAX;
        for (unsigned int j = 0; j <= n; j++)
                rows[0][j] = j;
        for (unsigned int i = 1; one[i - 1]; i++) {
                unsigned int *row = rows[i % 3], *above = rows[(i + 2) % 3];

                row[0] = i;
                for (unsigned int j = 1; j <= n; j++) {
                        row[j] = least(least(row[j - 1], above[j]) + 1,
                                       above[j - 1] + (one[i - 1] != other[j - 1]));
                        if (i > 1 && j > 1 && one[i - 1] == other[j - 2] &&
                            one[i - 2] == other[j - 1])
                                row[j] = least(row[j], rows[(i + 1) % 3][j - 2] + 1);
                }
        }
        return rows[strlen(one) % 3][n];
}

const char *cli_suggest(const char *word, const char *const *names) {
        /* Half of a short word is no likeness. */
        unsigned int best = strlen(word) < 4 ? 2 : 3;
        const char *found = NULL;

        for (; *names; names++) {
                unsigned int letters = distance(word, *names);

                if (letters < best) {
                        best = letters;
                        found = *names;
                }
        }
        return found;
}

/* Options */

int cli_getopt(int argc, char **argv, const char *short_options, const struct option *options) {
        struct option all[OPTIONS_MAX] = {{"mount", required_argument, NULL, 'm'}};
        bool ordered = *short_options == '+';
        char letters[64];
        int n = 1, option;

        snprintf(letters, sizeof(letters), "%sm:%s", ordered ? "+" : "", short_options + ordered);
        while (options->name && n < OPTIONS_MAX - 1)
                all[n++] = *options++;
        while ((option = getopt_long(argc, argv, letters, all, NULL)) == 'm')
                cli_where = optarg;
        return option;
}

/* Words */

int cli_parse_size(const char *text, uint64_t *out) {
        int r = size_parse(text, strlen(text), out);

        if (r == -EFBIG)
                return cli_misuse("%s: size too large", text);
        return r < 0 ? cli_misuse("%s: not a size (" SIZE_HOW ")", text) : 0;
}

static void format_bits(char *buffer, size_t size, uint32_t bits, const char *const *names,
                        unsigned int n) {
        size_t used = 0;

        buffer[0] = '\0';
        for (unsigned int i = 0; i < n; i++)
                if (bits & 1u << i)
                        used += (size_t)snprintf(buffer + used, size - used, "%s%s",
                                                 used ? "," : "", names[i]);
}

void cli_format_flags(char *buffer, size_t size, uint32_t flags) {
        unsigned int n = 0;

        while (json_out_flags[n])
                n++;
        format_bits(buffer, size, flags, json_out_flags, n);
}

void cli_format_seals(char *buffer, size_t size, uint32_t seals) {
        format_bits(buffer, size, seals, json_out_seals, 3);
}

bool cli_parse_seals(const char *text, uint32_t *out) {
        *out = 0;
        for (;;) {
                size_t length = strcspn(text, ",");
                unsigned int i = 0;

                while (i < 3 && (strlen(json_out_seals[i]) != length ||
                                 memcmp(text, json_out_seals[i], length) != 0))
                        i++;
                if (i == 3)
                        return false;
                *out |= 1u << i;
                if (text[length] == '\0')
                        return true;
                text += length + 1;
        }
}

static void format_name(char *buffer, size_t size, const char *name, unsigned int id) {
        if (name)
                snprintf(buffer, size, "%s", name);
        else
                snprintf(buffer, size, "%u", id);
}

void cli_format_user(char *buffer, size_t size, uid_t uid) {
        const struct passwd *user = getpwuid(uid);

        format_name(buffer, size, user ? user->pw_name : NULL, uid);
}

void cli_format_group(char *buffer, size_t size, gid_t gid) {
        const struct group *group = getgrgid(gid);

        format_name(buffer, size, group ? group->gr_name : NULL, gid);
}
