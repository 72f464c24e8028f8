/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * size: sizes in bytes as people write and read them, as in util-linux.
 *
 * 4096 and 4096B are bytes; 64M and 64MiB are units of 1024 * 1024, 64MB of 1000 * 1000; 1.5G has a
 * fraction, which needs a unit.  Units are K, M, G, T, P and E, in either case; 0x1000 is in base
 * 16.  The daemon's options and commands, and iomem, use this one parser.
 *
 * Owns nothing.  Never: allocates, depends on the locale.  Thread-safe.
 */

#include <stddef.h>
#include <stdint.h>

/* For an error: "64X: not a size (" SIZE_HOW ")". */
#define SIZE_HOW "a number with a unit of B, K, M, G, T, P or E, as in 4096B, 1.5G, 64MiB or 64MB"

enum { SIZE_TEXT_MAX = 32 };

/* 0, -EINVAL, -EFBIG (more than INT64_MAX). */
int size_parse(const char *text, size_t length, uint64_t *out);
/* A number of things, such as files: with units of 1024 or 1000, but no B alone and no fraction. */
int size_parse_count(const char *text, size_t length, uint64_t *out);
/* A whole number without unit, in base 10. */
int size_parse_whole(const char *text, size_t length, uint64_t *out);

/* Writes 1536 as 1.5K, and 1023 as 1023B. */
void size_format(char out[SIZE_TEXT_MAX], uint64_t bytes);
