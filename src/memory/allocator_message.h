/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * allocator_message: the messages between the worker and the allocator process, see allocator.h.
 */

#include <stdint.h>

/* From the worker.  A message that starts an allocation carries the region's descriptor. */
struct allocator_order {
        uint32_t id; /* of the allocation, above 0 */
        uint32_t cancel;
        uint64_t offset, length;
        int32_t mode;
        int32_t pid;
        uint32_t zero;
        uint32_t huge;
};

/* To the worker. */
struct allocator_report {
        uint32_t id;
        int32_t result;
        uint64_t huge;
};
