/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fault: makes calls fail on purpose, for tests.
 *
 * A test names a kind of call and says at which of its next uses it shall fail (`fault` in
 * .ctl/admin, which works under IOMEMFS_TESTING=1 only).  Code that makes such a call asks
 * fault_strikes() first and, if it is true, behaves as if the call had failed.  While nothing is
 * armed, the question costs a load and a branch.
 *
 * Owns the counters of this process.  Used by the thread of the loop only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault {
        FAULT_NONE,
        FAULT_BACKING,  /* the kernel gives no backing id */
        FAULT_MEMFD,    /* memfd_create(2), or a private tmpfs, or a file in one */
        FAULT_REOPEN,   /* a fresh open of a region */
        FAULT_DUP,      /* dup(2) of a region's descriptor */
        FAULT_TRUNCATE, /* ftruncate(2) of a region */
        FAULT_LIMIT,    /* a new limit of the private tmpfs */
        FAULT_OWN,      /* fchown(2) and fchmod(2) of a region */
        FAULT_SEAL,     /* F_ADD_SEALS */
        FAULT_RECORD,   /* a table of records is full */
        FAULT_EPOLL,    /* epoll_ctl(2) */
        FAULT_WATCH,    /* inotify_add_watch(2) */
        FAULT_MEMORY,   /* memory for a request that has to wait */
        FAULT_COMMIT,   /* the transaction is over its bound */
        _FAULT_N,
};

/* The kind with this name (`backing`, `memfd`, …), or FAULT_NONE. */
enum fault fault_kind(const char *name, size_t length);

/* Makes the n-th use of that kind fail, once.  FAULT_NONE or n = 0 disarms. */
void fault_arm(enum fault kind, uint64_t n);
/* The same, but counts only from fault_begin() on, so that the request that sets it is not hit
 * itself. */
void fault_plan(enum fault kind, uint64_t n);
void fault_begin(void);
/* Whether a fault is armed or planned that has not struck yet. */
bool fault_is_armed(void);

extern enum fault fault_armed; /* for fault_strikes() */
/* Counts a use of the armed kind; true: this use fails. */
bool fault_count(void);

static inline bool fault_strikes(enum fault kind) {
        return __builtin_expect(fault_armed == kind, 0) && fault_count();
}
