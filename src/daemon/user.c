/* SPDX-License-Identifier: MIT */
#include "user.h"

#include <stdlib.h>

struct user *user_get(struct user **list, uid_t uid) {
        struct user *user;

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

void user_drop_if_idle(struct user **list, struct user *user) {
        struct user **at = list;

        if (user->clients > 0)
                return;
        while (*at != user)
                at = &(*at)->next;
        *at = user->next;
        free(user);
}
