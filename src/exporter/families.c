/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "base/words.h"
#include "exporter/exporter.h"

/*
 * families: .ctl/stats of several mounts as one text.  The format wants the lines of a family
 * together, below one HELP and one TYPE, so they are sorted into families first.  Each sample gets
 * the label `mount`.
 */

struct family {
        char *head; /* HELP and TYPE */
        char *text; /* samples */
        size_t head_size, text_size;
        FILE *heads, *samples;
        char name[128];
};

/* Pointers, because the streams of a family point into it. */
struct families {
        struct family **families;
        size_t n;
        struct family *now;
};

static int family_open(struct family *family, const char *name) {
        *family = (struct family){0};
        snprintf(family->name, sizeof(family->name), "%s", name);
        family->heads = open_memstream(&family->head, &family->head_size);
        family->samples = family->heads ? open_memstream(&family->text, &family->text_size) : NULL;
        return family->samples ? 0 : -ENOMEM;
}

static void family_close(struct family *family) {
        if (family->heads)
                fclose(family->heads);
        if (family->samples)
                fclose(family->samples);
        family->heads = family->samples = NULL;
}

static void family_free(struct family *family) {
        if (!family)
                return;
        family_close(family);
        free(family->head);
        free(family->text);
        free(family);
}

static struct family *families_find(struct families *all, const char *name) {
        struct family **families, *new;

        for (size_t i = 0; i < all->n; i++)
                if (strcmp(all->families[i]->name, name) == 0)
                        return all->families[i];
        families = realloc(all->families, (all->n + 1) * sizeof(struct family *));
        if (!families)
                return NULL;
        all->families = families;
        new = malloc(sizeof(*new));
        if (!new || family_open(new, name) < 0) {
                family_free(new);
                return NULL;
        }
        families[all->n++] = new;
        return new;
}

static void families_free(struct families *all) {
        for (size_t i = 0; i < all->n; i++)
                family_free(all->families[i]);
        free(all->families);
}

/* `name value` and `name{labels} value` with one label more. */
static void sample_write(FILE *stream, const char *line, const char *label) {
        size_t length = strcspn(line, "{ ");

        fwrite(line, 1, length, stream);
        fprintf(stream, "{mount=\"%s\"%s%s\n", label,
                line[length] != '{'       ? "}"
                : line[length + 1] == '}' ? ""
                                          : ",",
                line[length] == '{' ? line + length + 1 : line + length);
}

/* `# HELP name text` begins a family; its other lines follow. */
static int families_line(struct families *all, const char *line, const char *label) {
        char name[128];

        if (sscanf(line, "# HELP %127s", name) == 1) {
                all->now = families_find(all, name);
                if (!all->now)
                        return -ENOMEM;
        }
        if (!all->now)
                return 0;
        if (line[0] != '#')
                sample_write(all->now->samples, line, label);
        else if (all->now->text_size == 0 && ftell(all->now->samples) == 0)
                fprintf(all->now->heads, "%s\n", line);
        return 0;
}

/* A path as the value of a label: UTF-8 without quotes, backslashes and line ends. */
static void label_make(char *out, const char *path) {
        char escaped[4 * PATH_MAX + 1];

        words_escape(escaped, path, strnlen(path, PATH_MAX));
        for (const char *at = escaped; *at; at++) {
                if (*at == '"' || *at == '\\')
                        *out++ = '\\';
                *out++ = *at;
        }
        *out = '\0';
}

static int families_up(struct families *all, const char *label, bool up) {
        char line[64];
        int r = families_line(all, "# HELP iomemfs_up 1 if the mount could be read, else 0.",
                              label);

        if (r == 0)
                r = families_line(all, "# TYPE iomemfs_up gauge", label);
        snprintf(line, sizeof(line), "iomemfs_up %d", up);
        return r == 0 ? families_line(all, line, label) : r;
}

static int families_mount(struct families *all, const char *mount) {
        char path[PATH_MAX + 32], label[8 * PATH_MAX + 2], line[4096];
        bool read = false;
        FILE *stats;
        int r = 0;

        label_make(label, mount);
        snprintf(path, sizeof(path), "%s/.ctl/stats", mount);
        stats = fopen(path, "re");
        all->now = NULL;
        while (stats && r == 0 && fgets(line, sizeof(line), stats)) {
                line[strcspn(line, "\n")] = '\0';
                read = true;
                r = families_line(all, line, label);
        }
        if (stats)
                fclose(stats);
        return r == 0 ? families_up(all, label, read) : r;
}

static int families_own(FILE *stream, const struct exporter *exporter) {
        struct families all = {0};
        struct mounts mounts;
        int r = mounts_find(&mounts, exporter);

        for (size_t i = 0; i < mounts.n && r == 0; i++)
                r = families_mount(&all, mounts.paths[i]);
        for (size_t i = 0; i < all.n && r == 0; i++) {
                struct family *family = all.families[i];

                family_close(family);
                if (!family->head || !family->text)
                        r = -ENOMEM;
                else
                        fprintf(stream, "%s%s", family->head, family->text);
        }
        mounts_free(&mounts);
        families_free(&all);
        return r;
}

int families_write(FILE *stream, const struct exporter *exporter) {
        fprintf(stream,
                "# HELP iomemfs_exporter_build_info Version of iomem-exporter.\n"
                "# TYPE iomemfs_exporter_build_info gauge\n"
                "iomemfs_exporter_build_info{version=\"%s\"} 1\n",
                IOMEMFS_VERSION);
        return families_own(stream, exporter);
}
