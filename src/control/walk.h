/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * walk: visits the regions below a directory one after the other, in pieces.
 *
 * A walk goes where `ls -lR` of its caller would have gone: it skips directories that the caller
 * may not read and search.  It also skips, and counts, entries whose path from the top has more
 * than PATH_MAX - 1 bytes, because no system call takes such a path.  As with readdir(3), an entry
 * that exists all the time is met once; one that is added or removed meanwhile is met once or not
 * at all.
 *
 * The position of a walk is a level for each directory that it is in.  With levels and depth, it
 * can continue in another turn or another process.  If a directory was removed or moved meanwhile,
 * the walk leaves it and continues in the innermost one that is still at its place.
 *
 * Each visited record takes 1 off the budget; the walk pauses when it is used up.  But after
 * finding its way back down, a turn always makes one step for every WALK_LEVELS_PER_STEP levels of
 * that way, so that a walk comes to an end however deep it is.
 *
 * Owns nothing.  Never: changes a record.
 */

#include <limits.h>
#include "tree/tree.h"
#include "volume/access.h"

enum {
        WALK_DEPTH_MAX = PATH_MAX / 2 + 1, /* no path has more directories */
        WALK_LEVELS_PER_STEP = 16,
};

struct walk {
        const struct tree *tree;
        struct caller *caller;
        int *budget;
        int floor;         /* value of the budget at which a turn ends */
        uint64_t too_long; /* entries that were skipped because of their path's length */
        uint32_t depth;
        struct walk_level levels[WALK_DEPTH_MAX];

        size_t prefix[WALK_DEPTH_MAX]; /* bytes of each directory's path, with its slash */
        char path[PATH_MAX];           /* of the last entry that was met */
        size_t length;
};

/* Begins at the top.  If the caller may not list it, the walk meets nothing. */
void walk_begin(struct walk *walk, const struct node *top);
/* Continues at levels and depth. */
void walk_resume(struct walk *walk);
/* The next region; walk->path is its name.  NULL at the end, or when the budget is used up. */
struct node *walk_next(struct walk *walk);
bool walk_is_over(const struct walk *walk);

/*
 * Writes the path of a name in dir, relative to top, to walk->path.  0; -EACCES if dir is not below
 * top or the caller may not list a directory on the way; -ENAMETOOLONG.
 */
int walk_path(struct walk *walk, const struct node *top, const struct node *dir, const char *name,
              size_t length);
