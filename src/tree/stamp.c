/* SPDX-License-Identifier: MIT */
#include "tree/stamp.h"

#include <time.h>

#define SECOND_NS INT64_C(1000000000)
#define TICK_MAX_NS (INT64_C(10) * 1000 * 1000) /* the longest tick that Linux can be built with */

struct stamp stamp_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        return (struct stamp){now.tv_sec, now.tv_nsec};
}

struct stamp stamp_max(struct stamp a, struct stamp b) {
        if (a.sec != b.sec)
                return a.sec > b.sec ? a : b;
        return a.nsec > b.nsec ? a : b;
}

/* Whether a equals b, or is later by no more than a tick of the clock. */
static bool stamp_is_ahead(struct stamp a, struct stamp b) {
        int64_t lead;

        if (a.sec < b.sec || a.sec > b.sec + 1)
                return false;
        lead = (a.sec - b.sec) * SECOND_NS + a.nsec - b.nsec;
        return lead >= 0 && lead <= TICK_MAX_NS;
}

struct stamp stamp_moved(struct stamp last) {
        struct stamp now = stamp_now();

        /* A time that is further ahead was set by utimensat(2), or the clock was set back. */
        if (!stamp_is_ahead(last, now))
                return now;
        if (last.nsec + 1 < SECOND_NS)
                return (struct stamp){last.sec, last.nsec + 1};
        return (struct stamp){last.sec + 1, 0};
}
