/* SPDX-License-Identifier: MIT */
#include "volume/txn.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "tree/stamp.h"

enum {
        MEMBERS_MAX = 12,
        FAULT_LEAST = 128, /* bytes of log; FAULT_COMMIT hits only larger transactions */
        CLOSING_SPARE = 4, /* places for backing ids that one step may need */
        LISTS_FIRST = 64,  /* initial capacity of the lists of descriptors */
};

struct hook {
        txn_fn fn;
        void *userdata;
};

struct member {
        txn_fn commit, abort;
        void *userdata;
};

struct closing {
        int fd;
        uint64_t blocks;
};

struct txn {
        struct journal *journal;
        struct root *root;
        struct hook after[_TXN_AFTER_N];
        struct member members[MEMBERS_MAX];
        unsigned int n_members;
        txn_close_fn close;
        void *close_userdata;

        int error;           /* of txn_fail() */
        bool promised;       /* txn_check() has returned 0 */
        uint32_t registered; /* enum txn_after, as bits: of this transaction */
        uint32_t due;        /* the same, of committed transactions */
        bool running;        /* txn_run_due() is running */

        int *opened; /* descriptors that an abort closes */
        size_t n_opened, opened_capacity;
        struct closing
                *closing; /* the first n_due are committed, the rest are this transaction's */
        size_t n_due, n_closing, closing_capacity;
};

int txn_new(struct txn **out, struct journal *journal) {
        struct txn *txn = calloc(1, sizeof(*txn));

        if (!txn)
                return -ENOMEM;
        txn->journal = journal;
        txn->root = journal_root(journal);
        txn->opened = calloc(LISTS_FIRST, sizeof(*txn->opened));
        txn->closing = calloc(LISTS_FIRST, sizeof(*txn->closing));
        if (!txn->opened || !txn->closing) {
                txn_free(txn);
                return -ENOMEM;
        }
        txn->opened_capacity = txn->closing_capacity = LISTS_FIRST;
        *out = txn;
        return 0;
}

struct txn *txn_free(struct txn *txn) {
        if (!txn)
                return NULL;
        for (size_t i = 0; i < txn->n_due; i++)
                close(txn->closing[i].fd);
        free(txn->closing);
        free(txn->opened);
        free(txn);
        return NULL;
}

struct journal *txn_journal(const struct txn *txn) {
        return txn->journal;
}

void txn_set_after(struct txn *txn, enum txn_after kind, txn_fn fn, void *userdata) {
        txn->after[kind] = (struct hook){fn, userdata};
}

void txn_set_close(struct txn *txn, txn_close_fn fn, void *userdata) {
        txn->close = fn;
        txn->close_userdata = userdata;
}

void txn_add_member(struct txn *txn, txn_fn commit, txn_fn abort, void *userdata) {
        if (txn->n_members < MEMBERS_MAX)
                txn->members[txn->n_members++] = (struct member){commit, abort, userdata};
}

void txn_remove_member(struct txn *txn, const void *userdata) {
        unsigned int n = 0;

        for (unsigned int i = 0; i < txn->n_members; i++)
                if (txn->members[i].userdata != userdata)
                        txn->members[n++] = txn->members[i];
        txn->n_members = n;
}

/* Makes room for one more element; false: there is no memory. */
static bool grow(void **array, size_t n, size_t *capacity, size_t size) {
        size_t wanted = *capacity * 2;
        void *grown;

        if (fault_strikes(FAULT_MEMORY))
                return false;
        if (n < *capacity)
                return true;
        grown = realloc(*array, wanted * size);
        if (!grown)
                return false;
        *array = grown;
        *capacity = wanted;
        return true;
}

int txn_own_fd(struct txn *txn, int fd) {
        if (!grow((void **)&txn->opened, txn->n_opened, &txn->opened_capacity,
                  sizeof(*txn->opened))) {
                close(fd);
                txn_fail(txn, -ENOMEM);
                return -ENOMEM;
        }
        txn->opened[txn->n_opened++] = fd;
        return fd;
}

void txn_after_commit(struct txn *txn, enum txn_after kind) {
        txn->registered |= UINT32_C(1) << kind;
}

