/* SPDX-License-Identifier: MIT */
#include "control/report_json.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include "base/words.h"
#include "control/report.h"

/* Strings */

/* A character that must not reach a terminal is written as its number, which means the same to a
 * parser. */
static void json_character(FILE *stream, const char *text, size_t n, uint32_t code) {
        if (code == '"' || code == '\\')
                fprintf(stream, "\\%c", (int)code);
        else if (words_is_control(code))
                fprintf(stream, "\\u%04x", code);
        else
                fwrite(text, 1, n, stream);
}

static void json_string(FILE *stream, const char *text, size_t length) {
        uint32_t code;

        fputc('"', stream);
        while (length > 0) {
                size_t n = words_character(text, length, &code);

                if (n == 0)
                        fputs("\xef\xbf\xbd", stream); /* U+FFFD */
                else
                        json_character(stream, text, n, code);
                text += n ? n : 1;
                length -= n ? n : 1;
        }
        fputc('"', stream);
}

/* A member; if its bytes are no UTF-8, also a member with the escaped bytes.  At most PATH_MAX
 * bytes. */
static void json_bytes(FILE *stream, const char *key, const char *text, size_t length) {
        char escaped[4 * PATH_MAX + 1];

        fprintf(stream, "\"%s\": ", key);
        json_string(stream, text, length);
        if (words_is_utf8(text, length))
                return;
        length = words_escape(escaped, text, length);
        fprintf(stream, ", \"%s_escaped\": ", key);
        json_string(stream, escaped, length);
}

/* Regions */

static void json_time(char text[64], const struct node *node) {
        struct tm tm = report_birth(node);
        size_t length = strftime(text, 64, "%Y-%m-%dT%H:%M:%S", &tm);

        snprintf(text + length, 64 - length, ".%06dZ", (int)(node->btime.nsec / 1000));
}

void report_json_region(FILE *stream, const struct node *node, const char *name, size_t length) {
        char created[64];

        json_time(created, node);
        fputc('{', stream);
        json_bytes(stream, "name", name, length);
        fprintf(stream,
                ", \"size\": %" PRIu64 ", \"allocated\": %" PRIu64 ", \"huge\": %" PRIu64
                ", \"mode\": \"%04o\""
                ", \"uid\": %u, \"gid\": %u, \"inode\": %" PRIu64 ", \"links\": %u, \"refs\": %u"
                ", \"writers\": %u, \"flags\": [",
                node->size, node->blocks, node->huge, node->mode & 07777, node->uid, node->gid,
                node->ino, node->nlink, node->opens, node->writers);
        report_flags(stream, node, true);
        fputs("], \"seals\": [", stream);
        report_seals(stream, node, true);
        fprintf(stream, "], \"created\": \"%s\", \"creator_uid\": %u, \"creator_pid\": %d, ",
                created, node->creator_uid, node->creator_pid);
        json_bytes(stream, "creator_command", node->creator_name, report_creator_length(node));
        fputc('}', stream);
}

int report_region(FILE *stream, struct regions *regions, struct node *node, const char *name) {
        struct stat st;
        int r;

        r = region_stat(regions, node, &st);
        if (r < 0)
                return r;
        report_json_region(stream, node, name, strlen(name));
        return 0;
}

/* Attributes */

static void attribute_created(FILE *stream, const struct node *node) {
        char text[64];

        json_time(text, node);
        fputs(text, stream);
}

static void attribute_creator_uid(FILE *stream, const struct node *node) {
        fprintf(stream, "%u", node->creator_uid);
}

static void attribute_creator_pid(FILE *stream, const struct node *node) {
        fprintf(stream, "%d", node->creator_pid);
}

static void attribute_creator_command(FILE *stream, const struct node *node) {
        fwrite(node->creator_name, 1, report_creator_length(node), stream);
}

static void attribute_refs(FILE *stream, const struct node *node) {
        fprintf(stream, "%u", node->opens);
}

static void attribute_writers(FILE *stream, const struct node *node) {
        fprintf(stream, "%u", node->writers);
}

static void attribute_flags(FILE *stream, const struct node *node) {
        report_flags(stream, node, false);
}

static void attribute_seals(FILE *stream, const struct node *node) {
        report_seals(stream, node, false);
}

static void attribute_huge(FILE *stream, const struct node *node) {
        fprintf(stream, "%" PRIu64, node->huge);
}

/* The values that stat(2) does not return. */
static const struct attribute {
        const char *name;
        void (*write)(FILE *stream, const struct node *node);
} attributes[] = {
        {"created", attribute_created},
        {"creator_uid", attribute_creator_uid},
        {"creator_pid", attribute_creator_pid},
        {"creator_command", attribute_creator_command},
        {"refs", attribute_refs},
        {"writers", attribute_writers},
        {"flags", attribute_flags},
        {"seals", attribute_seals},
        {"huge", attribute_huge},
};

int report_attribute(FILE *stream, struct regions *regions, struct node *node, const char *name) {
        for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
                struct stat st;
                int r;

                if (strcmp(attributes[i].name, name) != 0)
                        continue;
                r = region_stat(regions, node, &st);
                if (r == 0)
                        attributes[i].write(stream, node);
                return r;
        }
        return -ENODATA;
}

/* Limits */

void report_json_limit(FILE *stream, const char *path, size_t length, const struct space *space,
                       const struct limit *nodes) {
        fputc('{', stream);
        json_bytes(stream, "directory", path, length);
        fprintf(stream,
                ", \"size\": %" PRIu64 ", \"used\": %" PRIu64 ", \"overcommitted\": %" PRIu64
                ", \"inodes\": %" PRIu64 ", \"inodes_used\": %" PRIu64 "}",
                space->limit, space->used, space->over, nodes->nodes, nodes->used_nodes);
}
