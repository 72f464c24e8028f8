/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * journal: crash-safe records in one memfd.
 *
 * Owns the memfd and its mapping: a root record, a scratch area, and tables of fixed-size records
 * with free lists.  Changes are made in transactions.  Before a byte is changed its old value goes
 * to an undo log; a commit empties the log with one store, and, with the same store, makes valid
 * the *outcome* of the transaction: a short message for whoever asked for it.  A process that
 * attaches to the memfd of a dead one finds the log and rolls it back before it sees a record.
 * So, after a kill at any instruction, every transaction has happened wholly or not at all, and
 * the outcome of the last one that happened can be told again.
 *
 * A transaction is bounded.  Whoever walks many records asks journal_is_nearly_full() and commits
 * as it goes; one that has grown beyond JOURNAL_BOUND all the same is not to be committed.  The log
 * itself has room for many times that, so that it can always be undone.
 *
 * Never: knows what a record means, allocates per change, locks.  One thread changes a journal.
 * Stores of a killed process are not lost (the memory is the memfd's), so no flushes are needed,
 * only compiler ordering.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct journal;

struct journal_table_spec {
        uint32_t record_size; /* bytes, a multiple of 8 */
        uint32_t capacity;    /* records; ids run from 1 to capacity */
};

struct journal_spec {
        uint32_t version;    /* of the layout; another one is refused by journal_attach() */
        size_t root_size;    /* bytes of the root record */
        size_t scratch_size; /* bytes of the scratch area, which no transaction covers */
        unsigned int n_tables;
        const struct journal_table_spec *tables;
};

enum {
        JOURNAL_MAX_TABLES = 16,
        JOURNAL_OUTCOME_MAX = 64 * 1024,         /* bytes; longer outcomes are not kept */
        JOURNAL_BOUND = 4 * 1024 * 1024,         /* bytes of undo log that a transaction may take */
        JOURNAL_NEARLY_FULL = JOURNAL_BOUND / 4, /* so much is time to commit for who can go on */
};

/* Makes a journal in a new memfd (close-on-exec).  0, or -ENOMEM and the errors of memfd_create. */
int journal_create(struct journal **out, const struct journal_spec *spec);

/*
 * Attaches to the journal in fd, which is taken over on success only, and rolls back what its last
 * user left unfinished.  0, -EPROTO if it is no journal, or one of another layout, -ENOMEM.
 */
int journal_attach(struct journal **out, int fd, const struct journal_spec *spec);

/* Unmaps and closes; the records live on if another process holds the memfd.  Returns NULL. */
struct journal *journal_free(struct journal *journal);

int journal_fd(const struct journal *journal);
void *journal_root(const struct journal *journal);
void *journal_scratch(const struct journal *journal);

/* The record, or NULL if id is 0 or was never given out.  Free records read as their last user
 * left them, but for the first 4 bytes: users mark a live record in it themselves. */
void *journal_get(const struct journal *journal, unsigned int table, uint32_t id);

/* Takes a record, zeroed; 0 if the table is full.  Its bytes may be set without journal_touch()
 * until the commit. */
uint32_t journal_new(struct journal *journal, unsigned int table);
/* The same for who knows that the table is not full. */
uint32_t journal_new_reserved(struct journal *journal, unsigned int table);

/* Gives a record back.  Its first 4 bytes become the link of the free list. */
void journal_delete(struct journal *journal, unsigned int table, uint32_t id);

uint32_t journal_used(const struct journal *journal, unsigned int table);
/* The largest id ever given out: the end of a walk over a table. */
uint32_t journal_high(const struct journal *journal, unsigned int table);

/* Saves size bytes at p (inside root or a record) to the undo log: call before changing them. */
void journal_touch(struct journal *journal, const void *p, size_t size);

#define JOURNAL_SET(journal, lvalue, value)                          \
        do {                                                         \
                journal_touch((journal), &(lvalue), sizeof(lvalue)); \
                (lvalue) = (value);                                  \
        } while (0)

/* Whether whoever walks many records should commit now, and whether it is too late for that. */
bool journal_is_nearly_full(const struct journal *journal);
bool journal_is_over(const struct journal *journal);
/* Bytes of undo log that the transaction has taken. */
size_t journal_size(const struct journal *journal);

/*
 * Ends the transaction: what was changed stays.  The outcome before it remains valid.  Called by
 * volume/txn only, which knows what else belongs to the end of a transaction.
 */
void journal_commit(struct journal *journal);

/*
 * Ends the transaction and makes (key, bytes of iov) its outcome, in one atomic step.  Bytes
 * beyond JOURNAL_OUTCOME_MAX: the outcome is (key, nothing) with length 0.
 */
void journal_commit_outcome(struct journal *journal, uint64_t key, const struct iovec *iov,
                            int n_iov);

/* The outcome of the last transaction that had one; key 0 and length 0 if there was none. */
const void *journal_outcome(const struct journal *journal, uint64_t *key, size_t *length);

/* Puts back the old values of a transaction that is not to be.  Heap indexes are the caller's. */
void journal_rollback(struct journal *journal);

/* Whether the transaction has changed anything yet. */
bool journal_dirty(const struct journal *journal);

/*
 * For tests: kill this process at the n-th crash point from now (one before and after each saved
 * change, each commit and each reply); 0 disarms.  The count lives in the journal, so that it
 * strikes once.
 */
void journal_crash_after(struct journal *journal, uint64_t n);
void journal_crash_point(struct journal *journal);
/* How many crash points are left before it strikes; 0 when disarmed. */
uint64_t journal_crash_left(const struct journal *journal);
