/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * window: pieces of regions, mapped into this process to be copied into.
 *
 * Without passthrough write(2) and written-back pages come to the worker, which puts them into the
 * memfd.  pwrite(2) looks up, locks and marks each page for itself, which takes longer than to copy
 * it; a store to a page that is mapped does not.  To map it costs about as much as one pwrite(2),
 * so a window is opened only where something is written that has been written before.
 *
 * Owns the mappings: at most WINDOWS of WINDOW_SIZE bytes, least recently used first out, gone
 * with the process.  Nothing is stored where there was no memory before: a page fault that wants
 * memory ends in the OOM killer where pwrite(2) would fail.  What is cut all the same, or cannot be
 * had back from swap, costs a SIGBUS, which windows own, too: the bytes are then the caller's to
 * write.
 *
 * A window keeps its memory alive and its region from being sealed against writing: who does
 * either, takes memory from within the region, or gives others a descriptor with which they may,
 * calls windows_forget() first.  Times of the file do not change by a store; see region_write().
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

/* One a process.  0 or negative errno. */
int windows_new(struct windows **out);
struct windows *windows_free(struct windows *windows);

/*
 * Copies size bytes to offset of the file fd, which is region id's.  They must lie in one window:
 * offset / WINDOW_SIZE is the same for the first and the last of them.  false: all of it is to be
 * written otherwise, and windows_wrote() then told.
 */
bool windows_copy(struct windows *windows, uint32_t id, int fd, const void *bytes, size_t size,
                  uint64_t offset);

/* size bytes in one window have been written to the region: their memory is there. */
void windows_wrote(struct windows *windows, uint32_t id, size_t size, uint64_t offset);

/* Closes the windows of region id. */
void windows_forget(struct windows *windows, uint32_t id);
