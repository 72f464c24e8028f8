/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * adopt: connections that a dead worker had taken and not written down.
 *
 * For a worker that takes over, before it closes what no record names.
 *
 * Owns nothing.  Never: reads or writes a connection.
 */

#include "volume/txn.h"

/* Gives each of them a record. */
void adopt_connections(struct txn *txn);
