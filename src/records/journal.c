/* SPDX-License-Identifier: MIT */
#include "records/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/fault.h"

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
};

static size_t round_up(size_t n, size_t to) {
        return (n + to - 1) / to * to;
}

static uint32_t log_used(const struct header *header) {
        return (uint32_t)header->state;
}

static void set_state(struct header *header, uint64_t state) {
        /* A killed process loses no store, but the compiler must not move stores across this
         * one. */
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&header->state, state, __ATOMIC_RELEASE);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static int journal_map(struct journal **out, int fd, size_t size) {
        struct journal *journal;
        void *base;

        journal = calloc(1, sizeof(*journal));
        if (!journal)
                return -ENOMEM;
        base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (base == MAP_FAILED) {
                free(journal);
                return -errno;
        }
        journal->header = base;
        journal->fd = fd;
        *out = journal;
        return 0;
}

/* Computes the offsets; the journal's size is the end of the last table. */
static void header_lay_out(struct header *header, const struct journal_spec *spec) {
        size_t at = round_up(sizeof(*header), PAGE);

        header->root_offset = at;
        header->root_size = spec->root_size;
        at += round_up(spec->root_size, PAGE);
        header->scratch_offset = at;
        at += round_up(spec->scratch_size, PAGE);
        header->log_offset = at;
        at += LOG_SIZE;
        header->n_tables = spec->n_tables;
        for (unsigned int i = 0; i < spec->n_tables; i++) {
                header->tables[i].record_size = spec->tables[i].record_size;
                header->tables[i].capacity = spec->tables[i].capacity;
                header->tables[i].gives_back = spec->tables[i].gives_back;
                header->tables[i].offset = at;
                at += round_up((size_t)spec->tables[i].record_size * spec->tables[i].capacity,
                               PAGE);
                header->tables[i].links = at;
                if (spec->tables[i].gives_back)
                        at += round_up(sizeof(uint32_t) * spec->tables[i].capacity, PAGE);
        }
        header->size = at;
        header->version = spec->version;
        header->magic = JOURNAL_MAGIC;
}

int journal_create(struct journal **out, const struct journal_spec *spec) {
        struct header *header;
        int fd, r;

        header = calloc(1, sizeof(*header));
        if (!header)
                return -ENOMEM;
        header_lay_out(header, spec);

        fd = memfd_create("iomemfs-journal", MFD_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                goto out_header;
        }
        if (ftruncate(fd, (off_t)header->size) < 0) {
                r = -errno;
                goto out_fd;
        }
        r = journal_map(out, fd, header->size);
        if (r < 0)
                goto out_fd;
        memcpy((*out)->header, header, offsetof(struct header, outcomes));
        (*out)->log = (uint8_t *)(*out)->header + header->log_offset;
        free(header);
        return 0;

out_fd:
        close(fd);
out_header:
        free(header);
        return r;
}

static bool header_matches(const struct header *header, const struct journal_spec *spec) {
        if (header->magic != JOURNAL_MAGIC || header->version != spec->version ||
            header->root_size != spec->root_size || header->n_tables != spec->n_tables)
                return false;
        for (unsigned int i = 0; i < spec->n_tables; i++)
                if (header->tables[i].record_size != spec->tables[i].record_size)
                        return false;
        return true;
}

int journal_attach(struct journal **out, int fd, const struct journal_spec *spec) {
        struct header *header;
        size_t prefix = offsetof(struct header, outcomes);
        int r = -EPROTO;

        header = calloc(1, sizeof(*header));
        if (!header)
                return -ENOMEM;
        if (pread(fd, header, prefix, 0) == (ssize_t)prefix && header_matches(header, spec))
                r = journal_map(out, fd, header->size);
        free(header);
        if (r < 0)
                return r;
        (*out)->log = (uint8_t *)(*out)->header + (*out)->header->log_offset;
        journal_rollback(*out);
        return 0;
}

struct journal *journal_free(struct journal *journal) {
        if (!journal)
                return NULL;
        close(journal->fd);
        munmap(journal->header, journal->header->size);
        free(journal);
        return NULL;
}

int journal_fd(const struct journal *journal) {
        return journal->fd;
}

void *journal_root(const struct journal *journal) {
        return (uint8_t *)journal->header + journal->header->root_offset;
}

void *journal_scratch(const struct journal *journal) {
        return (uint8_t *)journal->header + journal->header->scratch_offset;
}

void *journal_get(const struct journal *journal, unsigned int index, uint32_t id) {
        const struct table *table = &journal->header->tables[index];

        if (id == 0 || id > table->high)
                return NULL;
        return (uint8_t *)journal->header + table->offset + (size_t)table->record_size * (id - 1);
}

/* Where a free record refers to the next one: in its first bytes, or beside the table. */
static uint32_t *table_link(const struct journal *journal, unsigned int index, uint32_t id) {
        const struct table *table = &journal->header->tables[index];

        if (!table->gives_back)
                return journal_get(journal, index, id);
        return (uint32_t *)((uint8_t *)journal->header + table->links) + id - 1;
}

uint32_t journal_new(struct journal *journal, unsigned int table) {
        return fault_strikes(FAULT_RECORD) ? 0 : journal_new_reserved(journal, table);
}

