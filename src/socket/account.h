/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * user: what the connections of one user of the socket make the daemon hold.
 *
 * Owns the accounts.  Never: knows the limits.
 */

#include <stdint.h>
#include <sys/types.h>

struct account {
        uid_t uid;
        uint32_t clients;
        uint32_t waits;      /* for names, and for regions to be populated */
        uint64_t unfinished; /* bytes of lines without an end */
        uint64_t unread;     /* bytes of long answers */
        struct account *next;
};

/* The account in the list, made if there is none; NULL: out of memory. */
struct account *account_get(struct account **list, uid_t uid);
/* Takes an account without connections off the list. */
void account_drop_if_idle(struct account **list, struct account *user);
