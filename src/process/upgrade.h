/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * upgrade: asks another program whether it can take over from this one, and lets it convert the
 * records.
 *
 * Owns nothing.  Never: changes the records itself, executes the program in this process.
 */

#include <stdbool.h>

/*
 * Whether the program can take over records of our layout.  0, and *layout: the layout that it has
 * itself; -EPROTO: it cannot, and *layout likewise; or negative errno: it does not run.
 */
int upgrade_ask(const char *program, int *layout);
/* Runs the program to convert the records in journal_fd, which nobody may use meanwhile.  0, or
 * negative errno: the records are as they were. */
int upgrade_convert(const char *program, int journal_fd);
