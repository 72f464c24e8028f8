/* SPDX-License-Identifier: MIT */
#include "control/handles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/users.h"

enum { SHARE = 4 }; /* a user may have one of so many parts of what is left */

/* The numbers of one user. */
struct user {
        uint32_t handles;
        uint32_t records;
        /* The numbers before this transaction, if it has changed them. */
        uint32_t old_handles, old_records;
        bool touched;
        struct user *next_touched;
};

struct handles {
        struct txn *txn;
        struct journal *journal;
        struct users *users;           /* of struct user */
        struct user *touched;          /* changed by this transaction */
        uint32_t n_handles, n_records; /* of all users, root included */
};

static void user_drop_if_idle(struct handles *handles, struct user *user) {
        if (user->touched || user->handles > 0 || user->records > 0)
                return;
        users_remove(handles->users, user);
}

/* A commit keeps the changed numbers; an abort restores the old ones. */

static void user_add(struct handles *handles, struct user *user, int more_handles,
                     int more_records) {
        if (!user->touched) {
                user->touched = true;
                user->old_handles = user->handles;
                user->old_records = user->records;
                user->next_touched = handles->touched;
                handles->touched = user;
        }
        user->handles += (uint32_t)more_handles;
        user->records += (uint32_t)more_records;
        handles->n_handles += (uint32_t)more_handles;
        handles->n_records += (uint32_t)more_records;
}

static void user_restore(struct handles *handles, struct user *user) {
        handles->n_handles += user->old_handles - user->handles;
        handles->n_records += user->old_records - user->records;
        user->handles = user->old_handles;
        user->records = user->old_records;
}

static void handles_end(struct handles *handles, bool aborted) {
        while (handles->touched) {
                struct user *user = handles->touched;

                handles->touched = user->next_touched;
                user->touched = false;
                if (aborted)
                        user_restore(handles, user);
                user_drop_if_idle(handles, user);
        }
}

static void handles_on_commit(void *userdata) {
        handles_end(userdata, false);
}

static void handles_on_abort(void *userdata) {
        handles_end(userdata, true);
}

/* Whether a user with `used` may have `more`, when all users together have `all` of `max`.  What is
 * beyond max is for root with its power. */
static bool share_has(const struct handle *of, uint32_t used, uint32_t more, uint32_t all,
                      uint32_t max) {
        return (of->uid == 0 && !(of->flags & HANDLE_POWERLESS)) ||
               (all < max && used + more <= (max - all) / SHARE);
}

/* A handle that nobody opened counts as one more record. */
static int handle_is_kept(const struct handle *handle) {
        return handle->flags & HANDLE_KEPT ? 1 : 0;
}

static uint32_t handle_records(const struct journal *journal, const struct handle *handle) {
        return chain_count(journal, handle->groups) + chain_count(journal, handle->text) +
               chain_count(journal, handle->listing.levels) +
               chain_count(journal, handle->listing.carry);
}

int handles_new(struct handles **out, struct txn *txn) {
        struct journal *journal = txn_journal(txn);
        uint32_t high = journal_high(journal, TABLE_HANDLE);
        struct handles *handles;

        handles = calloc(1, sizeof(*handles));
        if (!handles)
                return -ENOMEM;
        handles->txn = txn;
        handles->journal = journal;
        if (users_new(&handles->users, sizeof(struct user)) < 0) {
                handles_free(handles);
                return -ENOMEM;
        }
        for (uint32_t id = 1; id <= high; id++) {
                const struct handle *handle = handles_get(handles, id);
                struct user *user = handle ? users_get(handles->users, handle->uid) : NULL;
                uint32_t records;

                if (!handle)
                        continue;
                if (!user) {
                        handles_free(handles);
                        return -ENOMEM;
                }
                records = handle_records(journal, handle) + handle_is_kept(handle);
                user->handles += !handle_is_kept(handle);
                user->records += records;
                handles->n_handles += !handle_is_kept(handle);
                handles->n_records += records;
        }
        txn_add_member(txn, handles_on_commit, handles_on_abort, handles);
        *out = handles;
        return 0;
}

struct handles *handles_free(struct handles *handles) {
        if (!handles)
                return NULL;
        txn_remove_member(handles->txn, handles);
        users_free(handles->users);
        free(handles);
        return NULL;
}

struct handle *handles_get(const struct handles *handles, uint32_t id) {
        struct handle *handle = journal_get(handles->journal, TABLE_HANDLE, id);

        return handle && handle->id == id ? handle : NULL;
}

