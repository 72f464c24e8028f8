/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * spin: when the loop looks for the next request for a while before it sleeps.
 *
 * A wake-up from sleep costs more than most requests.  So, while requests come one after the other,
 * the loop looks again and again for up to a limit.  The spin gives itself up after a few looks in
 * vain, and begins again when requests come so close together that a spin would have caught them.
 * While it looks it asks for short wake-ups (wakeup.h), so that its callers wake up fast, too.
 *
 * Owns its own judgement.  Never: handles a request; the caller's function does.
 */

#include <stdbool.h>
#include <stdint.h>

struct wakeup;

struct spin {
        uint64_t limit_ns;       /* how long it looks; 0: never */
        uint64_t (*clock)(void); /* CLOCK_MONOTONIC in nanoseconds, or a test's */
        struct wakeup *wakeup;
        uint64_t last_seen; /* when the last request was done */
        unsigned int misses, hits;
};

void spin_init(struct spin *spin, struct wakeup *wakeup, uint32_t limit_us);

/* Looks until look() says true or the time is over; whether it said so.  After false the loop may
 * sleep, and nothing is held. */
bool spin_run(struct spin *spin, bool (*look)(void *userdata), void *userdata);

/* For the judgement while it has given itself up: when the loop was woken; and that there was a
 * request, which has been handled now.  spin_woken() is 0 if nobody needs to know. */
uint64_t spin_woken(const struct spin *spin);
void spin_handled(struct spin *spin, uint64_t woken);
