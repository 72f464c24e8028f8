/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * notice: tells the kernel of changes that it did not ask for.
 *
 * A command removes or resizes a region behind the kernel's back; what it has cached must go
 * before the command is answered.  Notices are records of the arena, written in the transaction
 * that makes the change, so that a worker that takes over tells them again.  They are told by a
 * helper thread, in order.
 *
 * The answer to a request can be tied to the last notice that it wrote.  It is given when that has
 * been told; by whichever worker: if one dies in between, the request is resent, and
 * notices_resume() says how far it got.
 *
 * Owns the notice records.  Never: sends from the loop's thread, or answers by itself.
 */

#include "helper.h"
#include "layout.h"

enum notice_kind {
        NOTICE_ENTRY, /* a name was removed, or is another's now */
        NOTICE_INODE, /* size, times or owner changed */
        NOTICE_TOLD,  /* the kernel knows; the answer waits for the resent request */
};

enum notices_state {
        NOTICES_NONE,    /* a request that has not been seen */
        NOTICES_WAITING, /* carried out; the answer will be given when the kernel has been told */
        NOTICES_DONE,    /* carried out and told: answer now */
};

struct notices;

/*
 * Answers a request whose notices have been told, which commits the transaction.  False if the
 * request is not at hand (it will be resent).
 */
typedef bool (*notices_answer_fn)(void *userdata, uint64_t unique, int result);

/*
 * What a dead worker left untold is told by the first notices_send().  notifier: see notifier.h; -1:
 * the helper tells the kernel itself.
 */
int notices_new(struct notices **out, struct arena *arena, struct helper *helper, int notifier,
                notices_answer_fn answer, void *userdata);
struct notices *notices_free(struct notices *notices);

/* Within the transaction.  0, -ENOMEM (the table is full). */
int notice_entry(struct notices *notices, uint32_t dir, const char *name, size_t length);
int notice_inode(struct notices *notices, uint32_t node);

/*
 * Ties the answer (what write(2) returns) to the last notice of this transaction.  False if it
 * wrote none: answer at once.
 */
bool notices_answer_later(struct notices *notices, uint64_t unique, int result);
/* How far a request got before; with NOTICES_DONE the answer, and the record is given back. */
enum notices_state notices_resume(struct notices *notices, uint64_t unique, int *result);

/* After the commit: hands what was written down to the helper. */
void notices_send(struct notices *notices);
/* Calls fn on the loop when everything written down so far has been told.  0, -ENOMEM. */
int notices_after(struct notices *notices, void (*fn)(void *userdata), void *userdata);
