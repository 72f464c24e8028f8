/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * metrics: .ctl/stats, in the text format of Prometheus.
 *
 * Everybody gets what df(1) shows anyway, what this mount is, and how many control files he has
 * open himself.  What is about others goes to the administrator only.
 *
 * Owns nothing.  Never: walks; whoever counts hands the sums in.
 */

#include <stdio.h>
#include "memory/region.h"
#include "tree/tree.h"

/* What takes a walk over records to know. */
enum metrics_sum { METRICS_REGIONS, METRICS_OPENS, METRICS_POPULATING, METRICS_LACK };

/* What was done for listings and events; for tests. */
struct metrics_work {
        uint64_t records, waiters;
        unsigned int most_records;
};

/* For everybody; own: control files that the reader has open. */
void metrics_common(FILE *stream, const struct tree *tree, struct regions *regions, uint32_t own);
/* For the administrator besides; handles: open control files; work: NULL outside of tests. */
void metrics_all(FILE *stream, const struct tree *tree, const uint64_t sums[4], uint32_t handles,
                 const struct metrics_work *work);
