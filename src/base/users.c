/* SPDX-License-Identifier: MIT */
#include "base/users.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define uthash_nonfatal_oom(element) ((element)->failed = true)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* In front of the entry that the caller sees. */
struct user {
        uid_t uid;
        bool failed; /* there was no memory for the index */
        UT_hash_handle hh;
        max_align_t entry[];
};

struct users {
        struct user *index;
        size_t size;
};

int users_new(struct users **out, size_t size) {
        struct users *users = calloc(1, sizeof(*users));

        if (!users)
                return -ENOMEM;
        users->size = size;
        *out = users;
        return 0;
}

static struct user *user_of(const void *entry) {
        return (struct user *)((char *)(uintptr_t)entry - offsetof(struct user, entry));
}

void users_remove(struct users *users, void *entry) {
        struct user *user = user_of(entry);

        HASH_DELETE(hh, users->index, user);
        free(user);
}

struct users *users_free(struct users *users) {
        if (!users)
                return NULL;
        while (users->index)
                users_remove(users, users->index->entry);
        free(users);
        return NULL;
}

void *users_find(const struct users *users, uid_t uid) {
        struct user *user;

        HASH_FIND(hh, users->index, &uid, sizeof(uid), user);
        return user ? user->entry : NULL;
}

void *users_get(struct users *users, uid_t uid) {
        void *entry = users_find(users, uid);
        struct user *user;

        if (entry)
                return entry;
        user = calloc(1, sizeof(*user) + users->size);
        if (!user)
                return NULL;
        user->uid = uid;
        HASH_ADD(hh, users->index, uid, sizeof(uid), user);
        if (user->failed) {
                free(user);
                return NULL;
        }
        return user->entry;
}

uid_t users_uid(const void *entry) {
        return user_of(entry)->uid;
}
