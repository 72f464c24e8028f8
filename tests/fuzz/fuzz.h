/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fuzz: what libFuzzer, and replay.c in its place, call for each input.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert(3), never compiled away. */
#define FUZZ_CHECK(condition)                                                           \
        do {                                                                            \
                if (!(condition)) {                                                     \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
                        abort();                                                        \
                }                                                                       \
        } while (0)
