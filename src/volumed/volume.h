/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * volume: a volume on the iomemfs: a directory with a limit.
 *
 * Makes the directory with what its options say, if there is none: after the iomemfs was mounted
 * again, the same call makes the volumes again.  Finds out whether somebody uses one, and removes it with all
 * that is in it.
 *
 * Owns the directory "volumes" of the mount.  Never: keeps definitions (store.h), speaks HTTP.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { VOLUME_NAME_MAX = 200, VOLUME_ERROR_MAX = 512, VOLUME_WORDS_MAX = 256 };

struct volume_options {
        char limit[VOLUME_WORDS_MAX];    /* as for .ctl/limit, "" for none */
        char defaults[VOLUME_WORDS_MAX]; /* as for .ctl/default, "" for none */
        mode_t mode;
        uid_t uid;
        gid_t gid;
        bool read_only; /* it is shown as a read-only view */
};

/* The text of an error, for people. */
struct volume_error {
        char text[VOLUME_ERROR_MAX];
};

/* Sets the text, and returns -1. */
int volume_fail(struct volume_error *error, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* mount: where the iomemfs is mounted; views: the directory for views of read-only volumes.  Both
 * must stay valid. */
void volumes_set_place(const char *mount, const char *views);

/* Whether it can be the name of a volume. */
bool volume_is_name(const char *name);
/* The options before any was given. */
void volume_options_init(struct volume_options *out);
/* Sets the option.  0, or -1 and the text: it is unknown, or the value is wrong. */
int volume_option(struct volume_options *out, const char *name, const char *value,
                  struct volume_error *error);

/* Makes the volume if there is none.  *is_new: there was none. */
int volume_make(const char *name, const struct volume_options *options, bool *is_new,
                struct volume_error *error);
/* Whether a mount namespace has it mounted anywhere, except our view of it. */
bool volume_is_used(const char *name);
/* Removes it with its files, if there is one. */
int volume_remove(const char *name, struct volume_error *error);
/* Removes what a removal has left that was interrupted. */
void volumes_tidy(void);

/* Shows it, or ends the view; both do nothing if that is so already, or if it has no view. */
int volume_show(const char *name, const struct volume_options *options, struct volume_error *error);
void volume_hide(const char *name);
/* Where a container runtime finds it. */
void volume_path(char *out, size_t size, const char *name, const struct volume_options *options);
