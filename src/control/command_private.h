/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * command_private: declarations that command_parse.c and command_run.c share, for error texts.
 */

#include "control/command.h"

/* Sets the text; returns r. */
int command_fail(struct command_error *error, int r, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* The text that goes with an errno about the command's name. */
int command_fail_name(struct command_error *error, int r, const struct command *command);

/* A word as it can be shown in an error of one line. */
struct command_shown {
        char text[132];
};
struct command_shown command_show(const char *word, size_t length);
