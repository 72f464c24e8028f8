/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * journal_private: the parts of a journal, for the files of the journal module only.
 *
 * The memfd has an arena: a header, and what the header says where it is.  If the records were
 * converted to another layout (journal_convert.h), the file has another arena behind the first, and
 * the first page of the file says where the valid one begins.
 */

#include "records/journal.h"

enum {
        JOURNAL_MAGIC = 0x696f6d66, /* "iomf" */
        PAGE = 4096,
        LOG_KEEP = 1024 * 1024, /* bytes of the log that stay allocated after a transaction */
};

/* Address space, and memory only for what a transaction takes of it. */
#define LOG_SIZE (UINT64_C(1) << 30)

struct table {
        uint32_t record_size;
        uint32_t capacity;
        uint32_t high; /* largest id given out so far */
        uint32_t free; /* head of the free list, 0 = empty */
        uint32_t used;
        uint32_t gives_back;
        uint64_t offset; /* of record 1, from the start of the journal */
        uint64_t links;  /* gives_back: offset of the links of the free list, one for each record */
};

struct outcome {
        uint64_t key;
        uint32_t length;
        uint32_t pad;
        uint8_t bytes[JOURNAL_OUTCOME_MAX];
};

struct header {
        uint32_t magic;
        uint32_t version;
        uint64_t size;
        uint64_t valid; /* in the first header of the file: where the valid arena begins in it */
        /*
         * This word alone decides what has happened.  The low half is the number of bytes in the
         * undo log; bit 32 says which of the two outcomes is valid.
         */
        uint64_t state;
        uint64_t crash_countdown;
        uint64_t root_offset;
        uint64_t root_size;
        uint64_t scratch_offset;
        uint64_t log_offset;
        uint32_t n_tables;
        uint32_t pad;
        struct table tables[JOURNAL_MAX_TABLES];
        struct outcome outcomes[2];
};

/* Follows the saved bytes in the log, so that a rollback can walk from the end. */
struct log_entry {
        uint64_t offset;
        uint32_t length; /* of the saved bytes */
        uint32_t padded; /* bytes they take in the log, without this entry */
};

struct journal {
        struct header *header; /* also the base of everything else */
        uint8_t *log;
        int fd;
        uint64_t base; /* where the arena begins in the memfd */
};

size_t journal_round_up(size_t n, size_t to);
/* Fills in the offsets of an arena, and its size. */
void journal_lay_out(struct header *header, const struct journal_spec *spec);
/* Reads the header of the valid arena, except for the outcomes.  Where it begins in the file; or
 * -EPROTO. */
int64_t journal_find(struct header *out, int fd);
bool journal_matches(const struct header *header, const struct journal_spec *spec);
/* Maps the arena at base.  fd stays the caller's.  0, -ENOMEM, ... */
int journal_map(struct journal **out, int fd, uint64_t base, size_t size);
/* Maps the valid arena, if it is of this layout, and rolls back.  fd stays the caller's.  0, -EPROTO,
 * -ENOMEM, ... */
int journal_open(struct journal **out, int fd, const struct journal_spec *spec);
/* Unmaps, and does not close. */
struct journal *journal_unmap(struct journal *journal);
