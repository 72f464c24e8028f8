/* SPDX-License-Identifier: MIT */
#include "control/last_error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "control/ctl.h"

struct last_errors {
        struct txn *txn;
        struct journal *journal;
        struct handles *handles;
        uint64_t next_order;
        struct error_list {
                uint32_t n;
                uint32_t ids[LAST_ERRORS_MAX]; /* handles, in no order */
        } list, before;                        /* before this transaction changed it */
        bool changed;
};

/* Commit and abort keep the list equal to the records. */

static void errors_change(struct last_errors *errors) {
        if (errors->changed)
                return;
        errors->changed = true;
        errors->before = errors->list;
}

static void errors_on_commit(void *userdata) {
        ((struct last_errors *)userdata)->changed = false;
}

static void errors_on_abort(void *userdata) {
        struct last_errors *errors = userdata;

        if (errors->changed)
                errors->list = errors->before;
        errors->changed = false;
}

int last_errors_new(struct last_errors **out, struct txn *txn, struct handles *handles) {
        struct journal *journal = txn_journal(txn);
        uint32_t high = journal_high(journal, TABLE_HANDLE);
        struct last_errors *errors;

        errors = calloc(1, sizeof(*errors));
        if (!errors)
                return -ENOMEM;
        errors->txn = txn;
        errors->journal = journal;
        errors->handles = handles;
        errors->next_order = 1;
        for (uint32_t id = 1; id <= high && errors->list.n < LAST_ERRORS_MAX; id++) {
                const struct handle *handle = handles_get(handles, id);

                if (!handle || handle->kind != CTL_ERROR || handle->order == 0)
                        continue;
                errors->list.ids[errors->list.n++] = id;
                if (handle->order >= errors->next_order)
                        errors->next_order = handle->order + 1;
        }
        txn_add_member(txn, errors_on_commit, errors_on_abort, errors);
        *out = errors;
        return 0;
}

struct last_errors *last_errors_free(struct last_errors *errors) {
        if (errors)
                txn_remove_member(errors->txn, errors);
        free(errors);
        return NULL;
}

static struct handle *error_at(const struct last_errors *errors, uint32_t at) {
        return handles_get(errors->handles, errors->list.ids[at]);
}

static bool error_is_for(const struct handle *error, const struct handle *who) {
        return error->uid == who->uid && error->dir == who->dir &&
               error->dir_generation == who->dir_generation;
}

static struct handle *error_find(const struct last_errors *errors, const struct handle *who) {
        for (uint32_t i = 0; i < errors->list.n; i++)
                if (error_is_for(error_at(errors, i), who))
                        return error_at(errors, i);
        return NULL;
}

static uint32_t errors_of(const struct last_errors *errors, uid_t uid) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < errors->list.n; i++)
                n += error_at(errors, i)->uid == uid;
        return n;
}

static void error_drop_oldest(struct last_errors *errors, uid_t uid) {
        uint32_t oldest = LAST_ERRORS_MAX;

        for (uint32_t i = 0; i < errors->list.n; i++)
                if (error_at(errors, i)->uid == uid &&
                    (oldest == LAST_ERRORS_MAX ||
                     error_at(errors, i)->order < error_at(errors, oldest)->order))
                        oldest = i;
        if (oldest == LAST_ERRORS_MAX)
                return;
        errors_change(errors);
        handles_delete(errors->handles, error_at(errors, oldest));
        errors->list.ids[oldest] = errors->list.ids[--errors->list.n];
}

/* Finds the user with the most errors.  After sorting by user, equal ones are neighbours. */
static int compare_uids(const void *a, const void *b) {
        uid_t x = *(const uid_t *)a, y = *(const uid_t *)b;

        return x < y ? -1 : x > y;
}

static uid_t errors_greediest(const struct last_errors *errors) {
        uid_t uids[LAST_ERRORS_MAX], greediest = 0;
        uint32_t run = 0, longest = 0;

        for (uint32_t i = 0; i < errors->list.n; i++)
                uids[i] = error_at(errors, i)->uid;
        qsort(uids, errors->list.n, sizeof(*uids), compare_uids);
        for (uint32_t i = 0; i < errors->list.n; i++) {
                run = i > 0 && uids[i] == uids[i - 1] ? run + 1 : 1;
                if (run > longest) {
                        longest = run;
                        greediest = uids[i];
                }
        }
        return greediest;
}

static struct handle *error_new(struct last_errors *errors, const struct handle *who) {
        const struct caller user = {.uid = who->uid, .gid = who->gid};
        struct handle *error;

        if (errors_of(errors, who->uid) >= LAST_ERRORS_USER)
                error_drop_oldest(errors, who->uid);
        if (errors->list.n == LAST_ERRORS_MAX)
                error_drop_oldest(errors, errors_greediest(errors));
        if (handles_add_kept(errors->handles, &user, &error) < 0)
                return NULL;
        errors_change(errors);
        error->kind = CTL_ERROR;
        error->dir = who->dir;
        error->dir_generation = who->dir_generation;
        errors->list.ids[errors->list.n++] = error->id;
        return error;
}

void last_error_keep(struct last_errors *errors, const struct handle *by, const char *text,
                     size_t length) {
        struct handle *error = error_find(errors, by);

        if (!error)
                error = error_new(errors, by);
        if (!error)
                return;
        journal_touch(errors->journal, error, sizeof(*error));
        error->order = errors->next_order++;
        error->text_length = 0;
        if (handles_store(errors->handles, error, &error->text, text, length) == 0)
                error->text_length = (uint32_t)length;
}

ssize_t last_error_read(const struct last_errors *errors, const struct handle *reader, char *buffer,
                        size_t size, uint64_t offset) {
        const struct handle *error = error_find(errors, reader);

        if (!error || offset >= error->text_length)
                return 0;
        if (size > error->text_length - offset)
                size = error->text_length - (size_t)offset;
        chain_load(errors->journal, error->text, (size_t)offset, buffer, size);
        return (ssize_t)size;
}
