/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *cli_where;

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
        return EXIT_FAILURE;
}

int cli_fail_iomem(void) {
        return cli_fail("%s", iomem_error());
}

int cli_try_help(void) {
        fputs("Try 'iomem --help' for more information.\n", stderr);
        return EXIT_FAILURE;
}

int cli_misuse(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        complain(format, arguments);
        va_end(arguments);
        return cli_try_help();
}

int cli_try_connect(struct iomem_connection **out, const char *argument, const char **name) {
        const char *slash = argument && argument[0] == '/' ? strrchr(argument, '/') : NULL;
        char *directory;
        int r;

        *name = argument;
        if (!slash)
                return iomem_connect(out, cli_where);
        *name = slash + 1;
        directory = strndup(argument, slash == argument ? 1 : (size_t)(slash - argument));
        if (!directory)
                return -ENOMEM;
        r = iomem_connect(out, directory);
        free(directory);
        return r;
}

struct iomem_connection *cli_connect(const char *argument, const char **name) {
        struct iomem_connection *connection = NULL;
        int r;

        if (argument && argument[0] == '/' && cli_where) {
                cli_fail("%s: with -m, names are relative", argument);
                return NULL;
        }
        r = cli_try_connect(&connection, argument, name);
        if (r == -ENOMEM)
                cli_fail("out of memory");
        else if (r < 0)
                cli_fail_iomem();
        return connection;
}

bool cli_parse_size(const char *text, uint64_t *out) {
        static const char units[] = "kmgt";
        const char *unit;
        char *end;
        unsigned int shift = 0;

        if (text[0] < '0' || text[0] > '9')
                return false;
        unsigned long long number = strtoull(text, &end, 10);
        unit = *end ? strchr(units, *end | 0x20) : NULL;
        if (unit) {
                shift = 10 * (unsigned int)(unit - units + 1);
                end++;
                if (strcmp(end, "iB") == 0)
                        end += 2;
        }
        if (*end || number > (uint64_t)INT64_MAX >> shift)
                return false;
        *out = (uint64_t)number << shift;
        return true;
}

void cli_format_size(char *buffer, size_t size, uint64_t bytes) {
        static const char units[] = "BKMGTPE";
        unsigned int unit = 0;
        uint64_t whole = bytes, rest = 0, tenths;

        while (whole >= 1024) {
                rest = whole % 1024;
                whole /= 1024;
                unit++;
        }
        tenths = (rest * 10 + 512) / 1024;
        whole += tenths / 10;
        tenths %= 10;
        if (unit == 0)
                snprintf(buffer, size, "%" PRIu64 "B", bytes);
        else if (tenths == 0)
                snprintf(buffer, size, "%" PRIu64 "%c", whole, units[unit]);
        else
                snprintf(buffer, size, "%" PRIu64 ".%" PRIu64 "%c", whole, tenths, units[unit]);
}

static const char *const flag_names[] = {"fixed",         "ephemeral",       "populate",
                                         "huge",          "populating",      "owner=process",
                                         "owner=service", "owner=container", "owner-ended"};
static const char *const seal_names[] = {"shrink", "grow", "write"};

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
        format_bits(buffer, size, flags, flag_names, sizeof(flag_names) / sizeof(*flag_names));
}

void cli_format_seals(char *buffer, size_t size, uint32_t seals) {
        format_bits(buffer, size, seals, seal_names, 3);
}

bool cli_parse_seals(const char *text, uint32_t *out) {
        *out = 0;
        for (;;) {
                size_t length = strcspn(text, ",");
                unsigned int i = 0;

                while (i < 3 && (strlen(seal_names[i]) != length ||
                                 memcmp(text, seal_names[i], length) != 0))
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
