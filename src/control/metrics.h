/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * metrics: .ctl/stats, in the text format of Prometheus.
 *
 * Every user gets the numbers that df(1) shows, the properties of this mount, and the number of
 * control files that they have open themselves.  Numbers about other users are for the
 * administrator only.
 *
 * Owns nothing.  Never: walks; the caller passes the sums.
 */

#include <stdio.h>
#include "memory/region.h"
#include "tree/tree.h"

/* Numbers that need a walk over records. */
enum metrics_sum { METRICS_REGIONS, METRICS_OPENS, METRICS_POPULATING, METRICS_LACK };

/* Work done for listings and events; for tests. */
struct metrics_work {
        uint64_t records, waiters;
        unsigned int most_records;
};

/* For every user.  own: control files that the reader has open. */
void metrics_common(FILE *stream, const struct tree *tree, struct regions *regions, uint32_t own);
/* Limits of directories: the head of the n-th metric, and the value of a limit.  False: there are no
 * so many.  stream: NULL for the question only. */
bool metrics_limit_head(FILE *stream, unsigned int n);
void metrics_limit(FILE *stream, unsigned int n, const struct journal *journal,
                   const struct limit *limit, const struct quota *quota, const char *path,
                   size_t length);
/* Only for the administrator.  handles: open control files; work: NULL outside of tests. */
void metrics_all(FILE *stream, const struct tree *tree, const uint64_t sums[4], uint32_t handles,
                 const struct metrics_work *work);
