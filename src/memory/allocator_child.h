/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * allocator_child: makes the pages of a part of a region, in a process of its own, see allocator.h.
 *
 * It joins the caller's memory cgroup first.  Before it takes pages it checks how much memory is
 * available there (headroom.h).  It refuses an order that does not fit, so as not to wake the OOM
 * killer.
 *
 *   - Small pages are made by one fallocate(2).  If that is interrupted, the kernel takes back just
 *     the pages that it made.  A timer checks the headroom all the while, and interrupts the call.
 *     Zeroing takes three quarters of the time, and goes on after the report.
 *   - Huge pages are made in pieces: one store in each 2 MiB, then MADV_COLLAPSE (Linux 6.1).  Further
 *     threads, of the policy SCHED_IDLE, take pieces as well while processors are idle.
 *     Where the kernel has no huge page, small ones are made.
 *
 * Owns its process.  Never: touches records, knows who waits for it.
 */

#include "memory/allocator_message.h"

typedef void (*allocator_report_fn)(void *userdata, int result, uint64_t huge);

/* Takes over fd.  Calls report once, when the pages are there or cannot be made.  It may go on for a while after
 * that. */
void allocator_child_run(const struct allocator_order *order, int fd, allocator_report_fn report,
                         void *userdata);
