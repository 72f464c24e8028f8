/* SPDX-License-Identifier: MIT */
#include "name.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "error.h"

enum { COMPONENT_MAX = 255, PATH_BYTES_MAX = 4095 };

static bool component_is(const char *name, size_t length, const char *what) {
        return length == strlen(what) && memcmp(name, what, length) == 0;
}

int name_check(const char *name) {
        if (!name)
                return error_set(-EINVAL, "the name is missing");
        if (strlen(name) > PATH_BYTES_MAX)
                return error_set(-ENAMETOOLONG, "%.64s...: name too long", name);
        for (const char *at = name;; at++) {
                size_t length = strcspn(at, "/");

                if (length == 0 || component_is(at, length, ".") ||
                    component_is(at, length, "..") || component_is(at, length, ".ctl"))
                        return error_set(-EINVAL, "%s: not a path below the file system's root",
                                         name);
                if (length > COMPONENT_MAX)
                        return error_set(-ENAMETOOLONG, "%.64s...: name too long", at);
                at += length;
                if (*at == '\0')
                        return 0;
        }
}

static char *escape(char *out, const char *end, const char *text) {
        for (; *text && end - out > 4; text++) {
                unsigned char c = (unsigned char)*text;

                if (c <= ' ' || c == '\\' || c == 0x7f)
                        out += sprintf(out, "\\%03o", c);
                else
                        *out++ = (char)c;
        }
        *out = '\0';
        return out;
}

void name_escape(char out[NAME_ESCAPED_MAX], const char *prefix, const char *name) {
        const char *end = out + NAME_ESCAPED_MAX;

        escape(escape(out, end, prefix), end, name);
}

void name_unescape(char *name) {
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
