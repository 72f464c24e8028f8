/* SPDX-License-Identifier: MIT */
#include "memory/access_time.h"

#include "memory/file.h"

enum { RELATIVE_S = 86400 }; /* relatime moves a time that is so old */

static bool is_later(struct timespec a, struct timespec b) {
        return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* Whether a read moves this time of access, with relatime. */
static bool relatime_moves(const struct node *node, const struct stat *st) {
        const struct timespec shown = {node->atime.sec, node->atime.nsec};
        const struct timespec changed = {node->ctime.sec, node->ctime.nsec};

        return !is_later(shown, st->st_mtim) || !is_later(shown, st->st_ctim) ||
               !is_later(shown, changed) || st->st_atim.tv_sec - shown.tv_sec >= RELATIVE_S;
}

static void access_time_set(struct journal *journal, struct node *node, const struct stat *st) {
        JOURNAL_SET(journal, node->atime,
                    ((struct stamp){st->st_atim.tv_sec, st->st_atim.tv_nsec}));
}

void access_time_show(struct journal *journal, struct node *node, struct stat *st) {
        const struct root *root = journal_root(journal);
        const struct timespec shown = {node->atime.sec, node->atime.nsec};

        if (root->settings.atime == ATIME_STRICT)
                return;
        if (root->settings.atime == ATIME_RELATIVE && is_later(st->st_atim, shown) &&
            relatime_moves(node, st))
                access_time_set(journal, node, st);
        st->st_atim = (struct timespec){node->atime.sec, node->atime.nsec};
}

int access_time_utimens(struct journal *journal, struct node *node,
                        const struct timespec times[2]) {
        struct stat st;
        int r;

        r = file_utimens(journal, node, times);
        if (r == 0)
                r = file_stat(journal, node, &st);
        if (r == 0 && times[0].tv_nsec != UTIME_OMIT)
                access_time_set(journal, node, &st);
        return r;
}
