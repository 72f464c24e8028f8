/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include "exporter/exporter.h"

enum { LINE_BYTES = 4 * PATH_MAX };

static int mounts_add(struct mounts *mounts, const char *path) {
        char **paths = realloc(mounts->paths, (mounts->n + 1) * sizeof(*paths));

        if (!paths)
                return -ENOMEM;
        mounts->paths = paths;
        paths[mounts->n] = strdup(path);
        if (!paths[mounts->n])
                return -ENOMEM;
        mounts->n++;
        return 0;
}

static bool mounts_have(const struct mounts *mounts, const char *path) {
        for (size_t i = 0; i < mounts->n; i++)
                if (strcmp(mounts->paths[i], path) == 0)
                        return true;
        return false;
}

/* All of the machine, or rather of this mount namespace. */
static int mounts_scan(struct mounts *mounts) {
        FILE *table = setmntent("/proc/self/mounts", "re");
        char line[LINE_BYTES];
        struct mntent entry;
        int r = 0;

        while (table && r == 0 && getmntent_r(table, &entry, line, sizeof(line)))
                if (strcmp(entry.mnt_type, "fuse.iomemfs") == 0 &&
                    !mounts_have(mounts, entry.mnt_dir) && mounts->n < EXPORTER_MOUNTS_MAX)
                        r = mounts_add(mounts, entry.mnt_dir);
        if (table)
                endmntent(table);
        return r;
}

int mounts_find(struct mounts *out, const struct exporter *exporter) {
        int r = 0;

        *out = (struct mounts){0};
        for (size_t i = 0; i < exporter->n_mounts && r == 0; i++)
                r = mounts_add(out, exporter->mounts[i]);
        if (exporter->n_mounts == 0)
                r = mounts_scan(out);
        if (r < 0)
                mounts_free(out);
        return r;
}

void mounts_free(struct mounts *mounts) {
        for (size_t i = 0; i < mounts->n; i++)
                free(mounts->paths[i]);
        free(mounts->paths);
        *mounts = (struct mounts){0};
}

char *mounts_choose(const struct exporter *exporter, const char *wanted) {
        struct mounts mounts;
        char *chosen = NULL;

        if (mounts_find(&mounts, exporter) < 0)
                return NULL;
        for (size_t i = 0; i < mounts.n && !chosen; i++)
                if (!wanted || strcmp(mounts.paths[i], wanted) == 0)
                        chosen = strdup(mounts.paths[i]);
        mounts_free(&mounts);
        return chosen;
}
