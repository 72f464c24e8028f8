/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * window: pieces of regions, mapped into this process so that data can be copied into them.
 *
 * Without passthrough, write(2) and written-back pages come to the worker, which writes them to the
 * memfd.  pwrite(2) looks up, locks and marks each page, which takes longer than copying it; a
 * store to a mapped page does not.  Mapping costs about as much as one pwrite(2), so a window is
 * opened only for a place that has been written before.
 *
 * Owns the mappings: at most WINDOWS of WINDOW_SIZE bytes.  The least recently used one is closed
 * first, and all are gone with the process.  Stores go only to pages that have memory: without
 * memory, a page fault ends in the OOM killer, where pwrite(2) would fail.  If the page is cut all
 * the same, or cannot be read back from swap, the store gets a SIGBUS.  The module owns that
 * signal, too: the caller then has to write the bytes in another way.
 *
 * A window keeps its memory alive, and keeps its region from being sealed against writing.  So call
 * windows_forget() before sealing, before freeing memory within the region, and before giving
 * another process a descriptor with which it may do so.  A store does not change the times of the
 * file; see region_write().
 *
 * Never: decides what may be written.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        WINDOWS = 16,
        WINDOW_SIZE = 2 * 1024 * 1024, /* bytes; with pages of 4 KiB, one page of a page table */
};

struct windows;

/* At most one in a process.  0 or negative errno. */
int windows_new(struct windows **out);
struct windows *windows_free(struct windows *windows);

/*
 * Copies size bytes to offset of the file fd, which is region id's.  All must lie in one window:
 * offset / WINDOW_SIZE is the same for the first and the last of them.  False: nothing can be
 * relied on; write all of it in another way, then call windows_wrote().
 */
bool windows_copy(struct windows *windows, uint32_t id, int fd, const void *bytes, size_t size,
                  uint64_t offset);

/* Says that size bytes in one window have been written to the region, so that their memory is
 * there. */
void windows_wrote(struct windows *windows, uint32_t id, size_t size, uint64_t offset);

/* Closes the windows of region id. */
void windows_forget(struct windows *windows, uint32_t id);
