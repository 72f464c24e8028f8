/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * account: what the daemon stores for the connections of one user of the socket.
 *
 * Owns the accounts, and the rule that divides the connections among the users.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct account {
        uid_t uid;
        uint32_t clients;
        uint32_t waits;      /* for names, and for regions that are being populated */
        uint64_t unfinished; /* bytes of lines whose end has not come yet */
        uint64_t unread;     /* bytes of long replies that were not read */
        struct account *next;
};

/* The user's account in the list; it is made if there is none.  NULL: out of memory. */
struct account *account_get(struct account **list, uid_t uid);
/*
 * Whether the user may have one more connection, when `used` of `max` exist.  An ordinary user has
 * less than a quarter of what is left.  The last sixteenth is for the administrator, who may have
 * all.
 */
bool account_may_connect(const struct account *account, uint32_t used, uint32_t max, bool is_admin);
/* Sets the bytes that one connection adds to a sum of its user.  charged: its part so far. */
void account_charge(uint64_t *sum, uint64_t *charged, uint64_t bytes);
/* Frees an account that has no connections. */
void account_drop_if_idle(struct account **list, struct account *account);
