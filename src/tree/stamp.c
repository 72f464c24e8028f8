/* SPDX-License-Identifier: MIT */
#include "tree/stamp.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define SECOND_NS INT64_C(1000000000)
#define TICK_MAX_NS (INT64_C(10) * 1000 * 1000) /* the longest tick that Linux can be built with */

/* The file that the kernel stamps, and the stamp of the current transaction. */
static struct {
        int fd;
        bool valid;
        struct stamp now;
        struct stamp moved; /* the last that stamp_moved() gave in this transaction */
} stamps = {.fd = -1};

void stamp_open(void) {
        if (stamps.fd < 0)
                stamps.fd = memfd_create("iomemfs-stamp", MFD_CLOEXEC);
}

struct stamp stamp_coarse(void) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        return (struct stamp){now.tv_sec, now.tv_nsec};
}

struct stamp stamp_now(void) {
        static const struct timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
        struct stat st;

        if (stamps.valid)
                return stamps.now;
        stamps.valid = true;
        stamps.now = stamps.fd >= 0 && futimens(stamps.fd, times) == 0 && fstat(stamps.fd, &st) == 0
                             ? (struct stamp){st.st_ctim.tv_sec, st.st_ctim.tv_nsec}
                             : stamp_coarse();
        return stamps.now;
}

void stamp_end(void) {
        stamps.valid = false;
        stamps.moved = (struct stamp){0};
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

/* Later than `last` by no more than has to be. */
static struct stamp stamp_behind(struct stamp last, struct stamp now) {
        /* A time that is further ahead was set by utimensat(2), or the clock was set back. */
        if (!stamp_is_ahead(last, now))
                return now;
        if (last.nsec + 1 < SECOND_NS)
                return (struct stamp){last.sec, last.nsec + 1};
        return (struct stamp){last.sec + 1, 0};
}

struct stamp stamp_moved(struct stamp last) {
        /* One change moves a time once. */
        if (last.sec == stamps.moved.sec && last.nsec == stamps.moved.nsec)
                return last;
        stamps.moved = stamp_behind(last, stamp_now());
        return stamps.moved;
}
