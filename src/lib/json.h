/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * json: parses the daemon's descriptions of regions and limits.
 *
 * Accepts any JSON.  It skips members that it does not know, so that it understands a newer daemon.
 *
 * Owns nothing.  Never: reads beyond the given end.
 */

#include <stdbool.h>
#include <stddef.h>
#include "iomem.h"

enum { JSON_NAME_MAX = 4096 }; /* with its terminator */

/* Parses one region, an object.  0, -EBADMSG. */
int json_region(const char *text, size_t length, struct iomem_stat *out);

/* Calls fn for each object of the array "regions", and with `all` also of "populating".  Stops when
 * fn returns a value other than 0, and returns that.  0, -EBADMSG. */
int json_regions(const char *text, size_t length, bool all, iomem_list_fn fn, void *userdata);
/* The same for the array "limits". */
int json_spaces(const char *text, size_t length, iomem_space_fn fn, void *userdata);