void txn_close_later(struct txn *txn, int fd, uint64_t blocks) {
        if (fd < 0)
                return;
        if (!grow((void **)&txn->closing, txn->n_closing, &txn->closing_capacity,
                  sizeof(*txn->closing)))
                txn_fail(txn, -ENOMEM);
        else
                txn->closing[txn->n_closing++] = (struct closing){fd, blocks};
}

void txn_fail(struct txn *txn, int error) {
        if (txn->error == 0)
                txn->error = error;
}

bool txn_is_nearly_full(const struct txn *txn) {
        return journal_is_nearly_full(txn->journal) ||
               txn->root->n_closing + CLOSING_SPARE > LAYOUT_CLOSING_MAX;
}

int txn_check(struct txn *txn) {
        if (txn->error < 0)
                return txn->error;
        if (txn->promised)
                return 0;
        if (journal_is_over(txn->journal))
                return -ENOMEM;
        /* A change of a word or two must always succeed. */
        if (journal_size(txn->journal) > FAULT_LEAST && fault_strikes(FAULT_COMMIT))
                return -ENOMEM;
        txn->promised = true;
        return 0;
}

/* The transaction is committed, so the work that it registered is due. */
static void txn_stand(struct txn *txn) {
        stamp_end();
        txn->due |= txn->registered;
        txn->registered = 0;
        txn->promised = false;
        txn->n_due = txn->n_closing;
        txn->n_opened = 0;
        for (unsigned int i = 0; i < txn->n_members; i++)
                txn->members[i].commit(txn->members[i].userdata);
}

static void txn_close_due(struct txn *txn) {
        while (txn->n_due > 0) {
                struct closing closing = txn->closing[--txn->n_due];

                txn->n_closing = txn->n_due;
                if (txn->close)
                        txn->close(txn->close_userdata, closing.fd, closing.blocks);
                else
                        close(closing.fd);
                journal_crash_point(txn->journal);
        }
}

/* Work that commits calls this function again; that call returns, and the outer one does the new
 * work. */
static void txn_run_due(struct txn *txn) {
        if (txn->running)
                return;
        txn->running = true;
        while (txn->due != 0 || txn->n_due > 0) {
                unsigned int kind = txn->due ? (unsigned int)__builtin_ctz(txn->due) : 0;

                if (txn->due == 0) {
                        txn_close_due(txn);
                        continue;
                }
                txn->due &= ~(UINT32_C(1) << kind);
                if (txn->after[kind].fn)
                        txn->after[kind].fn(txn->after[kind].userdata);
                journal_crash_point(txn->journal);
        }
        txn->running = false;
}

void txn_insist(struct txn *txn) {
        txn->error = 0;
        txn->promised = true;
}

int txn_commit(struct txn *txn) {
        int r = txn_check(txn);

        if (r < 0) {
                txn_abort(txn);
                return r;
        }
        if (journal_dirty(txn->journal))
                journal_commit(txn->journal);
        txn_stand(txn);
        txn_run_due(txn);
        return 0;
}

void txn_commit_anyway(struct txn *txn) {
        txn_insist(txn);
        (void)txn_commit(txn);
}

int txn_commit_reply(struct txn *txn, uint64_t key, const struct iovec *iov, int n_iov,
                     txn_send_fn send, void *userdata) {
        int r = txn_check(txn);

        if (r < 0) {
                txn_abort(txn);
                return r;
        }
        if (journal_dirty(txn->journal))
                journal_commit_outcome(txn->journal, key, iov, n_iov);
        send(userdata, iov, n_iov);
        txn_stand(txn);
        txn_run_due(txn);
        return 0;
}

void txn_abort(struct txn *txn) {
        journal_rollback(txn->journal);
        stamp_end();
        for (size_t i = 0; i < txn->n_opened; i++)
                close(txn->opened[i]);
        txn->n_opened = 0;
        txn->n_closing = txn->n_due;
        txn->registered = 0;
        txn->error = 0;
        txn->promised = false;
        for (unsigned int i = 0; i < txn->n_members; i++)
                txn->members[i].abort(txn->members[i].userdata);
}
