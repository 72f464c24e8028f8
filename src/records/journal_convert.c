/* SPDX-License-Identifier: MIT */
#include "records/journal_convert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "records/journal_private.h"

int journal_version(int fd) {
        struct header *header = calloc(1, sizeof(*header));
        int64_t base = header ? journal_find(header, fd) : -ENOMEM;
        int version = base < 0 ? (int)base : (int)header->version;

        free(header);
        return version;
}

/* The one store that decides. */
static int set_valid(int fd, uint64_t base) {
        off_t at = offsetof(struct header, valid);

        return pwrite(fd, &base, sizeof(base), at) == sizeof(base) ? 0 : -EIO;
}

static int new_open(struct journal **out, const struct journal *old,
                    const struct journal_spec *spec) {
        uint64_t base = old->base + old->header->size;
        struct header *header = calloc(1, sizeof(*header));
        int r;

        if (!header)
                return -ENOMEM;
        journal_lay_out(header, spec);
        /* What an attempt before has left is cut off. */
        if (ftruncate(old->fd, (off_t)base) < 0 ||
            ftruncate(old->fd, (off_t)(base + header->size)) < 0)
                r = -errno;
        else
                r = journal_map(out, old->fd, base, header->size);
        if (r == 0)
                memcpy((*out)->header, header, offsetof(struct header, outcomes));
        free(header);
        return r;
}

static void *record_at(const struct journal *journal, unsigned int table, uint32_t id) {
        const struct table *t = &journal->header->tables[table];

        return (uint8_t *)journal->header + t->offset + (size_t)t->record_size * (id - 1);
}

static bool is_empty(const uint64_t *words, size_t size) {
        for (size_t i = 0; i < size / sizeof(*words); i++)
                if (words[i] != 0)
                        return false;
        return true;
}

/* A table whose free records have no memory, and no links in them. */
static void paged_convert(const struct journal *new, const struct journal *old, unsigned int i) {
        const struct table *from = &old->header->tables[i], *to = &new->header->tables[i];

        memcpy((uint8_t *)new->header + to->links, (uint8_t *)old->header + from->links,
               sizeof(uint32_t) * from->high);
        for (uint32_t id = 1; id <= from->high; id++) {
                const void *record = record_at(old, i, id);

                if (!is_empty(record, from->record_size))
                        memcpy(record_at(new, i, id), record, from->record_size);
        }
}

static int table_convert(const struct journal *new, struct journal *old, unsigned int i,
                         const struct journal_step *step) {
        const struct table *from = &old->header->tables[i];
        struct table *to = &new->header->tables[i];

        if (from->gives_back != to->gives_back ||
            ((!step->records[i] || to->gives_back) && from->record_size != to->record_size))
                return -EPROTO;
        if (from->high > to->capacity)
                return -ENOSPC;
        to->high = from->high;
        to->free = from->free;
        to->used = from->used;
        if (to->gives_back) {
                paged_convert(new, old, i);
                return 0;
        }
        for (uint32_t id = 1; id <= from->high; id++) {
                const void *record = record_at(old, i, id);
                void *converted = record_at(new, i, id);

                if (step->records[i])
                        step->records[i](converted, record);
                else
                        memcpy(converted, record, from->record_size);
                /* The id of a live record, the link of a free one. */
                memcpy(converted, record, sizeof(uint32_t));
                journal_crash_point(old);
        }
        return 0;
}

static int arena_convert(struct journal *new, struct journal *old,
                         const struct journal_step *step) {
        const struct journal_spec *from = step->from, *to = step->to;
        size_t scratch =
                from->scratch_size < to->scratch_size ? from->scratch_size : to->scratch_size;
        int r = 0;

        /* The log is empty; what remains of the state says which outcome is valid. */
        new->header->state = old->header->state;
        memcpy(new->header->outcomes, old->header->outcomes, sizeof(new->header->outcomes));
        memcpy(journal_scratch(new), journal_scratch(old), scratch);
        step->root(journal_root(new), journal_root(old));
        for (unsigned int i = 0; r == 0 && i < from->n_tables; i++)
                r = table_convert(new, old, i, step);
        return r;
}

int journal_convert(int fd, const struct journal_step *step) {
        struct journal *old, *new;
        int r = journal_open(&old, fd, step->from);

        if (r < 0)
                return r;
        r = new_open(&new, old, step->to);
        if (r == 0) {
                r = arena_convert(new, old, step);
                if (r == 0)
                        r = set_valid(fd, new->base);
                journal_crash_point(old);
                journal_unmap(new);
        }
        journal_unmap(old);
        return r;
}

void journal_revert(struct journal *journal) {
        (void)set_valid(journal->fd, journal->base);
        /* If it fails, memory is taken that nobody uses; the records are as before. */
        if (ftruncate(journal->fd, (off_t)(journal->base + journal->header->size)) < 0)
                return;
}
