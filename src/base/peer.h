/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * peer: the process at the other end of a connection.
 *
 * A connection knows the number of the process that made it.  When that has ended, the number may
 * be another's: what /proc says of it is good only if peer_lives() is true afterwards.
 *
 * Owns nothing.  Never: reads or writes the connection.
 */

#include <stdbool.h>

/*
 * Whether the process that made the connection still has its number.  A kernel that cannot tell
 * (SO_PEERPIDFD came with Linux 6.5) is taken for a yes.
 */
bool peer_lives(int connection);
