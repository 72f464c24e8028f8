/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * allocator_message: what the two ends of the allocator send each other, see allocator.h.
 */

#include <stdint.h>

/* From the worker: one message each, with the region's descriptor if it is a start. */
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
