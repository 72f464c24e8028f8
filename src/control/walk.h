/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * walk: the regions below a directory, one after the other, in pieces.
 *
 * A walk goes where `ls -lR` of its caller would have gone: directories that the caller may not
 * read and search are passed over, and so is what has a path of more than PATH_MAX - 1 bytes from
 * the top, because nobody could say it; that is counted.  It is as readdir(3) is: an entry that is
 * there all along is met once, one that comes or goes meanwhile once or not at all.
 *
 * Where a walk is, is a level for each directory that it is in.  Whoever keeps levels and depth
 * can go on in another turn or another process.  A directory that was removed or moved meanwhile is
 * left; the walk goes on in the innermost one that is still where it was.
 *
 * Every record that is visited takes one off the budget, and the walk pauses when it is used up;
 * but a turn that has found its way back down makes a step for every WALK_LEVELS_PER_STEP levels of
 * that way in any case, so that a walk comes to an end however deep it is.
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
        int floor;         /* of the budget, where a turn ends */
        uint64_t too_long; /* entries that were passed over because of their path's length */
        uint32_t depth;
        struct walk_level levels[WALK_DEPTH_MAX];

        size_t prefix[WALK_DEPTH_MAX]; /* bytes of each directory's path, with its slash */
        char path[PATH_MAX];           /* of the entry that was met last */
        size_t length;
};

/* At the top.  With no right to list it there is nothing to be met. */
void walk_begin(struct walk *walk, const struct node *top);
/* Where levels and depth say. */
void walk_resume(struct walk *walk);
/* The next region; its name is walk->path.  NULL at the end, or when the budget is used up. */
struct node *walk_next(struct walk *walk);
bool walk_is_over(const struct walk *walk);

/*
 * The path of a name in dir from top, to walk->path.  0; -EACCES if dir is not below top or the
 * caller may not list all that is on the way; -ENAMETOOLONG.
 */
int walk_path(struct walk *walk, const struct node *top, const struct node *dir, const char *name,
              size_t length);