static int handle_keep_groups(struct handles *handles, struct handle *handle,
                              const struct caller *opener) {
        size_t n = opener->n_groups;

        if (n > HANDLES_GROUPS_MAX)
                n = HANDLES_GROUPS_MAX;
        handle->n_groups = (uint32_t)n;
        return handles_store(handles, handle, &handle->groups, opener->groups, n * sizeof(gid_t));
}

static bool share_has_handle(const struct handles *handles, const struct user *user,
                             const struct handle *handle) {
        if (handle_is_kept(handle))
                return share_has(handle, user->records, 1, handles->n_records, HANDLES_RECORDS_MAX);
        return share_has(handle, user->handles, 1, handles->n_handles, HANDLES_MAX);
}

static int handles_make(struct handles *handles, const struct caller *opener, uint32_t flags,
                        struct handle **out) {
        const struct handle born = {
                .uid = opener->uid,
                .gid = opener->gid,
                .flags = flags | (opener->powerless ? HANDLE_POWERLESS : 0),
                .base = UINT64_MAX,
        };
        struct user *user = users_get(handles->users, opener->uid);
        struct handle *handle;
        uint32_t id = 0;

        if (!user)
                return -ENOMEM;
        if (share_has_handle(handles, user, &born))
                id = journal_new(handles->journal, TABLE_HANDLE);
        if (id == 0) {
                user_drop_if_idle(handles, user);
                return -ENFILE;
        }
        user_add(handles, user, !handle_is_kept(&born), handle_is_kept(&born));
        handle = journal_get(handles->journal, TABLE_HANDLE, id);
        *handle = born;
        handle->id = id;
        if (handle_keep_groups(handles, handle, opener) < 0) {
                handles_delete(handles, handle);
                return -ENFILE;
        }
        *out = handle;
        return 0;
}

int handles_add(struct handles *handles, const struct caller *opener, struct handle **out) {
        return handles_make(handles, opener, 0, out);
}

int handles_add_kept(struct handles *handles, const struct caller *owner, struct handle **out) {
        return handles_make(handles, owner, HANDLE_KEPT, out);
}

void handles_delete(struct handles *handles, struct handle *handle) {
        struct user *user = users_find(handles->users, handle->uid);
        int kept = handle_is_kept(handle);

        handles_store(handles, handle, &handle->groups, NULL, 0);
        handles_store(handles, handle, &handle->text, NULL, 0);
        handles_store(handles, handle, &handle->listing.levels, NULL, 0);
        handles_store(handles, handle, &handle->listing.carry, NULL, 0);
        journal_delete(handles->journal, TABLE_HANDLE, handle->id);
        user_add(handles, user, kept - 1, -kept);
}

int handles_store(struct handles *handles, const struct handle *handle, uint32_t *head,
                  const void *bytes, size_t length) {
        uint32_t have = chain_count(handles->journal, *head), need = chain_records(length);
        struct user *user = users_find(handles->users, handle->uid);
        int r;

        if (need > have &&
            !share_has(handle, user->records, need - have, handles->n_records, HANDLES_RECORDS_MAX))
                return -ENOMEM;
        r = chain_store(handles->journal, head, bytes, length);
        if (r < 0)
                return r;
        user_add(handles, user, 0, (int)(need - have));
        return 0;
}

struct caller handles_opener(const struct handles *handles, const struct handle *handle,
                             pid_t pid) {
        struct caller caller = {
                .uid = handle->uid,
                .gid = handle->gid,
                .pid = pid,
                .powerless = handle->flags & HANDLE_POWERLESS,
                .has_groups = true,
        };

        if (handle->n_groups == 0)
                return caller;
        /* If the groups are missing, the caller only has fewer rights. */
        caller.groups = malloc(handle->n_groups * sizeof(gid_t));
        if (!caller.groups)
                return caller;
        caller.n_groups = handle->n_groups;
        chain_load(handles->journal, handle->groups, 0, caller.groups,
                   caller.n_groups * sizeof(gid_t));
        return caller;
}

bool handle_is_of(const struct handle *handle, const struct caller *caller) {
        return handle->uid == caller->uid && handle->gid == caller->gid;
}

bool handles_is_admin(const struct handles *handles, struct caller *caller) {
        const struct root *root = journal_root(handles->journal);

        return access_is_admin(&root->settings, caller);
}

uint32_t handles_used(const struct handles *handles) {
        return handles->n_handles;
}

uint32_t handles_used_by(const struct handles *handles, uid_t uid) {
        const struct user *user = users_find(handles->users, uid);

        return user ? user->handles : 0;
}
