/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * wakeup: asks the kernel that idle processors wake up fast, while requests come one after the
 * other.
 *
 * Most of the time of a small request is the waking of the caller's processor, which has gone idle
 * while it waited.  The kernel's PM QoS interface, /dev/cpu_dma_latency, makes idle processors poll
 * instead of halting for as long as somebody holds it open with a 0 in it.  That costs power and
 * the time of all idle processors.  So we hold it only while the loop spins (spin.h), and within
 * two bounds, which are in the record so that neither a restart nor another process gets round
 * them: how often it is taken up, because each change wakes all idle processors, and for which
 * share of the time it is held, so that nobody who sends requests can keep a machine polling.
 *
 * The descriptor is one of those that all processes of a mount share.  So the kernel lets go with
 * the last of these processes; the keeper lets go when a worker dies.
 *
 * Owns struct wakeup of the root record.  Never: asks by sysfs, whose values stay when we die;
 * complains: without the right to ask it does nothing.
 */

#include <stdint.h>
#include "records/layout.h"

/* Files of the kernel; tests have their own. */
struct wakeup_paths {
        const char *device; /* of the PM QoS interface */
        const char *driver; /* name of the cpuidle driver */
};

extern const struct wakeup_paths wakeup_paths;

/*
 * Fills the record; with `latency` as latency= says, on a machine with so many processors.  It
 * never asks for anything if it shall not, or cannot.
 */
void wakeup_open(struct wakeup *wakeup, enum latency latency, unsigned int processors,
                 const struct wakeup_paths *paths);
unsigned int wakeup_processors(void);

/* now: of clock_ns(), here and below.  Asks, or goes on asking, if the bounds allow it.  To be
 * called again and again while it is held. */
void wakeup_hold(struct wakeup *wakeup, uint64_t now);
void wakeup_release(struct wakeup *wakeup, uint64_t now);
/* The same for whoever cannot trust the record: the process that held it may have died at any
 * instruction. */
void wakeup_release_dead(struct wakeup *wakeup, uint64_t now);
