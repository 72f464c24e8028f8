/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * users: entries of users, found by uid.
 *
 * A module that counts what each user has, or gives users turns, keeps one entry for each of them.
 * The caller chooses the size of an entry; a new one is zeroed.  Entries stay where they are until
 * they are removed.
 *
 * Owns the entries.  Never: decides how long an entry is needed.  Not thread-safe.
 */

#include <stddef.h>
#include <sys/types.h>

struct users;

/* size: bytes of an entry.  0, -ENOMEM. */
int users_new(struct users **out, size_t size);
/* Frees the entries, too.  NULL is allowed; returns NULL. */
struct users *users_free(struct users *users);

/* The user's entry, or NULL. */
void *users_find(const struct users *users, uid_t uid);
/* The same; an entry is made if there is none.  NULL: out of memory. */
void *users_get(struct users *users, uid_t uid);
/* The user whose entry it is. */
uid_t users_uid(const void *entry);
/* Frees the entry. */
void users_remove(struct users *users, void *entry);
