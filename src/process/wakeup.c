/* SPDX-License-Identifier: MIT */
#include "process/wakeup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)

enum {
        /* `auto` leaves larger machines alone: each change wakes each processor that is idle. */
        WAKEUP_PROCESSORS_MAX = 8,
        /* Each time that it is taken up earns itself back in so long; so many are saved up. */
        WAKEUP_TURN_NS = 10 * 1000 * 1000,
        WAKEUP_TURNS_MAX = 100,
        /* It may be held for a quarter of the time; so many seconds are saved up, and once they
         * are used up, it is not taken up again before there is one. */
        WAKEUP_SHARE = 4,
        WAKEUP_SAVED_MAX_S = 60,
        WAKEUP_SAVED_MIN_S = 1,
        /* What is written: microseconds.  The second is the kernel's value for no wish at all. */
        WAKEUP_SHORT = 0,
        WAKEUP_ANY = 2000 * 1000 * 1000,
};

const struct wakeup_paths wakeup_paths = {
        .device = "/dev/cpu_dma_latency",
        .driver = "/sys/devices/system/cpu/cpuidle/current_driver",
};

/*
 * Whether this is a virtual machine whose idle processors are the host's to put to sleep, which
 * makes waking them dear.  The kernel takes this driver where the host promises that each virtual
 * processor has one of its own, so that polling takes time from nobody else.
 */
static bool wakeup_is_haltpoll(const char *path) {
        char name[32] = "";
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return false;
        n = read(fd, name, sizeof(name) - 1);
        close(fd);
        name[n > 0 ? n : 0] = '\0';
        name[strcspn(name, "\n")] = '\0';
        return strcmp(name, "haltpoll") == 0;
}

static bool wakeup_is_wanted(enum latency latency, unsigned int processors, const char *driver) {
        if (latency == LATENCY_AUTO)
                return processors <= WAKEUP_PROCESSORS_MAX && wakeup_is_haltpoll(driver);
        return latency == LATENCY_LOW;
}

void wakeup_open(struct wakeup *wakeup, enum latency latency, unsigned int processors,
                 const struct wakeup_paths *paths) {
        *wakeup = (struct wakeup){.fd = -1};
        if (processors > 1 && wakeup_is_wanted(latency, processors, paths->driver))
                wakeup->fd = open(paths->device, O_WRONLY | O_CLOEXEC | O_NOCTTY);
}

unsigned int wakeup_processors(void) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);

        return n > 0 ? (unsigned int)n : 1;
}

static bool wakeup_write(const struct wakeup *wakeup, int32_t microseconds) {
        return write(wakeup->fd, &microseconds, sizeof(microseconds)) == sizeof(microseconds);
}

static uint64_t wakeup_add(uint64_t saved, uint64_t more, uint64_t max) {
        return more < max - saved ? saved + more : max;
}

/* Brings the savings and the counters up to date. */
static void wakeup_account(struct wakeup *wakeup, uint64_t now) {
        uint64_t passed = now > wakeup->at ? now - wakeup->at : 0;

        wakeup->at = now;
        wakeup->turns_ns =
                wakeup_add(wakeup->turns_ns, passed, (uint64_t)WAKEUP_TURNS_MAX * WAKEUP_TURN_NS);
        wakeup->saved_ns =
                wakeup_add(wakeup->saved_ns, passed / WAKEUP_SHARE, WAKEUP_SAVED_MAX_S * SECOND_NS);
        if (!wakeup->held)
                return;
        wakeup->held_ns += passed;
        wakeup->saved_ns -= passed < wakeup->saved_ns ? passed : wakeup->saved_ns;
}

static void wakeup_let_go(struct wakeup *wakeup) {
        wakeup_write(wakeup, WAKEUP_ANY);
        wakeup->held = 0;
}

static bool wakeup_may_take_up(const struct wakeup *wakeup) {
        return wakeup->turns_ns >= WAKEUP_TURN_NS &&
               wakeup->saved_ns >= WAKEUP_SAVED_MIN_S * SECOND_NS;
}

void wakeup_hold(struct wakeup *wakeup, uint64_t now) {
        if (wakeup->fd < 0)
                return;
        wakeup_account(wakeup, now);
        if (wakeup->held) {
                if (wakeup->saved_ns == 0)
                        wakeup_let_go(wakeup);
        } else if (wakeup_may_take_up(wakeup)) {
                wakeup->turns_ns -= WAKEUP_TURN_NS;
                wakeup->turns++;
                wakeup->held = 1; /* before it is true: whoever comes after us lets go of it */
                if (!wakeup_write(wakeup, WAKEUP_SHORT))
                        wakeup->held = 0;
        }
}

void wakeup_release(struct wakeup *wakeup, uint64_t now) {
        if (wakeup->fd < 0 || !wakeup->held)
                return;
        wakeup_account(wakeup, now);
        wakeup_let_go(wakeup);
}

void wakeup_release_dead(struct wakeup *wakeup, uint64_t now) {
        if (wakeup->fd < 0)
                return;
        wakeup_account(wakeup, now);
        wakeup_let_go(wakeup);
}
