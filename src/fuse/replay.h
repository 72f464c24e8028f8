/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * replay: what a new worker tells the kernel again.
 *
 * In this order, before it reads a request: the last outcome, before anything can overwrite it; the
 * backing ids that a dead worker had opened and not written down; FORGETs that were begun (by the
 * channel, between these); and at last the wish for all that is unanswered.
 *
 * Never: reads from the kernel.
 */

#include "records/layout.h"

/* The last reply may have been committed and not sent.  If it was, the kernel knows it no more. */
void replay_outcome(struct journal *journal);
/* Closes backing ids that no record names. */
void replay_backing(struct journal *journal);
/* Has the kernel resend requests that were read and not answered: they have not happened. */
void replay_requests(struct journal *journal);
