/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * error: the text of the last failure of each thread.
 *
 * Never: allocates.
 */

/* Stores the text for iomem_error() and returns error (a negative errno). */
int error_set(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As error_set(), with the meaning of the errno: "WHAT: no such file or directory". */
int error_about(int error, const char *what);
