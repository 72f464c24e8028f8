/* SPDX-License-Identifier: MIT */
#include "process/spin.h"

#include <sched.h>
#include "base/clock.h"
#include "process/wakeup.h"

enum {
        SPIN_MISSES_MAX = 4, /* spins without a request, then stop spinning */
        SPIN_HITS_MIN = 3,   /* requests close together, then spin again */
};

void spin_init(struct spin *spin, struct wakeup *wakeup, uint32_t limit_us) {
        cpu_set_t cpus;

        *spin = (struct spin){
                .limit_ns = (uint64_t)limit_us * 1000,
                .clock = clock_ns,
                .wakeup = wakeup,
        };
        /* With one CPU, no client can run while we poll. */
        if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) < 2)
                spin->limit_ns = 0;
}

static bool spin_has_given_up(const struct spin *spin) {
        return spin->misses >= SPIN_MISSES_MAX;
}

bool spin_run(struct spin *spin, bool (*look)(void *userdata), void *userdata) {
        uint64_t now, end;

        if (spin->limit_ns == 0 || spin_has_given_up(spin))
                return false;
        now = spin->clock();
        end = now + spin->limit_ns;
        wakeup_hold(spin->wakeup, now);
        do {
                if (look(userdata)) {
                        spin->misses = 0;
                        return true;
                }
                now = spin->clock();
        } while (now < end);
        wakeup_release(spin->wakeup, now);
        spin->misses++;
        spin->hits = 0;
        spin->last_seen = end;
        return false;
}

uint64_t spin_woken(const struct spin *spin) {
        return spin->limit_ns > 0 && spin_has_given_up(spin) ? spin->clock() : 0;
}

void spin_handled(struct spin *spin, uint64_t woken) {
        if (woken == 0)
                return;
        /* Count the requests in a row that a spin would have caught. */
        spin->hits = woken - spin->last_seen < spin->limit_ns ? spin->hits + 1 : 0;
        spin->last_seen = spin->clock();
        if (spin->hits >= SPIN_HITS_MIN)
                spin->misses = 0;
}
