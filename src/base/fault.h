/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fault: calls that fail on purpose, for tests.
 *
 * A test says which kind of call is to fail, and at which of its next uses (`fault` in .ctl/admin,
 * which works under IOMEMFS_TESTING=1 only).  Whoever makes such a call asks fault_strikes() first
 * and does as if the call had failed.  Nothing is armed otherwise, and the question costs a load
 * and a branch.
 *
 * Owns what is armed in this process.  Used by the thread of the loop only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault {
        FAULT_NONE,
        FAULT_BACKING,  /* the kernel gives no backing id */
        FAULT_MEMFD,    /* memfd_create(2), or an unnamed file of the private tmpfs */
        FAULT_REOPEN,   /* a fresh open of a region */
        FAULT_DUP,      /* dup(2) of a region's descriptor */
        FAULT_TRUNCATE, /* ftruncate(2) of a region */
        FAULT_LIMIT,    /* a new limit of the private tmpfs */
        FAULT_OWN,      /* fchown(2) and fchmod(2) of a region */
        FAULT_SEAL,     /* F_ADD_SEALS */
        FAULT_RECORD,   /* a table of records is full */
        FAULT_EPOLL,    /* epoll_ctl(2) */
        FAULT_WATCH,    /* inotify_add_watch(2) */
        FAULT_MEMORY,   /* memory for what waits */
        FAULT_COMMIT,   /* the transaction is over its bound */
        _FAULT_N,
};

/* The kind of a name (`backing`, `memfd`, …), FAULT_NONE for others. */
enum fault fault_kind(const char *name, size_t length);

/* The n-th use of that kind fails, once; FAULT_NONE or 0: nothing does. */
void fault_arm(enum fault kind, uint64_t n);
/* The same, but only from fault_begin() on: the request that asks for it is not meant. */
void fault_plan(enum fault kind, uint64_t n);
void fault_begin(void);
/* Whether what was armed has not struck yet. */
bool fault_is_armed(void);

extern enum fault fault_armed; /* for fault_strikes() */
bool fault_count(void);

static inline bool fault_strikes(enum fault kind) {
        return __builtin_expect(fault_armed == kind, 0) && fault_count();
}
