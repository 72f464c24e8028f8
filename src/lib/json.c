/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "name.h"

enum { DEPTH_MAX = 32, KEY_MAX = 64 };

struct reader {
        const char *at, *end;
        bool failed;
};

static char peek(struct reader *reader) {
        while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) && *reader->at)
                reader->at++;
        return reader->at < reader->end ? *reader->at : '\0';
}

static bool take(struct reader *reader, char c) {
        if (peek(reader) != c || c == '\0')
                return false;
        reader->at++;
        return true;
}

static void expect(struct reader *reader, char c) {
        if (!take(reader, c))
                reader->failed = true;
}

/* Strings */

struct string {
        char *at;
        char *last; /* the last place where the terminator may go */
};

static void string_add(struct string *string, unsigned int c) {
        if (string->at < string->last)
                *string->at++ = (char)c;
}

/* Appends UTF-8; \udc80 to \udcff stand for the bytes 0x80 to 0xff. */
static void string_add_code(struct string *string, unsigned int code) {
        if (code >= 0xdc80 && code <= 0xdcff) {
                string_add(string, code - 0xdc00);
        } else if (code < 0x80) {
                string_add(string, code);
        } else if (code < 0x800) {
                string_add(string, 0xc0 | code >> 6);
                string_add(string, 0x80 | (code & 0x3f));
        } else {
                string_add(string, 0xe0 | code >> 12);
                string_add(string, 0x80 | (code >> 6 & 0x3f));
                string_add(string, 0x80 | (code & 0x3f));
        }
}

static unsigned int read_hex(struct reader *reader) {
        unsigned int code = 0;

        for (int i = 0; i < 4; i++) {
                const char *digits = "0123456789abcdef", *found;

                if (reader->at == reader->end || !*reader->at ||
                    !(found = strchr(digits, *reader->at | (*reader->at > '9' ? 0x20 : 0)))) {
                        reader->failed = true;
                        return 0;
                }
                code = code * 16 + (unsigned int)(found - digits);
                reader->at++;
        }
        return code;
}

static void read_escape(struct reader *reader, struct string *string) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *found;
        char c;

        if (reader->at == reader->end) {
                reader->failed = true;
                return;
        }
        c = *reader->at++;
        found = c ? strchr(from, c) : NULL;
        if (c == 'u')
                string_add_code(string, read_hex(reader));
        else if (found)
                string_add(string, (unsigned char)to[found - from]);
        else
                reader->failed = true;
}

/* Reads into buffer, cut to its size; size 0: skips the string. */
static void read_string(struct reader *reader, char *buffer, size_t size) {
        char none;
        struct string string = {&none, &none};

        if (size > 0)
                string = (struct string){buffer, buffer + size - 1};
        expect(reader, '"');
        while (!reader->failed) {
                if (reader->at == reader->end) {
                        reader->failed = true;
                        break;
                }
                unsigned char c = (unsigned char)*reader->at++;
                if (c == '"')
                        break;
                if (c == '\\')
                        read_escape(reader, &string);
                else
                        string_add(&string, c);
        }
        *string.at = '\0';
}

/* A string in which a backslash and three octal digits stand for a byte. */
static void read_escaped(struct reader *reader, char *buffer, size_t size) {
        char text[NAME_ESCAPED_MAX];
        struct string string = {buffer, buffer + size - 1};

        read_string(reader, text, sizeof(text));
        for (const char *at = text; *at; at++) {
                if (*at == '\\' && strspn(at + 1, "01234567") >= 3) {
                        string_add(&string, (unsigned int)((at[1] - '0') * 64 + (at[2] - '0') * 8 +
                                                           at[3] - '0'));
                        at += 3;
                } else {
                        string_add(&string, (unsigned char)*at);
                }
        }
        *string.at = '\0';
}

/* Numbers */

static int64_t read_number(struct reader *reader) {
        bool negative = take(reader, '-');
        uint64_t value = 0;

        if (peek(reader) < '0' || peek(reader) > '9')
                reader->failed = true;
        while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
                value = value * 10 + (uint64_t)(*reader->at++ - '0');
        /* The daemon writes no fractions and exponents, so they are skipped. */
        while (reader->at < reader->end && *reader->at && strchr(".eE+-0123456789", *reader->at))
                reader->at++;
        return (int64_t)(negative ? 0 - value : value);
}

/* Unknown values */

static void skip_value(struct reader *reader, int depth);

