/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * clock: CLOCK_MONOTONIC as a number, to measure durations and to set deadlines.
 */

#include <stdint.h>

/* The time in nanoseconds, and in milliseconds, rounded down.  Thread-safe. */
uint64_t clock_ns(void);
uint64_t clock_ms(void);
