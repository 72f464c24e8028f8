/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * wakeup: asks the kernel that idle processors wake up fast, while requests come one after the
 * other.
 *
 * A small request takes most of its time for waking the caller's processor, which went idle while
 * the caller waited.  The kernel's PM QoS interface is /dev/cpu_dma_latency.  As long as a process
 * has it open with a 0 written to it, idle processors poll instead of halting.  That costs power,
 * and time of all idle processors.  So the request is in force only while the loop spins (spin.h),
 * and within two bounds.  One is how often it is made, because each change wakes all idle
 * processors.  The other is its share of the time, so that no client can keep a machine polling by
 * sending requests.  Both are in the record, so that neither a restart nor another process gets
 * round them.
 *
 * The descriptor is in the table that all processes of a mount share.  So the kernel drops the
 * request with the last of these processes; when a worker dies, the keeper withdraws it.
 *
 * Owns struct wakeup of the root record.  Never: uses sysfs, whose values would stay when the
 * daemon dies; complains: without permission it does nothing.
 */

#include <stdint.h>
#include "records/layout.h"

/* Files of the kernel; tests have their own. */
struct wakeup_paths {
        const char *device; /* the PM QoS interface */
        const char *driver; /* the file with the name of the cpuidle driver */
};

extern const struct wakeup_paths wakeup_paths;

/*
 * Fills the record, according to `latency` (the option latency=) and the number of processors.  If
 * the answer is no, or the kernel has no such interface, no request will be made.
 */
void wakeup_open(struct wakeup *wakeup, enum latency latency, unsigned int processors,
                 const struct wakeup_paths *paths);
unsigned int wakeup_processors(void);

/* Makes the request, or renews it, if the bounds allow it.  Call it again and again as long as it
 * shall be in force.  now: of clock_ns(), here and below. */
void wakeup_hold(struct wakeup *wakeup, uint64_t now);
void wakeup_release(struct wakeup *wakeup, uint64_t now);
/* The same for another process, after the one that made the request died.  It may have died at any
 * instruction, so the record may be wrong. */
void wakeup_release_dead(struct wakeup *wakeup, uint64_t now);