static void skip_members(struct reader *reader, char close, int depth) {
        reader->at++;
        if (take(reader, close))
                return;
        do {
                if (close == '}') {
                        read_string(reader, NULL, 0);
                        expect(reader, ':');
                }
                skip_value(reader, depth + 1);
        } while (!reader->failed && take(reader, ','));
        expect(reader, close);
}

static void skip_value(struct reader *reader, int depth) {
        char c = peek(reader);

        if (depth > DEPTH_MAX || c == '\0')
                reader->failed = true;
        else if (c == '"')
                read_string(reader, NULL, 0);
        else if (c == '{' || c == '[')
                skip_members(reader, c == '{' ? '}' : ']', depth);
        else if (c >= 'a' && c <= 'z')
                while (reader->at < reader->end && *reader->at >= 'a' && *reader->at <= 'z')
                        reader->at++;
        else
                read_number(reader);
}

/* Regions */

static const struct word {
        const char *name;
        unsigned int value;
} words[] = {
        {"fixed", IOMEM_FIXED},
        {"ephemeral", IOMEM_EPHEMERAL},
        {"populate", IOMEM_POPULATE},
        {"huge", IOMEM_HUGE},
        {"shrink", IOMEM_SEAL_SHRINK},
        {"grow", IOMEM_SEAL_GROW},
        {"write", IOMEM_SEAL_WRITE},
        {"populating", IOMEM_POPULATING},
        {"owner=process", IOMEM_OWNER_PROCESS},
        {"owner=service", IOMEM_OWNER_SERVICE},
        {"owner=container", IOMEM_OWNER_CONTAINER},
        {"owner-ended", IOMEM_OWNER_ENDED},
        {"sparse", IOMEM_SPARSE},
};

/* Reads an array of words; returns their bits. */
static uint32_t read_words(struct reader *reader) {
        char word[KEY_MAX];
        uint32_t bits = 0;

        expect(reader, '[');
        if (take(reader, ']'))
                return 0;
        do {
                read_string(reader, word, sizeof(word));
                for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
                        if (strcmp(word, words[i].name) == 0)
                                bits |= words[i].value;
        } while (!reader->failed && take(reader, ','));
        expect(reader, ']');
        return bits;
}

/* Reads a time such as 2026-01-31T12:00:00.123456Z. */
static void read_time(struct reader *reader, struct iomem_stat *out) {
        char text[KEY_MAX];
        struct tm tm = {0};
        const char *rest;
        uint32_t scale = 100000000;

        read_string(reader, text, sizeof(text));
        rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
        if (!rest)
                return;
        out->created = timegm(&tm);
        if (*rest != '.')
                return;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, scale /= 10)
                out->created_nsec += scale * (uint32_t)(*rest - '0');
}

static void read_mode(struct reader *reader, struct iomem_stat *out) {
        char text[KEY_MAX];

        read_string(reader, text, sizeof(text));
        out->mode = (uint32_t)strtoul(text, NULL, 8);
}

struct number_member {
        const char *key;
        void *field;
        size_t size;
};

/* Reads the member if it is one of these. */
static bool read_number_of(struct reader *reader, const char *key,
                           const struct number_member *members, size_t n) {
        for (size_t i = 0; i < n; i++) {
                int64_t number;
                uint32_t half;

                if (strcmp(key, members[i].key) != 0)
                        continue;
                number = read_number(reader);
                half = (uint32_t)number;
                memcpy(members[i].field, members[i].size == 8 ? (void *)&number : (void *)&half,
                       members[i].size);
                return true;
        }
        return false;
}

static bool read_number_member(struct reader *reader, const char *key, struct iomem_stat *out) {
        const struct number_member members[] = {
                {"size", &out->size, 8},
                {"allocated", &out->allocated, 8},
                {"huge", &out->huge, 8},
                {"inode", &out->inode, 8},
                {"uid", &out->uid, 4},
                {"gid", &out->gid, 4},
                {"links", &out->links, 4},
                {"refs", &out->refs, 4},
                {"writers", &out->writers, 4},
                {"creator_uid", &out->creator_uid, 4},
                {"creator_pid", &out->creator_pid, 4},
        };

        return read_number_of(reader, key, members, sizeof(members) / sizeof(*members));
}

static void read_member(struct reader *reader, const char *key, struct iomem_stat *out) {
        if (strcmp(key, "creator_command") == 0)
                read_string(reader, out->creator_command, sizeof(out->creator_command));
        else if (strcmp(key, "creator_command_escaped") == 0)
                read_escaped(reader, out->creator_command, sizeof(out->creator_command));
        else if (strcmp(key, "mode") == 0)
                read_mode(reader, out);
        else if (strcmp(key, "flags") == 0)
                out->flags = read_words(reader);
        else if (strcmp(key, "seals") == 0)
                out->seals = read_words(reader);
        else if (strcmp(key, "created") == 0)
                read_time(reader, out);
        else if (!read_number_member(reader, key, out))
                skip_value(reader, 0);
}

