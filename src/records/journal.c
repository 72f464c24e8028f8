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
#include "records/journal_private.h"

size_t journal_round_up(size_t n, size_t to) {
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

int journal_map(struct journal **out, int fd, uint64_t base, size_t size) {
        struct journal *journal;
        void *header;

        journal = calloc(1, sizeof(*journal));
        if (!journal)
                return -ENOMEM;
        header = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                      (off_t)base);
        if (header == MAP_FAILED) {
                free(journal);
                return -errno;
        }
        journal->header = header;
        journal->fd = fd;
        journal->base = base;
        *out = journal;
        return 0;
}

struct journal *journal_unmap(struct journal *journal) {
        if (!journal)
                return NULL;
        munmap(journal->header, journal->header->size);
        free(journal);
        return NULL;
}

/* Computes the offsets; the journal's size is the end of the last table. */
void journal_lay_out(struct header *header, const struct journal_spec *spec) {
        size_t at = journal_round_up(sizeof(*header), PAGE);

        header->root_offset = at;
        header->root_size = spec->root_size;
        at += journal_round_up(spec->root_size, PAGE);
        header->scratch_offset = at;
        at += journal_round_up(spec->scratch_size, PAGE);
        header->log_offset = at;
        at += LOG_SIZE;
        header->n_tables = spec->n_tables;
        for (unsigned int i = 0; i < spec->n_tables; i++) {
                header->tables[i].record_size = spec->tables[i].record_size;
                header->tables[i].capacity = spec->tables[i].capacity;
                header->tables[i].gives_back = spec->tables[i].gives_back;
                header->tables[i].offset = at;
                at += journal_round_up(
                        (size_t)spec->tables[i].record_size * spec->tables[i].capacity, PAGE);
                header->tables[i].links = at;
                if (spec->tables[i].gives_back)
                        at += journal_round_up(sizeof(uint32_t) * spec->tables[i].capacity, PAGE);
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
        journal_lay_out(header, spec);

        fd = memfd_create("iomemfs-journal", MFD_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                goto out_header;
        }
        if (ftruncate(fd, (off_t)header->size) < 0) {
                r = -errno;
                goto out_fd;
        }
        r = journal_map(out, fd, 0, header->size);
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

bool journal_matches(const struct header *header, const struct journal_spec *spec) {
        if (header->version != spec->version || header->root_size != spec->root_size ||
            header->n_tables != spec->n_tables)
                return false;
        for (unsigned int i = 0; i < spec->n_tables; i++)
                if (header->tables[i].record_size != spec->tables[i].record_size)
                        return false;
        return true;
}

static bool header_read(struct header *out, int fd, uint64_t base) {
        size_t prefix = offsetof(struct header, outcomes);

        return pread(fd, out, prefix, (off_t)base) == (ssize_t)prefix &&
               out->magic == JOURNAL_MAGIC && out->n_tables <= JOURNAL_MAX_TABLES;
}

int64_t journal_find(struct header *out, int fd) {
        uint64_t base;

        if (!header_read(out, fd, 0))
                return -EPROTO;
        base = out->valid;
        return base == 0 || header_read(out, fd, base) ? (int64_t)base : -EPROTO;
}

/* Gives back the memory of an arena that was replaced; only the first page says where ours is. */
static void journal_drop_old(const struct journal *journal) {
        if (journal->base > PAGE)
                fallocate(journal->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE,
                          (off_t)journal->base - PAGE);
}

int journal_open(struct journal **out, int fd, const struct journal_spec *spec) {
        struct header *header = calloc(1, sizeof(*header));
        int64_t base;
        int r = -EPROTO;

        if (!header)
                return -ENOMEM;
        base = journal_find(header, fd);
        if (base >= 0 && journal_matches(header, spec))
                r = journal_map(out, fd, (uint64_t)base, header->size);
        free(header);
        if (r < 0)
                return r;
        (*out)->log = (uint8_t *)(*out)->header + (*out)->header->log_offset;
        journal_rollback(*out);
        return 0;
}

int journal_attach(struct journal **out, int fd, const struct journal_spec *spec) {
        int r = journal_open(out, fd, spec);

        if (r == 0)
                journal_drop_old(*out);
        return r;
}

struct journal *journal_free(struct journal *journal) {
        if (!journal)
                return NULL;
        close(journal->fd);
        return journal_unmap(journal);
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
                  (off_t)(journal->base + table->offset + (uint64_t)table->record_size * (id - 1)),
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
        uint32_t used = log_used(header), padded = (uint32_t)journal_round_up(size, 8);
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
                          (off_t)(journal->base + header->log_offset) + LOG_KEEP,
                          (off_t)journal_round_up(used, PAGE) - LOG_KEEP);
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
