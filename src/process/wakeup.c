/* SPDX-License-Identifier: MIT */
#include "process/wakeup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)

enum {
        /* `auto` does not use it on larger machines, because each change wakes each idle
         * processor. */
        WAKEUP_PROCESSORS_MAX = 8,
        /* The time that earns one more request, and how many can be saved up. */
        WAKEUP_TURN_NS = 10 * 1000 * 1000,
        WAKEUP_TURNS_MAX = 100,
        /* It may be in force for a quarter of the time.  So many seconds can be saved up; once they
         * are used up, no request is made before there is one again. */
        WAKEUP_SHARE = 4,
        WAKEUP_SAVED_MAX_S = 60,
        WAKEUP_SAVED_MIN_S = 1,
        /* The values to be written, in microseconds.  The second is the kernel's value for no
         * request. */
        WAKEUP_SHORT = 0,
        WAKEUP_ANY = 2000 * 1000 * 1000,
};

const struct wakeup_paths wakeup_paths = {
        .device = "/dev/cpu_dma_latency",
        .driver = "/sys/devices/system/cpu/cpuidle/current_driver",
};

/*
 * Whether this is a virtual machine whose host puts idle processors to sleep, which makes waking
 * them slow.  The kernel uses this driver if the host promises that each virtual processor has a
 * real one of its own, so that polling takes time from nobody else.
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
                wakeup->held = 1; /* before the write, so that others withdraw it if we die */
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
