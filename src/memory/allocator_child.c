/* SPDX-License-Identifier: MIT */
#include "memory/allocator_child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "memory/headroom.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define HUGE_PAGE (UINT64_C(2) << 20)
#define PIECE (UINT64_C(32) << 20)

enum {
        LOOK_NS = 1000000, /* between checks of the headroom; a few MiB are made in that time */
        TABLES = 200,      /* page tables take about 1/200 of what they map */
        HELPERS_MAX = 7,   /* further threads that make huge pages */
        INTERRUPT = SIGUSR1,
};

struct work {
        const struct allocator_order *order;
        int fd;
        struct cgroup group;
        pthread_t thread; /* the one that allocates */
        atomic_bool done, low;
};

static bool work_fits(const struct work *work, uint64_t more) {
        return headroom_available(&work->group) >= more + more / TABLES;
}

/* Joins the caller's group, which the memory is charged to.  If it cannot be joined, its limits are
 * kept all the same. */
static void work_join(struct work *work) {
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd >= 0) {
                (void)!write(fd, "1000", 4);
                close(fd);
        }
        headroom_find_group(&work->group, "", work->order->pid);
        if (work->order->pid != 0 && work->group.path[0])
                (void)headroom_join(&work->group);
}

/* Bytes of the range that have no page yet.  Pages that were never written to count as missing,
 * too. */
static uint64_t work_lack(const struct work *work) {
        const struct allocator_order *o = work->order;
        off_t end = (off_t)(o->offset + o->length), at = (off_t)o->offset, data, hole;
        uint64_t lack = 0;

        while (at < end) {
                data = lseek(work->fd, at, SEEK_DATA);
                if (data < 0 || data > end)
                        data = end;
                lack += (uint64_t)(data - at);
                hole = data < end ? lseek(work->fd, data, SEEK_HOLE) : end;
                at = hole < 0 ? end : hole;
        }
        return lack;
}

/* Small pages */

static void on_interrupt(int signal) {
        (void)signal;
}

/* While another thread allocates, checks that there still is room; if not, interrupts that
 * thread. */
static void *work_watch(void *userdata) {
        const struct timespec pause = {.tv_nsec = LOOK_NS};
        struct work *work = userdata;

        while (!atomic_load(&work->done)) {
                nanosleep(&pause, NULL);
                if (work_fits(work, 0) && headroom_available(&work->group) > 0)
                        continue;
                atomic_store(&work->low, true);
                pthread_kill(work->thread, INTERRUPT);
        }
        return NULL;
}

static int work_fallocate(struct work *work) {
        const struct allocator_order *o = work->order;
        pthread_t watcher;
        bool watched;
        int r;

        /* Without SA_RESTART, so that the kernel undoes what it had made and returns EINTR. */
        sigaction(INTERRUPT, &(struct sigaction){.sa_handler = on_interrupt}, NULL);
        work->thread = pthread_self();
        watched = pthread_create(&watcher, NULL, work_watch, work) == 0;
        do
                r = fallocate(work->fd, o->mode, (off_t)o->offset, (off_t)o->length) < 0 ? -errno
                                                                                         : 0;
        while (r == -EINTR && !atomic_load(&work->low));
        atomic_store(&work->done, true);
        if (watched)
                pthread_join(watcher, NULL);
        return r == -EINTR || r == -ENOMEM ? -ENOSPC : r;
}

/*
 * Zeroes the pages that fallocate(2) left for the first access.  The mapping is private, because a
 * shared one would keep the region from being sealed against writing; reading is enough.
 */
static void work_zero(const struct work *work) {
        const struct allocator_order *o = work->order;

        for (uint64_t at = 0; at < o->length; at += PIECE) {
                uint64_t size = o->length - at < PIECE ? o->length - at : PIECE;
                void *piece = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, work->fd,
                                   (off_t)(o->offset + at));

                if (piece == MAP_FAILED)
                        return;
                if (madvise(piece, size, MADV_POPULATE_READ) < 0)
                        return; /* the region was truncated or released */
                munmap(piece, size);
        }
}

/* Huge pages */

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

/* Maps the range at an address that is aligned to huge pages.  The mapping stays until the process
 * ends. */
