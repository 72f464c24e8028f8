/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pace: how the worker waits for the next request.
 *
 * A request that is answered in a few microseconds costs mostly two wake-ups: ours and the
 * caller's.  There are two ways to make them cheap, and which is better depends on the machine:
 *
 *   - to spin: look for the next request for a while before sleeping.  We need not be woken, but the
 *     caller has to be, on another CPU that has gone idle, which on a virtual machine is dear;
 *   - to follow: run on the CPU of the caller.  It sleeps while we work and we while it works, so
 *     the CPU is never idle, and a wake-up is a switch from one to the other.
 *
 * As long as one thread does all the asking, both are tried, a few windows of requests each, and
 * the quicker one is used for the next thousands.  With several callers we follow nobody, nor one
 * with a real-time policy or a negative nice value.  When there is no request for a while, we
 * neither spin nor stay on a CPU.
 *
 * Owns the CPU affinity of the thread that calls it.
 *
 * Never: reads requests, or the clock: now is in nanoseconds, of CLOCK_MONOTONIC.
 */

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum pace_way { PACE_SPIN, PACE_FOLLOW, PACE_WAYS };

struct pace {
        uint64_t spin_ns; /* longest spin; 0: never */
        cpu_set_t allowed;
        bool can_follow;

        uint64_t last;      /* when the last request was answered */
        pid_t caller;       /* the thread that asked last */
        unsigned int alone; /* requests in a row by it */

        unsigned int misses, hits; /* spins in vain; requests that a spin would have caught */
        int cpu;                   /* the one that we are confined to, or -1 */

        enum pace_way way;
        unsigned int left; /* requests until the ways are compared (again) */
        struct pace_trial {
                unsigned int window, done; /* windows begun; requests in this one */
                uint64_t began;
                uint64_t spent[PACE_WAYS];
        } trial;
};

/* spin_ns: the longest time to spin, 0 for never.  For the calling thread. */
void pace_init(struct pace *pace, uint64_t spin_ns);

/* A request of the given thread has been answered; 0 if it is nobody's (RELEASE, FORGET). */
void pace_answered(struct pace *pace, pid_t caller, uint64_t now);
/* Woken from sleep by a request that is yet to be read. */
void pace_woken(struct pace *pace, uint64_t now);

/* How long to look for the next request before sleeping, ns; and what came of it. */
uint64_t pace_spin(const struct pace *pace);
void pace_spun(struct pace *pace, bool found);
/* How long to sleep before this is called again, milliseconds; -1: as long as there is nothing. */
int pace_timeout(struct pace *pace, uint64_t now);
/* Back to all CPUs: when nothing happens, and before the thread becomes another program. */
void pace_rest(struct pace *pace);
