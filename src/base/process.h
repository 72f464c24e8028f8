/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * process: what /proc says of a process.
 *
 * A FUSE request has the id of a thread.  A process is known by the id of its leader and the time at
 * which it started, because ids are used again.  All functions take ids of our own PID namespace;
 * id 0 stands for a thread that we cannot see.
 *
 * Owns nothing.  Never: changes a process, blocks.  Thread-safe.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The leader of the process that the thread is in; 0: it is gone, or cannot be seen. */
pid_t process_of(pid_t thread);
/* The parent of a process; 0: it has none, is gone, or cannot be seen. */
pid_t process_parent(pid_t pid);
/* Whether it is the first process of its PID namespace, as far as can be seen. */
bool process_is_first(pid_t pid);
/* The time at which the process started, in clock ticks since boot, plus 1; 0: it is gone. */
uint64_t process_start_time(pid_t pid);
/* A descriptor (close-on-exec) that becomes readable when the process has ended.  -ESRCH: it is gone,
 * or the id is that of a thread which is no leader.  -EMFILE, … */
int process_open(pid_t pid);
/* Whether a signal is pending that will end the thread.  False if it cannot be seen. */
bool process_is_dying(pid_t thread);
