/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * json: reads what the daemon says about regions.
 *
 * Takes any JSON; members that it does not know are passed over, so that a newer daemon is
 * understood.
 *
 * Owns nothing.  Never: reads beyond the end that it was given.
 */

#include <stdbool.h>
#include <stddef.h>
#include "iomem.h"

enum { JSON_NAME_MAX = 4096 }; /* with its terminator */

/* One region: an object.  0, -EBADMSG. */
int json_region(const char *text, size_t length, struct iomem_stat *out);

/* Calls fn for each object of the array "regions", and with `all` of "populating", until it
 * returns something else than 0, which is returned.  -EBADMSG. */
int json_regions(const char *text, size_t length, bool all, iomem_list_fn fn, void *userdata);
