/* SPDX-License-Identifier: MIT */
#include "memory/populate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "memory/headroom.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define HUGE_PAGE (UINT64_C(2) << 20)
#define PIECE (UINT64_C(32) << 20)
/* One page in so many is what the kernel's own tables of a region's pages take. */
#define TABLES 200

struct population {
        struct job job;
        int fd;
        uint64_t size;
        bool huge;
        struct headroom_group group;
        population_fn done;
        void *userdata;
        int result;
        uint64_t huge_bytes;
};

/* A value of a file such as /proc/self/smaps, bytes; UINT64_MAX if it cannot be read. */
static uint64_t kernel_value(FILE *file, const char *key) {
        char line[256];
        uint64_t kib;

        while (fgets(line, sizeof(line), file))
                if (strncmp(line, key, strlen(key)) == 0 &&
                    sscanf(line + strlen(key), " %" SCNu64, &kib) == 1)
                        return kib * 1024;
        return UINT64_MAX;
}

/* Bytes of the mapping at base that are mapped by huge pages. */
static uint64_t huge_mapped(const void *base) {
        FILE *file = fopen("/proc/self/smaps", "re");
        uint64_t bytes = 0;
        char line[256], start[32];

        if (!file)
                return 0;
        snprintf(start, sizeof(start), "%" PRIxPTR "-", (uintptr_t)base);
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, start, strlen(start)) == 0) {
                        bytes = kernel_value(file, "ShmemPmdMapped:");
                        break;
                }
        fclose(file);
        return bytes == UINT64_MAX ? 0 : bytes;
}

/* A mapping whose start is aligned to huge pages; *raw and *raw_size are what to unmap. */
static void *map_aligned(const struct population *p, void **raw, uint64_t *raw_size) {
        uint64_t start;
        void *base;

        *raw_size = p->size + HUGE_PAGE;
        *raw = mmap(NULL, *raw_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (*raw == MAP_FAILED)
                return MAP_FAILED;
        start = ((uintptr_t)*raw + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        base = mmap((void *)(uintptr_t)start, p->size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_FIXED, p->fd, 0);
        if (base == MAP_FAILED)
                munmap(*raw, *raw_size);
        return base;
}

/* Whether there is memory for so much more. */
static bool population_fits(const struct population *p, uint64_t more) {
        return headroom_available(&p->group) >= more + more / TABLES;
}

static int populate_piece(const struct population *p, uint8_t *at, uint64_t size) {
        if (!population_fits(p, size))
                return -ENOSPC;
        if (p->huge)
                madvise(at, size, MADV_HUGEPAGE);
        while (madvise(at, size, MADV_POPULATE_WRITE) < 0)
                switch (errno) {
                case EINTR:
                case EAGAIN:
                        break;
                case ENOMEM:
                case EFAULT: /* a page that could not be had is SIGBUS to others */
                        return -ENOSPC;
                default:
                        return -errno;
                }
        /* A part that stays small costs speed, no more. */
        if (p->huge)
                madvise(at, size, MADV_COLLAPSE);
        return 0;
}

/* Bytes that the region lacks. */
static uint64_t population_lack(const struct population *p) {
        uint64_t there = 0;
        struct stat st;

        if (fstat(p->fd, &st) == 0)
                there = (uint64_t)st.st_blocks * 512;
        return there < p->size ? p->size - there : 0;
}

static int populate_all(struct population *p) {
        uint64_t raw_size;
        uint8_t *base;
        void *raw;
        int r = 0;

        headroom_find_group(&p->group, "");
        /* A region of size 0 has no page to make, and cannot be mapped. */
        if (p->size == 0)
                return 0;
        /* One that cannot end well takes none from others. */
        if (!population_fits(p, population_lack(p)))
                return -ENOSPC;
        base = map_aligned(p, &raw, &raw_size);
        if (base == MAP_FAILED)
                return -ENOMEM;
        for (uint64_t at = 0; at < p->size && r == 0; at += PIECE) {
                if (atomic_load(&p->job.cancelled))
                        r = -ECANCELED;
                else
                        r = populate_piece(p, base + at,
                                           p->size - at < PIECE ? p->size - at : PIECE);
        }
        if (r == 0 && p->huge)
                p->huge_bytes = p->size < HUGE_PAGE ? 0 : huge_mapped(base);
        munmap(raw, raw_size);
        return r;
}

static void population_run(struct job *job) {
        struct population *p = (struct population *)job;

        p->result = populate_all(p);
        close(p->fd);
}

static void population_done(struct job *job) {
        struct population *p = (struct population *)job;

        p->done(p->userdata, p->result, p->huge_bytes);
        free(p);
}

int population_new(struct population **out, int fd, uint64_t size, bool huge, population_fn done,
                   void *userdata) {
        struct population *p;

        p = fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->job.run = population_run;
        p->job.done = population_done;
        p->size = size;
        p->huge = huge;
        p->done = done;
        p->userdata = userdata;
        /* Of the same open file, so that a lease probe does not count it. */
        p->fd = fault_strikes(FAULT_DUP) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (p->fd < 0) {
                free(p);
                return -ENOSPC;
        }
        *out = p;
        return 0;
}

void population_start(struct population *population, struct job_queue *helper) {
        job_queue_submit(helper, &population->job);
}

struct population *population_free(struct population *population) {
        if (!population)
                return NULL;
        close(population->fd);
        free(population);
        return NULL;
}

void population_cancel(struct population *population) {
        atomic_store(&population->job.cancelled, true);
}