uint32_t journal_new_reserved(struct journal *journal, unsigned int index) {
        struct table *table = &journal->header->tables[index];
        uint32_t id = table->free;
        uint32_t *link;

        if (id == 0 && table->high == table->capacity)
                return 0;
        journal_touch(journal, table, sizeof(*table));
        if (id != 0) {
                link = table_link(journal, index, id);
                /* A rollback needs only these bytes of a free record. */
                journal_touch(journal, link, sizeof(*link));
                table->free = *link;
        } else {
                id = ++table->high;
        }
        table->used++;
        memset(journal_get(journal, index, id), 0, table->record_size);
        return id;
}

/* A rollback stores the old bytes again, and by that takes new memory. */
static void record_give_back(const struct journal *journal, const struct table *table,
                             uint32_t id) {
        fallocate(journal->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(table->offset + (uint64_t)table->record_size * (id - 1)),
                  table->record_size);
}

void journal_delete(struct journal *journal, unsigned int index, uint32_t id) {
        struct table *table = &journal->header->tables[index];
        uint32_t *link = table_link(journal, index, id);

        journal_touch(journal, table, sizeof(*table));
        /* Save all of it, because this transaction may take the record again and overwrite it. */
        journal_touch(journal, journal_get(journal, index, id), table->record_size);
        if (table->gives_back) {
                record_give_back(journal, table, id);
                journal_touch(journal, link, sizeof(*link));
        }
        *link = table->free;
        table->free = id;
        table->used--;
}

uint32_t journal_used(const struct journal *journal, unsigned int table) {
        return journal->header->tables[table].used;
}

uint32_t journal_high(const struct journal *journal, unsigned int table) {
        return journal->header->tables[table].high;
}

void journal_touch(struct journal *journal, const void *p, size_t size) {
        struct header *header = journal->header;
        uint32_t used = log_used(header), padded = (uint32_t)round_up(size, 8);
        struct log_entry entry = {
                .offset = (uint64_t)((const uint8_t *)p - (uint8_t *)header),
                .length = (uint32_t)size,
                .padded = padded,
        };

        /* This is 256 times the bound that every walk keeps: only a bug gets here. */
        if (used + padded + sizeof(entry) > LOG_SIZE)
                abort();
        journal_crash_point(journal);
        memcpy(journal->log + used, p, size);
        memcpy(journal->log + used + padded, &entry, sizeof(entry));
        set_state(header, header->state + padded + sizeof(entry));
        journal_crash_point(journal);
}

bool journal_is_nearly_full(const struct journal *journal) {
        return log_used(journal->header) > JOURNAL_NEARLY_FULL;
}

size_t journal_size(const struct journal *journal) {
        return log_used(journal->header);
}

bool journal_is_over(const struct journal *journal) {
        return log_used(journal->header) > JOURNAL_BOUND;
}

/* After a long transaction, gives the memory of its log back. */
static void log_trim(struct journal *journal, uint32_t used) {
        const struct header *header = journal->header;

        if (used > LOG_KEEP)
                fallocate(journal->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          (off_t)header->log_offset + LOG_KEEP,
                          (off_t)round_up(used, PAGE) - LOG_KEEP);
}

void journal_commit(struct journal *journal) {
        uint32_t used = log_used(journal->header);

        journal_crash_point(journal);
        set_state(journal->header, journal->header->state & ~UINT64_C(0xffffffff));
        journal_crash_point(journal);
        log_trim(journal, used);
}

static unsigned int outcome_index(const struct header *header) {
        return (header->state >> 32) & 1;
}

void journal_commit_outcome(struct journal *journal, uint64_t key, const struct iovec *iov,
                            int n_iov) {
        struct header *header = journal->header;
        unsigned int next = !outcome_index(header);
        struct outcome *outcome = &header->outcomes[next];
        uint32_t used = log_used(header);
        size_t length = 0, at = 0;

        for (int i = 0; i < n_iov; i++)
                length += iov[i].iov_len;
        outcome->key = key;
        if (length <= sizeof(outcome->bytes))
                for (int i = 0; i < n_iov; i++) {
                        memcpy(outcome->bytes + at, iov[i].iov_base, iov[i].iov_len);
                        at += iov[i].iov_len;
                }
        outcome->length = (uint32_t)at;
        journal_crash_point(journal);
        set_state(header, (uint64_t)next << 32);
        journal_crash_point(journal);
        log_trim(journal, used);
}

const void *journal_outcome(const struct journal *journal, uint64_t *key, size_t *length) {
        const struct outcome *outcome = &journal->header->outcomes[outcome_index(journal->header)];

        *key = outcome->key;
        *length = outcome->length;
        return outcome->bytes;
}

void journal_rollback(struct journal *journal) {
        struct header *header = journal->header;
        uint32_t used = log_used(header);
        struct log_entry entry;

        /* Idempotent: after a kill in this loop the next process rolls back the rest. */
        while (log_used(header) > 0) {
                uint8_t *end = journal->log + log_used(header) - sizeof(entry);

                memcpy(&entry, end, sizeof(entry));
                memcpy((uint8_t *)header + entry.offset, end - entry.padded, entry.length);
                set_state(header, header->state - entry.padded - sizeof(entry));
        }
        log_trim(journal, used);
}

bool journal_dirty(const struct journal *journal) {
        return log_used(journal->header) > 0;
}

void journal_crash_after(struct journal *journal, uint64_t n) {
        journal->header->crash_countdown = n;
}

uint64_t journal_crash_left(const struct journal *journal) {
        return journal->header->crash_countdown;
}

void journal_crash_point(struct journal *journal) {
        if (__builtin_expect(journal->header->crash_countdown == 0, 1))
                return;
        if (--journal->header->crash_countdown == 0)
                kill(getpid(), SIGKILL);
}
