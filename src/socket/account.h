/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * account: what the connections of one user of the socket make the daemon hold.
 *
 * Owns the accounts, and the rule of who may have how much of what all share.
 */

#include <stdbool.h>
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
/*
 * Whether one more of `used` connections, of `max` that there can be, is the user's share: an
 * ordinary user has less than a quarter of what is left, and the last sixteenth is the
 * administrator's, who may have all.
 */
bool account_may_connect(const struct account *user, uint32_t used, uint32_t max, bool is_admin);
/* How many connections there can be, by the descriptors that regions leave to them. */
uint32_t account_connections_max(void);
/* Sets what one connection adds to a sum of its user. */
void account_charge(uint64_t *sum, uint64_t *charged, uint64_t bytes);
/* Takes an account without connections off the list. */
void account_drop_if_idle(struct account **list, struct account *user);
