/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * listing: regions, regions.json, limits.json and stats, rendered piece by piece as they are read.
 *
 * The position of a listing is in its handle's record: the levels of its walk, and the text that
 * was rendered but did not fit into the last read, at most one region's line.  So another worker
 * can render the next piece, and an open listing takes little memory, however long it is.
 *
 * A piece visits at most as many records as are left of the turn (turns.h), and shows the records
 * as they are at that time.  A region that exists all the time is listed once.
 *
 * Owns only memory to work in.  Never: waits, commits.
 */

#include <sys/types.h>
#include "control/handles.h"
#include "control/metrics.h"
#include "control/turns.h"

struct volume;
struct listings;

/* work: counters for tests, otherwise NULL.  All arguments must outlive the listings.  0,
 * -ENOMEM. */
int listings_new(struct listings **out, struct volume *volume, struct handles *handles,
                 struct turns *turns, struct metrics_work *work);
struct listings *listings_free(struct listings *listings);

/*
 * Reads like pread(2) of a file of /proc.  Offset 0 begins anew; the end of the last read
 * continues; any other offset is reached by rendering up to it (from the start, if it lies before).
 * Returns the bytes, 0 at the end.  -EINPROGRESS: nothing yet, call it again in a later turn with
 * `again`.  -ESTALE (the directory is gone), -ENFILE (the opener's share is used up), -ENOMEM.
 */
ssize_t listing_read(struct listings *listings, struct handle *handle, char *buffer, size_t size,
                     uint64_t offset, bool again);

/*
 * For the socket: opens a listing of a directory as JSON on one line; and reads its next piece.
 * *out: the handle.  0, -ENFILE.
 */
int listing_open(struct listings *listings, const struct caller *caller, const struct node *dir,
                 bool of_limits, uint32_t *out);
ssize_t listing_continue(struct listings *listings, uint32_t id, char *buffer, size_t size);
void listing_close(struct listings *listings, uint32_t id);
/* turns_wait() and turns_cancel() for the sender of a listing. */
int listing_wait_turn(struct listings *listings, struct turns_job *job);
void listing_cancel_turn(struct listings *listings, struct turns_job *job);
