/* SPDX-License-Identifier: MIT */
#include "pace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        SPIN_MISSES_MAX = 4, /* spins in vain until we stop spinning */
        SPIN_HITS_MIN = 3,   /* requests close together until we spin again */
        ALONE_MIN = 16,      /* requests in a row by one thread until we follow it */
        WINDOW = 64,   /* requests by which a way is measured; how often we look for the CPU */
        WINDOWS = 6,   /* of a trial, alternating between the ways */
        HOLD = 16384,  /* requests until the next trial */
        PAUSE_MS = 10, /* without a request, until we are as free as before */
};

void pace_init(struct pace *pace, uint64_t spin_ns) {
        *pace = (struct pace){.cpu = -1, .way = PACE_FOLLOW};
        /* With one CPU, whoever would ask cannot run while we look, and is followed anyway. */
        if (sched_getaffinity(0, sizeof(pace->allowed), &pace->allowed) < 0)
                CPU_ZERO(&pace->allowed);
        pace->can_follow = CPU_COUNT(&pace->allowed) > 1;
        pace->spin_ns = CPU_COUNT(&pace->allowed) == 1 ? 0 : spin_ns;
        if (!pace->can_follow)
                pace->way = PACE_SPIN;
}

/* Fields of proc_pid_stat(5). */
enum { STAT_NICE = 19, STAT_CPU = 39, STAT_POLICY = 41 };

/*
 * The CPU that a thread ran on last, or -1.  Who comes before us on its CPU is not followed: it
 * could keep us from everybody else.
 */
static int stat_cpu(const char *stat) {
        const char *at = strrchr(stat, ')'); /* the end of field 2, a name of any bytes */
        int cpu = -1;

        for (int field = 3; at; field++) {
                at = strchr(at, ' ');
                if (!at)
                        return -1;
                at++;
                if (field == STAT_NICE && atoi(at) < 0)
                        return -1;
                if (field == STAT_CPU)
                        cpu = atoi(at);
                if (field == STAT_POLICY)
                        return atoi(at) == SCHED_OTHER ? cpu : -1;
        }
        return -1;
}

static int thread_cpu(pid_t thread) {
        char path[64], text[1024];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", thread, thread);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
        if (n <= 0)
                return -1;
        text[n] = '\0';
        return stat_cpu(text);
}

/* Goes where the caller is, or where we like. */
static void pace_go(struct pace *pace, int cpu) {
        cpu_set_t one;

        if (cpu == pace->cpu)
                return;
        CPU_ZERO(&one);
        if (cpu >= 0)
                CPU_SET(cpu, &one);
        /* It may be none of ours, by our affinity or by that of the control group. */
        if (cpu >= CPU_SETSIZE || (cpu >= 0 && !CPU_ISSET(cpu, &pace->allowed)) ||
            sched_setaffinity(0, sizeof(one), cpu >= 0 ? &one : &pace->allowed) < 0)
                cpu = -1;
        if (cpu < 0 && pace->cpu >= 0)
                sched_setaffinity(0, sizeof(pace->allowed), &pace->allowed);
        pace->cpu = cpu;
}

static void pace_follow(struct pace *pace) {
        pace_go(pace, pace->way == PACE_FOLLOW ? thread_cpu(pace->caller) : -1);
}

static void trial_reset(struct pace *pace) {
        pace->trial = (struct pace_trial){0};
}

/* The ways take turns, and the one that took less time for as many requests wins. */
static void trial_step(struct pace *pace, uint64_t now) {
        struct pace_trial *trial = &pace->trial;

        if (trial->done++ == 0) {
                trial->began = now;
                return;
        }
        if (trial->done <= WINDOW)
                return;
        /* What a change of way costs is not what the way costs: the first window does not count. */
        if (trial->window > 0)
                trial->spent[pace->way] += now - trial->began;
        trial->done = 0;
        if (trial->window++ < WINDOWS) {
                pace->way = pace->way == PACE_SPIN ? PACE_FOLLOW : PACE_SPIN;
        } else {
                pace->way = trial->spent[PACE_SPIN] < trial->spent[PACE_FOLLOW] ? PACE_SPIN
                                                                                : PACE_FOLLOW;
                pace->left = HOLD;
                trial_reset(pace);
        }
        pace->misses = 0;
        pace_follow(pace);
}

/* Whether the last request was so long ago that callers may be elsewhere now. */
static bool is_over(const struct pace *pace, uint64_t now) {
        return now - pace->last >= UINT64_C(1000000) * PAUSE_MS;
}

void pace_answered(struct pace *pace, pid_t caller, uint64_t now) {
        bool paused = is_over(pace, now);

        pace->last = now;
        if (!pace->can_follow)
                return;
        if (paused || (caller != 0 && caller != pace->caller)) {
                pace->alone = 0;
                trial_reset(pace);
                pace_go(pace, -1);
        }
        if (caller != 0)
                pace->caller = caller;
        if (++pace->alone < ALONE_MIN)
                return;
        if (pace->left > 0)
                pace->left--;
        if (pace->left == 0 && pace->spin_ns > 0)
                trial_step(pace, now);
        else if (pace->alone % WINDOW == ALONE_MIN % WINDOW)
                pace_follow(pace);
}

void pace_woken(struct pace *pace, uint64_t now) {
        if (pace->cpu >= 0 || pace->spin_ns == 0 || pace->misses < SPIN_MISSES_MAX)
                return;
        /* Would a spin have caught it? */
        pace->hits = now - pace->last < pace->spin_ns ? pace->hits + 1 : 0;
        if (pace->hits >= SPIN_HITS_MIN)
                pace->misses = 0;
}

uint64_t pace_spin(const struct pace *pace) {
        return pace->cpu >= 0 || pace->misses >= SPIN_MISSES_MAX ? 0 : pace->spin_ns;
}

void pace_spun(struct pace *pace, bool found) {
        pace->misses = found ? 0 : pace->misses + 1;
        if (!found)
                pace->hits = 0;
}

void pace_rest(struct pace *pace) {
        pace->alone = 0;
        trial_reset(pace);
        pace_go(pace, -1);
}

int pace_timeout(struct pace *pace, uint64_t now) {
        if (pace->cpu < 0)
                return -1;
        if (!is_over(pace, now))
                return PAUSE_MS;
        pace_rest(pace);
        return -1;
}
