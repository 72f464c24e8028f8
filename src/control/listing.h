/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * listing: regions, regions.json and stats, rendered piece by piece as they are read.
 *
 * Where a listing is, is in its handle's record: the levels of its walk, and what was rendered and
 * did not fit into the last read.  That is at most one region's line.  So the next piece may be
 * rendered by another worker, and an open listing holds little, however much there is to list.
 *
 * A piece visits at most what is left of the turn (turns.h), and reads the records as they are
 * then.  A region that is there all along is listed once.
 *
 * Owns nothing but memory to work in.  Never: waits, commits.
 */

#include <sys/types.h>
#include "control/handles.h"
#include "control/metrics.h"
#include "control/turns.h"

struct volume;
struct listings;

/* work: what the tests want to know, NULL outside of tests. */
int listings_new(struct listings **out, struct volume *volume, struct handles *handles,
                 struct turns *turns, struct metrics_work *work);
struct listings *listings_free(struct listings *listings);

/*
 * Reads like pread(2) of a file of /proc: offset 0 begins anew, the end of the last read goes on,
 * and any other place is found by rendering up to it (from the start, if it lies before).  Bytes, 0
 * at the end; -EINPROGRESS: nothing yet, to be asked again in a later turn with `again`; -ESTALE
 * (the directory is gone), -ENFILE (the share of the opener is used up), -ENOMEM.
 */
ssize_t listing_read(struct listings *listings, struct handle *handle, char *buffer, size_t size,
                     uint64_t offset, bool again);

/*
 * For the socket: a listing of a directory as JSON on one line, and its next piece.  A handle, or
 * -ENFILE.
 */
int listing_open(struct listings *listings, const struct caller *caller, const struct node *dir,
                 uint32_t *out);
ssize_t listing_continue(struct listings *listings, uint32_t id, char *buffer, size_t size);
void listing_close(struct listings *listings, uint32_t id);
/* turns_wait() and turns_cancel() for whoever sends it. */
int listing_wait_turn(struct listings *listings, struct turns_job *job);
void listing_cancel_turn(struct listings *listings, struct turns_job *job);
