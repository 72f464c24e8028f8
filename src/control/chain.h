/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * chain: bytes of any length in text records.
 *
 * For what a control handle has to keep over the death of a worker and that fits no field: the
 * groups of its opener, where a listing is, and what was rendered and not read yet.
 *
 * Owns nothing: the id of the first record is a field of somebody's record.  Changes are part of
 * the current transaction.  Never: decides who may have how many.
 */

#include <stddef.h>
#include <stdint.h>
#include "records/layout.h"

/* Records that so many bytes take. */
uint32_t chain_records(size_t length);
/* Records that the chain has. */
uint32_t chain_count(const struct journal *journal, uint32_t head);

/*
 * Makes the chain at *head, a field of a record, hold just these bytes; 0 bytes: none.  0, or
 * -ENOMEM (no record left), and the chain is as it was.
 */
int chain_store(struct journal *journal, uint32_t *head, const void *bytes, size_t length);
/* Copies bytes from an offset on; the chain has them. */
void chain_load(const struct journal *journal, uint32_t head, size_t offset, void *buffer,
                size_t length);
