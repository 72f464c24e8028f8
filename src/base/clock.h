/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * clock: CLOCK_MONOTONIC as a number, for what takes time and for deadlines.
 */

#include <stdint.h>

uint64_t clock_ns(void);
uint64_t clock_ms(void);
