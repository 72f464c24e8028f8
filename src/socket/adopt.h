/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * adopt: gives records to connections that a dead worker had accepted but not recorded.
 *
 * A new worker calls it before it closes descriptors that no record has.
 *
 * Owns nothing.  Never: reads or writes a connection.
 */

#include "volume/txn.h"

/* Gives each of them a record. */
void adopt_connections(struct txn *txn);
