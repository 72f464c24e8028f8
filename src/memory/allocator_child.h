/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * allocator_child: makes the pages of a part of a region, in a process of its own, see allocator.h.
 *
 * It joins the caller's memory cgroup first.  Before it takes pages it looks at how much memory is
 * available there (headroom.h): what does not fit is refused, and does not wake the OOM killer.
 *
 *   - Small pages are made by one fallocate(2): the pages are there, and if it is interrupted the
 *     kernel takes back just those that it made.  A timer looks at the headroom all the while, and
 *     interrupts it.  Zeroing them, which takes three quarters of the time, goes on after the report.
 *   - Huge pages: one store in each 2 MiB, and MADV_COLLAPSE (Linux 6.1), in pieces; what could not
 *     be had in huge pages is made of small ones.
 *
 * Owns its process.  Never: touches records, or knows who waits for it.
 */

#include "memory/allocator_message.h"

typedef void (*allocator_report_fn)(void *userdata, int result, uint64_t huge);

/* Calls report once, when the pages are there or cannot be had.  May go on for a while after that. */
void allocator_child_run(const struct allocator_order *order, int fd, allocator_report_fn report,
                         void *userdata);