static uint8_t *map_aligned(const struct work *work) {
        uint64_t length = work->order->length;
        uint64_t start;
        void *raw = mmap(NULL, length + HUGE_PAGE, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (raw == MAP_FAILED)
                return MAP_FAILED;
        start = ((uintptr_t)raw + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        return mmap((void *)(uintptr_t)start, length, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_FIXED, work->fd, 0);
}

/* The kernel collapses no piece that is empty.  So store once in each, without changing a byte. */
static void huge_touch(uint8_t *at, uint64_t size) {
        for (uint64_t i = 0; i < size; i += HUGE_PAGE)
                __atomic_fetch_or(at + i, 0, __ATOMIC_RELAXED);
}

static int huge_piece(const struct work *work, uint8_t *at, uint64_t size) {
        if (!work_fits(work, size))
                return -ENOSPC;
        madvise(at, size, MADV_HUGEPAGE);
        huge_touch(at, size);
        /* If this fails, fallocate(2) makes small pages, which only costs speed. */
        madvise(at, size, MADV_COLLAPSE);
        return 0;
}

/* The pieces of one region, which several threads take in turn. */
struct pieces {
        const struct work *work;
        uint8_t *base;
        atomic_uint_least64_t next; /* bytes */
        atomic_int result;
};

static void pieces_make(struct pieces *pieces) {
        uint64_t length = pieces->work->order->length, at;

        while (atomic_load(&pieces->result) == 0 &&
               (at = atomic_fetch_add(&pieces->next, PIECE)) < length) {
                uint64_t left = length - at;
                int r = huge_piece(pieces->work, pieces->base + at, left < PIECE ? left : PIECE);

                if (r < 0)
                        atomic_store(&pieces->result, r);
        }
}

/* Runs only on processors that nobody else wants. */
static void *helper_main(void *userdata) {
        (void)sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0});
        pieces_make(userdata);
        return NULL;
}

/* How many further threads may be of use. */
static unsigned int helpers_wanted(uint64_t length) {
        uint64_t wanted = length > 0 ? (length - 1) / PIECE : 0;
        cpu_set_t processors;
        int n = 1;

        if (sched_getaffinity(0, sizeof(processors), &processors) == 0)
                n = CPU_COUNT(&processors);
        if (wanted > (uint64_t)n - 1)
                wanted = (uint64_t)n - 1;
        return wanted < HELPERS_MAX ? (unsigned int)wanted : HELPERS_MAX;
}

static int pieces_run(struct pieces *pieces) {
        unsigned int wanted = helpers_wanted(pieces->work->order->length), n = 0;
        pthread_t helpers[HELPERS_MAX];

        while (n < wanted && pthread_create(&helpers[n], NULL, helper_main, pieces) == 0)
                n++;
        pieces_make(pieces);
        for (unsigned int i = 0; i < n; i++) {
                /* It may be in the middle of a piece, for which the caller waits from now on. */
                (void)pthread_setschedparam(helpers[i], SCHED_OTHER, &(struct sched_param){0});
                pthread_join(helpers[i], NULL);
        }
        return atomic_load(&pieces->result);
}

static int work_huge(struct work *work, uint64_t *huge) {
        struct pieces pieces = {.work = work, .base = map_aligned(work)};
        const uint8_t *base = pieces.base;
        int r;

        if (base == MAP_FAILED)
                return -ENOMEM;
        r = pieces_run(&pieces);
        if (r == 0)
                r = work_fallocate(work);
        if (r == 0)
                *huge = huge_mapped(base);
        return r;
}

/* All of it */

void allocator_child_run(const struct allocator_order *order, int fd, allocator_report_fn report,
                         void *userdata) {
        struct work work = {.order = order, .fd = fd};
        uint64_t huge = 0;
        int r = -ENOSPC;

        /* A region of size 0 has no pages to make, and cannot be mapped. */
        if (order->length == 0) {
                report(userdata, 0, 0);
                return;
        }
        work_join(&work);
        /* Refuse at once what cannot fit, before any page is taken. */
        if (work_fits(&work, work_lack(&work)))
                r = order->huge ? work_huge(&work, &huge) : work_fallocate(&work);
        /* Before the report: who gets it may remove the region, and count on its memory. */
        if (!order->zero || order->huge)
                close(fd);
        report(userdata, r, huge);
        if (r == 0 && order->zero && !order->huge)
                work_zero(&work);
}
