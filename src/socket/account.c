/* SPDX-License-Identifier: MIT */
#include "socket/account.h"

#include <stdlib.h>

struct account *account_get(struct account **list, uid_t uid) {
        struct account *account;

        for (account = *list; account; account = account->next)
                if (account->uid == uid)
                        return account;
        account = calloc(1, sizeof(*account));
        if (!account)
                return NULL;
        account->uid = uid;
        account->next = *list;
        *list = account;
        return account;
}

void account_drop_if_idle(struct account **list, struct account *account) {
        struct account **at = list;

        if (account->clients > 0)
                return;
        while (*at != account)
                at = &(*at)->next;
        *at = account->next;
        free(account);
}

bool account_may_connect(const struct account *account, uint32_t used, uint32_t max,
                         bool is_admin) {
        uint32_t reserve = is_admin ? 0 : max / 16 + 1;
        uint32_t left = max > used + reserve ? max - used - reserve : 0;

        return is_admin ? left > 0 : left > 0 && account->clients <= left / 4;
}

void account_charge(uint64_t *sum, uint64_t *charged, uint64_t bytes) {
        *sum += bytes - *charged;
        *charged = bytes;
}
