/* SPDX-License-Identifier: MIT */
#include "base/fault.h"

#include <string.h>

static const char *const names[_FAULT_N] = {
        [FAULT_BACKING] = "backing", [FAULT_MEMFD] = "memfd",       [FAULT_REOPEN] = "reopen",
        [FAULT_DUP] = "dup",         [FAULT_TRUNCATE] = "truncate", [FAULT_LIMIT] = "limit",
        [FAULT_OWN] = "own",         [FAULT_SEAL] = "seal",         [FAULT_RECORD] = "record",
        [FAULT_EPOLL] = "epoll",     [FAULT_WATCH] = "watch",       [FAULT_MEMORY] = "memory",
        [FAULT_COMMIT] = "commit",
};

enum fault fault_armed = FAULT_NONE;
static uint64_t left;
static enum fault planned = FAULT_NONE;
static uint64_t planned_after;

enum fault fault_kind(const char *name, size_t length) {
        for (int kind = FAULT_NONE + 1; kind < _FAULT_N; kind++)
                if (strlen(names[kind]) == length && memcmp(names[kind], name, length) == 0)
                        return (enum fault)kind;
        return FAULT_NONE;
}

void fault_arm(enum fault kind, uint64_t n) {
        fault_armed = n > 0 ? kind : FAULT_NONE;
        left = n;
}

void fault_plan(enum fault kind, uint64_t n) {
        planned = kind;
        planned_after = n;
}

void fault_begin(void) {
        if (planned != FAULT_NONE)
                fault_arm(planned, planned_after);
        planned = FAULT_NONE;
}

bool fault_is_armed(void) {
        return fault_armed != FAULT_NONE || planned != FAULT_NONE;
}

bool fault_count(void) {
        if (--left > 0)
                return false;
        fault_armed = FAULT_NONE;
        return true;
}
