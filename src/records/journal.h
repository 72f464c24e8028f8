/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * journal: crash-safe records in one memfd.
 *
 * Owns the memfd and its mapping: a root record, a scratch area, and tables of fixed-size records
 * with free lists.  Changes are made in transactions.  Before a byte is changed, its old value is
 * saved to an undo log.  A commit empties the log with one store.  The same store makes the
 * transaction's *outcome* valid: a short message for the client that asked for the change.  A
 * process that attaches to the memfd of a dead one rolls the log back before it reads any record.
 * So, after a kill at any instruction, each transaction has happened wholly or not at all, and the
 * outcome of the last one can be sent again.
 *
 * A transaction is bounded.  Code that walks many records asks journal_is_nearly_full() and commits
 * as it goes.  A transaction beyond JOURNAL_BOUND must not be committed.  The log itself has room
 * for many times that, so that it can always be undone.
 *
 * Never: knows what a record means, allocates per change, locks.  Only one thread may change a
 * journal.  Stores of a killed process are not lost, because the memory is the memfd's; so no
 * flushes are needed, only compiler ordering.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct journal;

struct journal_table_spec {
        uint32_t record_size; /* bytes, a multiple of 8 */
        uint32_t capacity;    /* records; ids run from 1 to capacity */
        /* 1: the memory of a deleted record is given back to the kernel.  record_size must be a
         * multiple of the page then. */
        uint32_t gives_back;
};

struct journal_spec {
        uint32_t version;    /* of the layout; journal_attach() refuses any other */
        size_t root_size;    /* bytes of the root record */
        size_t scratch_size; /* bytes of the scratch area, which no transaction covers */
        unsigned int n_tables;
        const struct journal_table_spec *tables;
};

enum {
        JOURNAL_MAX_TABLES = 32,
        JOURNAL_OUTCOME_MAX = 64 * 1024,         /* bytes; longer outcomes are not kept */
        JOURNAL_BOUND = 4 * 1024 * 1024,         /* bytes of undo log that a transaction may take */
        JOURNAL_NEARLY_FULL = JOURNAL_BOUND / 4, /* from here on, commit and go on */
};

/* Makes a journal in a new memfd (close-on-exec).  0, or -ENOMEM and the errors of memfd_create. */
int journal_create(struct journal **out, const struct journal_spec *spec);

/*
 * Attaches to the journal in fd, and rolls back the transaction that its last user did not finish.
 * If its records were converted (journal_convert.h), drops the old ones.
 * fd is taken over on success only.  0, -EPROTO (no journal, or another layout), -ENOMEM.
 */
int journal_attach(struct journal **out, int fd, const struct journal_spec *spec);

/* Unmaps and closes.  The records live on if another process has the memfd open.  Returns NULL. */
struct journal *journal_free(struct journal *journal);

/* The memfd, which stays the journal's; the root record; and the scratch area. */
int journal_fd(const struct journal *journal);
void *journal_root(const struct journal *journal);
void *journal_scratch(const struct journal *journal);

/* The record, or NULL if id is 0 or was never given out.  A free record keeps its old bytes except
 * the first 4; so users must mark in a record whether it is live. */
void *journal_get(const struct journal *journal, unsigned int table, uint32_t id);

/* Takes a record, zeroed; returns its id, or 0 if the table is full.  Until the commit its bytes
 * may be set without journal_touch(). */
uint32_t journal_new(struct journal *journal, unsigned int table);
/* As journal_new(), for a caller that has made sure that the table is not full. */
uint32_t journal_new_reserved(struct journal *journal, unsigned int table);

/* Gives a record back.  Its first 4 bytes become the link of the free list, unless its memory goes
 * back to the kernel. */
void journal_delete(struct journal *journal, unsigned int table, uint32_t id);

/* The number of records in use. */
uint32_t journal_used(const struct journal *journal, unsigned int table);
/* The largest id ever given out; a walk over a table ends there. */
uint32_t journal_high(const struct journal *journal, unsigned int table);

/* Saves size bytes at p (in the root or in a record) to the undo log.  Call it before changing
 * them. */
void journal_touch(struct journal *journal, const void *p, size_t size);

#define JOURNAL_SET(journal, lvalue, value)                          \
        do {                                                         \
                journal_touch((journal), &(lvalue), sizeof(lvalue)); \
                (lvalue) = (value);                                  \
        } while (0)

/* Whether code that walks many records should commit now; and whether the transaction has become
 * too large to be committed. */
bool journal_is_nearly_full(const struct journal *journal);
bool journal_is_over(const struct journal *journal);
/* Bytes of undo log that the transaction has taken. */
size_t journal_size(const struct journal *journal);

/*
 * Ends the transaction and keeps its changes.  The previous outcome remains valid.  Only volume/txn
 * calls it, because a transaction has further parts besides the records.
 */
void journal_commit(struct journal *journal);

/*
 * Ends the transaction and makes (key, bytes of iov) its outcome, in one atomic step.  If there are
 * more than JOURNAL_OUTCOME_MAX bytes, the outcome is the key with length 0.
 */
void journal_commit_outcome(struct journal *journal, uint64_t key, const struct iovec *iov,
                            int n_iov);

/* The outcome of the last transaction that had one; key 0 and length 0 if there was none. */
const void *journal_outcome(const struct journal *journal, uint64_t *key, size_t *length);

/* Puts back the old values.  State outside of the journal is the caller's to undo. */
void journal_rollback(struct journal *journal);

/* Whether the transaction has changed anything so far. */
bool journal_dirty(const struct journal *journal);

/*
 * For tests: kills this process at the n-th crash point from now; 0 disarms.  Crash points are
 * before and after each saved change, each commit and each reply.  The count lives in the journal,
 * so that it strikes only once.
 */
void journal_crash_after(struct journal *journal, uint64_t n);
void journal_crash_point(struct journal *journal);
/* How many crash points are left until it strikes; 0 when disarmed. */
uint64_t journal_crash_left(const struct journal *journal);
