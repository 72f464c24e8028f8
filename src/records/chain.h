/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * chain: bytes of any length in text records.
 *
 * Records use it for what fits no field: the groups of a control handle's opener, text that was
 * rendered but not read yet, the name and value of an extended attribute.
 *
 * Owns nothing: the record that uses a chain has the id of its first text record.  Changes are part
 * of the current transaction.  Never: decides how many records a user may have.
 */

#include <stddef.h>
#include <stdint.h>
#include "records/layout.h"

/* The number of records for so many bytes. */
uint32_t chain_records(size_t length);
/* The number of records of the chain. */
uint32_t chain_count(const struct journal *journal, uint32_t head);

/*
 * Makes the chain at *head, a field of a record, hold exactly these bytes; 0 bytes: no chain.  0,
 * or -ENOMEM (no record left), and the chain is unchanged.
 */
int chain_store(struct journal *journal, uint32_t *head, const void *bytes, size_t length);
/* Copies `length` bytes from an offset on; the chain must have that many. */
void chain_load(const struct journal *journal, uint32_t head, size_t offset, void *buffer,
                size_t length);
