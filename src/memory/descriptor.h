/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * descriptor: the numbers of the descriptors that regions and stores hold.
 *
 * The keeper and the worker share a table of descriptors.  Those that must outlive the worker have
 * numbers from root.descriptors_from on, one for each record of TABLE_DESCRIPTOR.  A number is
 * chosen before anything is opened.  So the descriptors that a dead worker left behind, and that no
 * record names, are found without a look at the regions.  The lower numbers are left to the daemon:
 * to its own descriptors, and to connections of the socket.
 *
 * Owns the records.  Never: closes a descriptor that has a record.
 */

#include "records/layout.h"

/* Descriptors that the daemon has for itself: with these it can always list the regions that take
 * all others, remove them, and be restarted. */
enum { DESCRIPTOR_SPARE = 64 };

/* Connections of the socket that there may be: the commands come by these. */
uint32_t descriptor_connections(void);
/* Sets root.descriptors_from, if it is not set yet. */
void descriptor_init(struct journal *journal);

/* Takes a number that is not in use, in the current transaction.  node: whose descriptor it will
 * be, 0 for a store's.  The number, or -ENOSPC. */
int descriptor_new(struct journal *journal, uint32_t node);
/* Moves the descriptor fd to that number.  0, or negative errno; fd is closed in any case. */
int descriptor_move(int fd, int number);
/* The number of a record of TABLE_DESCRIPTOR. */
int descriptor_number(const struct journal *journal, uint32_t id);
/* Gives the number back, after it was closed. */
void descriptor_delete(struct journal *journal, int number);
/* How many numbers are left. */
uint64_t descriptor_left(const struct journal *journal);
