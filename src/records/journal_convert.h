/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * journal_convert: changes the layout of a journal's records.
 *
 * The new records are made in an arena of their own, behind the old one in the same memfd.  The old
 * ones are not changed, except that an unfinished transaction is rolled back.  When all is done, one
 * store in the first page of the file makes the new arena the valid one.  So a death, or an error,
 * at any time leaves either the old records or the new ones, and the old can be chosen again until
 * somebody attaches to the new.
 *
 * Owns nothing.  Never: knows what a record means.
 */

#include "records/journal.h"

/* From one layout to the next.  Tables keep their places and ids; new ones come behind. */
struct journal_step {
        const struct journal_spec *from, *to;
        void (*root)(void *to, const void *from);
        /*
         * For each table of `from`: makes a record from an old one; NULL: they are the same.  *to is
         * zeroed, and gets the first four bytes of *from afterwards, whether the record is live or
         * free.
         */
        void (*const *records)(void *to, const void *from);
};

/* The version of the layout of the valid records in fd, or -EPROTO. */
int journal_version(int fd);

/*
 * Converts the records in fd, which nobody else uses meanwhile.  0, -EPROTO (they are not of that
 * layout), -ENOSPC (a table has become too small), -ENOMEM, ...
 */
int journal_convert(int fd, const struct journal_step *step);

/* Makes the records to which this process is attached the valid ones again. */
void journal_revert(struct journal *journal);