/* name: JSON_NAME_MAX bytes, or NULL to skip it. */
static void read_region(struct reader *reader, char *name, struct iomem_stat *out) {
        char key[KEY_MAX];

        memset(out, 0, sizeof(*out));
        if (name)
                name[0] = '\0';
        expect(reader, '{');
        if (take(reader, '}'))
                return;
        do {
                read_string(reader, key, sizeof(key));
                expect(reader, ':');
                if (reader->failed)
                        break;
                if (strcmp(key, "name") == 0)
                        read_string(reader, name, name ? JSON_NAME_MAX : 0);
                else if (name && strcmp(key, "name_escaped") == 0)
                        read_escaped(reader, name, JSON_NAME_MAX);
                else
                        read_member(reader, key, out);
        } while (!reader->failed && take(reader, ','));
        expect(reader, '}');
}

int json_region(const char *text, size_t length, struct iomem_stat *out) {
        struct reader reader = {text, text + length, false};

        read_region(&reader, NULL, out);
        return reader.failed ? -EBADMSG : 0;
}

struct visit {
        iomem_list_fn region;
        iomem_space_fn space;
        void *userdata;
};

static int visit_region(struct reader *reader, const struct visit *visit) {
        char name[JSON_NAME_MAX];
        struct iomem_stat region;

        read_region(reader, name, &region);
        return reader->failed ? 0 : visit->region(visit->userdata, name, &region);
}

static int visit_space(struct reader *reader, const struct visit *visit) {
        char name[JSON_NAME_MAX] = "", key[KEY_MAX];
        struct iomem_space space = {0};
        const struct number_member members[] = {
                {"size", &space.size, 8},
                {"used", &space.used, 8},
                {"overcommitted", &space.overcommitted, 8},
                {"inodes", &space.inodes, 8},
                {"inodes_used", &space.inodes_used, 8},
        };

        expect(reader, '{');
        do {
                read_string(reader, key, sizeof(key));
                expect(reader, ':');
                if (strcmp(key, "directory") == 0)
                        read_string(reader, name, sizeof(name));
                else if (strcmp(key, "directory_escaped") == 0)
                        read_escaped(reader, name, sizeof(name));
                else if (!reader->failed &&
                         !read_number_of(reader, key, members, sizeof(members) / sizeof(*members)))
                        skip_value(reader, 0);
        } while (!reader->failed && take(reader, ','));
        expect(reader, '}');
        return reader->failed ? 0 : visit->space(visit->userdata, name, &space);
}

static int read_array(struct reader *reader, const struct visit *visit) {
        int r = 0;

        expect(reader, '[');
        if (take(reader, ']'))
                return 0;
        do {
                r = visit->region ? visit_region(reader, visit) : visit_space(reader, visit);
        } while (!reader->failed && r == 0 && take(reader, ','));
        if (r == 0)
                expect(reader, ']');
        return r;
}

/* Visits the arrays with these names; the first one must be there. */
static int read_lists(const char *text, size_t length, const char *list, const char *further,
                      const struct visit *visit) {
        struct reader reader = {text, text + length, false};
        bool found = false;
        char key[KEY_MAX];
        int r = 0;

        expect(&reader, '{');
        do {
                bool wanted;

                read_string(&reader, key, sizeof(key));
                expect(&reader, ':');
                wanted = strcmp(key, list) == 0;
                if (!reader.failed && (wanted || (further && strcmp(key, further) == 0)))
                        r = read_array(&reader, visit);
                else
                        skip_value(&reader, 0);
                found |= wanted;
        } while (!reader.failed && r == 0 && take(&reader, ','));
        return reader.failed || (!found && r == 0) ? -EBADMSG : r;
}

int json_regions(const char *text, size_t length, bool all, iomem_list_fn fn, void *userdata) {
        const struct visit visit = {.region = fn, .userdata = userdata};

        return read_lists(text, length, "regions", all ? "populating" : NULL, &visit);
}

int json_spaces(const char *text, size_t length, iomem_space_fn fn, void *userdata) {
        const struct visit visit = {.space = fn, .userdata = userdata};

        return read_lists(text, length, "limits", NULL, &visit);
}
