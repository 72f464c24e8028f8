/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * replay: the messages that a new worker sends before it reads a request.
 *
 * They come in this order.  First the last outcome, before anything can overwrite it.  Then backing
 * ids are closed that the dead worker had opened but not recorded.  (Here the channel finishes a
 * FORGET.)  At last the kernel is asked to resend all requests without a reply.
 *
 * Never: reads from the kernel.
 */

#include "records/layout.h"

/* Sends the last outcome, which may have been committed but not sent.  If it was, the kernel
 * ignores it. */
void replay_outcome(struct journal *journal);
/* Closes backing ids that no record has. */
void replay_backing(struct journal *journal);
/* Makes the kernel resend requests that were read but not replied to: they have changed nothing. */
void replay_requests(struct journal *journal);
