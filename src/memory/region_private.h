/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * region_private: what the files of region share.
 *
 *   region.c         making and releasing, sizes, accounts
 *   region_rights.c  owners, seals, and descriptors for other processes
 */

#include "memory/region.h"
#include "memory/window.h"

enum { REGIONS_OWNED_MAX = 8 };

struct regions {
        struct journal *journal;
        struct root *root;
        struct quota *quota;
        struct windows *windows;

        /* Work for the end of the transaction. */
        uint32_t owned
                [REGIONS_OWNED_MAX]; /* regions whose backing files got another owner or mode */
        unsigned int n_owned;

        void (*on_cut)(void *userdata, struct node *node);
        void *on_cut_userdata;
};

/* Sets owner and permissions of the backing file.  0 or negative errno. */
int region_set_owner(struct regions *regions, const struct node *node);
/* Follow what holders of exported descriptors did to the file. */
void region_note_seals(struct regions *regions, struct node *node);
void region_note_setid(struct regions *regions, struct node *node, const struct stat *st);
