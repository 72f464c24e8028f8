/* SPDX-License-Identifier: MIT */
#include "records/chain.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* A record of a chain, which is there. */
static struct text *chain_record(const struct journal *journal, uint32_t id) {
        struct text *record = journal_get(journal, TABLE_TEXT, id);

        assert(record);
        return record;
}

uint32_t chain_records(size_t length) {
        return (uint32_t)((length + LAYOUT_TEXT_BYTES - 1) / LAYOUT_TEXT_BYTES);
}

uint32_t chain_count(const struct journal *journal, uint32_t head) {
        uint32_t n = 0;

        for (; head != 0; head = chain_record(journal, head)->next)
                n++;
        return n;
}

static void chain_free(struct journal *journal, uint32_t head) {
        while (head != 0) {
                uint32_t next = chain_record(journal, head)->next;

                journal_delete(journal, TABLE_TEXT, head);
                head = next;
        }
}

/* A chain of n new records; 0 if there are not enough. */
static uint32_t chain_new(struct journal *journal, uint32_t n) {
        uint32_t head = 0;

        for (; n > 0; n--) {
                uint32_t id = journal_new(journal, TABLE_TEXT);

                if (id == 0) {
                        chain_free(journal, head);
                        return 0;
                }
                chain_record(journal, id)->id = id;
                chain_record(journal, id)->next = head;
                head = id;
        }
        return head;
}

/* The field that links to record number n of the chain, or to its end if there are fewer. */
static uint32_t *chain_link(struct journal *journal, uint32_t *head, uint32_t n) {
        while (n-- > 0 && *head != 0)
                head = &chain_record(journal, *head)->next;
        return head;
}

int chain_store(struct journal *journal, uint32_t *head, const void *bytes, size_t length) {
        uint32_t have = chain_count(journal, *head), need = chain_records(length);
        const uint8_t *from = bytes;
        uint32_t *link, more;

        if (need > have) {
                more = chain_new(journal, need - have);
                if (more == 0)
                        return -ENOMEM;
                link = chain_link(journal, head, have);
                JOURNAL_SET(journal, *link, more);
        } else if (need < have) {
                link = chain_link(journal, head, need);
                more = *link;
                JOURNAL_SET(journal, *link, 0);
                chain_free(journal, more);
        }
        for (uint32_t id = *head; id != 0; id = chain_record(journal, id)->next) {
                struct text *record = chain_record(journal, id);
                size_t n = length < LAYOUT_TEXT_BYTES ? length : LAYOUT_TEXT_BYTES;

                if (memcmp(record->bytes, from, n) != 0) {
                        journal_touch(journal, record->bytes, n);
                        memcpy(record->bytes, from, n);
                }
                from += n;
                length -= n;
        }
        return 0;
}

void chain_load(const struct journal *journal, uint32_t head, size_t offset, void *buffer,
                size_t length) {
        uint8_t *to = buffer;

        for (; offset >= LAYOUT_TEXT_BYTES; offset -= LAYOUT_TEXT_BYTES)
                head = chain_record(journal, head)->next;
        while (length > 0) {
                const struct text *record = chain_record(journal, head);
                size_t n = LAYOUT_TEXT_BYTES - offset;

                if (n > length)
                        n = length;
                memcpy(to, record->bytes + offset, n);
                to += n;
                length -= n;
                offset = 0;
                head = record->next;
        }
}
