/* SPDX-License-Identifier: MIT */

/*
 * memory: what a mapped region costs: stores, loads, first touch, fork, unmapping.
 */

#include "measure.h"

#include <signal.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANDOM_BATCH = 4096, BOUNCE_BATCH = 64, SPINS = 1 << 14 };

static volatile uint64_t sink;

static void touch(char *map, uint64_t size) {
        for (uint64_t i = 0; i < size; i += PAGE)
                *(volatile char *)(map + i) = 1;
}

static void make_touched(struct run *run) {
        region_make(run);
        region_map(run);
        touch(run->map, run->request->size);
}

static void nothing(struct run *run) {
        (void)run;
}

static void store_step(struct run *run) {
        memset(run->map, (int)run->work, run->request->size);
        run->work += run->request->size;
}

static void load_step(struct run *run) {
        const uint64_t *p = (const uint64_t *)run->map, *end = p + run->request->size / sizeof(*p);
        uint64_t sum[8] = {};

        for (; p < end; p += 8)
                for (int i = 0; i < 8; i++)
                        sum[i] += p[i];
        for (int i = 0; i < 8; i++)
                sink += sum[i];
        run->work += run->request->size;
}

/* Reads, changes and writes words all over the region, whose size is a power of two. */
static void random_step(struct run *run) {
        uint64_t *words = (uint64_t *)run->map, mask = run->request->size / sizeof(*words) - 1;

        for (int i = 0; i < RANDOM_BATCH; i++) {
                uint64_t r = random_next(run);

                words[r & mask] += r;
        }
        run->work += RANDOM_BATCH;
}

/* Reads words all over the region, each of which must be there before the next is looked for. */
static void chase_step(struct run *run) {
        const uint64_t *words = (const uint64_t *)run->map;
        uint64_t mask = run->request->size / sizeof(*words) - 1, last = 0;

        for (int i = 0; i < RANDOM_BATCH; i++)
                last = words[(random_next(run) ^ last) & mask];
        sink += last;
        run->work += RANDOM_BATCH;
}

static void touch_step(struct run *run) {
        run_pause(run);
        region_make(run);
        region_map(run);
        run_resume(run);
        touch(run->map, run->request->size);
        run_pause(run);
        run->work += run->request->size / PAGE;
        region_drop(run);
        run_resume(run);
}

/* From nothing to memory that can be used without a fault of allocation. */
static void populate_step(struct run *run) {
        const struct request *request = run->request;

        region_make(run);
        if (strcmp(request->via, "fallocate") == 0) {
                /* All pages are there; each is zeroed when it is first touched. */
                if (fallocate(run->fd, 0, 0, (off_t)request->size) < 0)
                        fail("fallocate");
        } else {
                region_map(run);
                if (!request->ctl && madvise(run->map, request->size, MADV_POPULATE_WRITE) < 0)
                        fail("MADV_POPULATE_WRITE");
        }
        run->work += run->request->size / PAGE;
        run_pause(run);
        region_drop(run);
        run_resume(run);
}

static void fork_step(struct run *run) {
        pid_t pid = fork();

        if (pid < 0)
                fail("fork");
        if (pid == 0) {
                touch(run->map, run->request->size);
                _exit(0);
        }
        if (waitpid(pid, NULL, 0) != pid)
                fail("waitpid");
        run->work += run->request->size / PAGE;
}

static void munmap_step(struct run *run) {
        run_pause(run);
        region_map(run);
        touch(run->map, run->request->size);
        run_resume(run);
        munmap(run->map, run->request->size);
        run->work += run->request->size / PAGE;
        run->map = NULL;
}

/* Tells the processor that this is a loop that waits. */
static inline void spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

/* Waits until the word has the value; lets another process run now and then. */
static void spin_until(uint32_t *word, uint32_t value) {
        for (unsigned int i = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) != value; i++) {
                spin_pause();
                if (i % SPINS == 0)
                        sched_yield();
        }
}

static void bounce_prepare(struct run *run) {
        uint32_t *word, i;

        make_touched(run);
        word = (uint32_t *)run->map;
        *word = 0;
        run->peer = fork();
        if (run->peer < 0)
                fail("fork");
        for (i = 1; run->peer == 0; i += 2) {
                spin_until(word, i);
                __atomic_store_n(word, i + 1, __ATOMIC_RELEASE);
        }
}

static void bounce_step(struct run *run) {
        uint32_t *word = (uint32_t *)run->map;

        for (int i = 0; i < BOUNCE_BATCH; i++) {
                uint32_t next = *word + 1;

                __atomic_store_n(word, next, __ATOMIC_RELEASE);
                spin_until(word, next + 1);
        }
        run->work += BOUNCE_BATCH;
}

static void bounce_finish(struct run *run) {
        kill(run->peer, SIGKILL);
        waitpid(run->peer, NULL, 0);
        region_drop(run);
}

const struct workload memory_workloads[] = {
        {"store", "B", make_touched, store_step, region_drop},
        {"load", "B", make_touched, load_step, region_drop},
        {"random", "access", make_touched, random_step, region_drop},
        {"chase", "load", make_touched, chase_step, region_drop},
        {"touch", "page", nothing, touch_step, NULL},
        {"populate", "page", nothing, populate_step, NULL},
        {"fork-touch", "page", make_touched, fork_step, region_drop},
        {"munmap", "page", region_make, munmap_step, region_drop},
        {"bounce", "round trip", bounce_prepare, bounce_step, bounce_finish},
        {},
};
