/* SPDX-License-Identifier: MIT */
#include "socket/account.h"

#include <stdlib.h>

struct account *account_get(struct account **list, uid_t uid) {
        struct account *user;

        for (user = *list; user; user = user->next)
                if (user->uid == uid)
                        return user;
        user = calloc(1, sizeof(*user));
        if (!user)
                return NULL;
        user->uid = uid;
        user->next = *list;
        *list = user;
        return user;
}

void account_drop_if_idle(struct account **list, struct account *user) {
        struct account **at = list;

        if (user->clients > 0)
                return;
        while (*at != user)
                at = &(*at)->next;
        *at = user->next;
        free(user);
}
