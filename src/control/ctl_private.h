/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ctl_private: declarations that the two files of ctl share.  ctl.c has handles and reading;
 * ctl_write.c has writing, and writes that are suspended while a region is populated.
 */

#include "control/ctl.h"
#include "control/handles.h"
#include "control/last_error.h"
#include "control/listing.h"
#include "control/waiters.h"

struct run; /* a write(2) that is being carried out */

/* The properties of a kind. */
struct ctl_file {
        const char *name;
        uint32_t mode;
        int verb; /* enum command_verb of command files, -1 for others */
};
extern const struct ctl_file ctl_files[_CTL_N];

struct ctl {
        struct volume *volume;
        struct journal *journal;
        struct root *root;
        bool testing; /* the test-only command `crash` works */

        struct turns *turns;
        struct handles *handles;
        struct listings *listings;
        struct last_errors *errors;
        struct metrics_work work;

        struct waiters *waiters;
        uint64_t told; /* the next event whose readers have to be found */
        ctl_wake_fn wake;
        void *wake_userdata;

        char text[96];    /* for a directory's defaults or limit that are being read */
        struct run *runs; /* suspended writes */
        ctl_reply_fn reply;
        void *reply_userdata;
};

/* Whether the caller may write to .ctl/admin. */
bool ctl_is_admin(const struct ctl *ctl, struct caller *caller);
