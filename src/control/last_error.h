/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * last_error: the reason why the last command of a user in a directory failed, for .ctl/error.
 *
 * An error belongs to a user and to the directory whose control file was written, so that no user
 * learns a name that they could not have used there.  A user has at most LAST_ERRORS_USER of them.
 * When there are LAST_ERRORS_MAX, the user who has the most loses the oldest one.
 *
 * Owns handle records of the kind CTL_ERROR that nobody has open.  Never: makes the text of an
 * error.
 */

#include <sys/types.h>
#include "control/handles.h"

enum { LAST_ERRORS_MAX = 512, LAST_ERRORS_USER = 16 };

struct last_errors;

/* txn and handles stay the caller's and must outlive it.  0, -ENOMEM. */
int last_errors_new(struct last_errors **out, struct txn *txn, struct handles *handles);
struct last_errors *last_errors_free(struct last_errors *errors);

/* Keeps the text for the opener of a handle.  It is lost if there is no room. */
void last_error_keep(struct last_errors *errors, const struct handle *by, const char *text,
                     size_t length);
/* Reads the text for the opener of a handle; 0 at the end, and if there was no error. */
ssize_t last_error_read(const struct last_errors *errors, const struct handle *reader, char *buffer,
                        size_t size, uint64_t offset);
