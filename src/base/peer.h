/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * peer: the process at the other end of a connection.
 *
 * A connection knows the pid of the process that made it.  After that process has ended, the pid
 * may belong to another one.  So what was read from /proc/PID is valid only if peer_lives() is true
 * afterwards.
 *
 * Owns nothing.  Never: reads or writes the connection.
 */

#include <stdbool.h>

/*
 * Whether the process that made the connection still has its pid.  Also true if the kernel cannot
 * tell (SO_PEERPIDFD came with Linux 6.5).
 */
bool peer_lives(int connection);
