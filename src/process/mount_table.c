/* SPDX-License-Identifier: MIT */
#include "process/mount_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mount_table {
        FILE *file;
        char *text;
        size_t size;
        struct mount_line line;
};

struct mount_table *mount_table_open(const char *pid) {
        struct mount_table *table = calloc(1, sizeof(*table));
        char path[64];

        if (!table)
                return NULL;
        snprintf(path, sizeof(path), "/proc/%s/mountinfo", pid);
        table->file = fopen(path, "re");
        return table->file ? table : mount_table_close(table);
}

struct mount_table *mount_table_close(struct mount_table *table) {
        if (!table)
                return NULL;
        if (table->file)
                fclose(table->file);
        free(table->text);
        free(table);
        return NULL;
}

static bool is_octal(const char *digits) {
        return strspn(digits, "01234567") >= 3;
}

/* Blanks and backslashes are written as \040, \134, ... */
static void unescape(char *text) {
        char *out = text;

        while (*text) {
                if (text[0] == '\\' && is_octal(text + 1)) {
                        *out++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + text[3] - '0');
                        text += 4;
                } else {
                        *out++ = *text++;
                }
        }
        *out = '\0';
}

/* The field after the blank that ends the one at text, which is terminated there. */
static char *next_field(char *text) {
        char *blank = text ? strchr(text, ' ') : NULL;

        if (!blank)
                return NULL;
        *blank = '\0';
        return blank + 1;
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue" */
static bool line_parse(struct mount_line *out, char *text) {
        char *rest = strstr(text, " - "), *path, *user;
        unsigned long major, minor;

        *out = (struct mount_line){0};
        if (!rest || sscanf(text, "%lu %*u %lu:%lu", &out->id, &major, &minor) != 3)
                return false;
        user = strstr(rest, "user_id=");
        out->user = user ? strtoul(user + strlen("user_id="), NULL, 10) : 0;
        out->device = major == 0 ? (uint32_t)minor : 0;
        *rest = '\0';
        path = next_field(next_field(next_field(next_field(text))));
        if (!path)
                return false;
        next_field(path);
        unescape(path);
        out->path = path;
        out->type = rest + strlen(" - ");
        next_field(rest + strlen(" - "));
        return true;
}

const struct mount_line *mount_table_next(struct mount_table *table) {
        while (getline(&table->text, &table->size, table->file) > 0) {
                table->text[strcspn(table->text, "\n")] = '\0';
                if (line_parse(&table->line, table->text))
                        return &table->line;
        }
        return NULL;
}

bool mount_table_has_device(uint32_t device) {
        struct mount_table *table = mount_table_open("self");
        const struct mount_line *line;
        bool found = !table;

        while (!found && (line = mount_table_next(table)))
                found = line->device == device;
        mount_table_close(table);
        return found;
}
