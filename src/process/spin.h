/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * spin: decides when the loop spins, that is, polls for the next request before it sleeps.
 *
 * A wake-up from sleep costs more than most requests.  So, while requests come one after the other,
 * the loop polls for up to a limit.  After a few spins without a request it stops spinning.  It
 * begins again when requests come so close together that a spin would have caught them.  While it
 * polls it asks for short wake-ups (wakeup.h), so that its callers wake up fast, too.
 *
 * Owns the statistics for this decision.  Never: handles a request; the caller's function does.
 */

#include <stdbool.h>
#include <stdint.h>

struct wakeup;

struct spin {
        uint64_t limit_ns;       /* the longest spin; 0: never spin */
        uint64_t (*clock)(void); /* CLOCK_MONOTONIC in nanoseconds, or a test's */
        struct wakeup *wakeup;
        uint64_t last_seen; /* when the last request was handled */
        unsigned int misses, hits;
};

/* limit_us: the longest spin in microseconds, 0 for none.  wakeup must outlive the spin. */
void spin_init(struct spin *spin, struct wakeup *wakeup, uint32_t limit_us);

/* Polls until look() returns true or the time is over; returns what look() returned last.  After
 * false the loop may sleep, and no request for short wake-ups is in force. */
bool spin_run(struct spin *spin, bool (*look)(void *userdata), void *userdata);

/* For the decision to spin again: the time when the loop was woken, and the report that a request
 * has been handled since.  spin_woken() returns 0 if the time is not needed. */
uint64_t spin_woken(const struct spin *spin);
void spin_handled(struct spin *spin, uint64_t woken);
