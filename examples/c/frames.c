/* SPDX-License-Identifier: MIT */

/*
 * frames write|read NAME: two programs, in two languages if you like, on the same memory.  The first makes
 * a region, the other waits for it by name and answers.  docs/languages.md has the same program for the
 * other languages.
 */

#include <iomem.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TEXT = 64, ANSWER = 128, LENGTH = 64, SIZE = 4096 };

static int fail(void) {
        fprintf(stderr, "frames: %s\n", iomem_error());
        return 1;
}

/* Not every language wakes those who wait. */
static void await(atomic_uint *state, unsigned int value) {
        const struct timespec limit = {.tv_nsec = 10000000};

        for (unsigned int now; (now = atomic_load(state)) != value;)
                syscall(SYS_futex, state, FUTEX_WAIT, now, &limit, NULL, 0);
}

static void set_state(atomic_uint *state, unsigned int value) {
        atomic_store(state, value);
        syscall(SYS_futex, state, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int writes(struct iomem_connection *mem, const char *name) {
        int fd = iomem_create(mem, name, SIZE, -1, IOMEM_FIXED | IOMEM_EPHEMERAL);
        void *frames;
        size_t size;

        if (fd < 0 || iomem_map(&frames, &size, fd, IOMEM_WRITE) < 0)
                return fail();
        strcpy((char *)frames + TEXT, "hello from C");
        set_state(frames, 1);
        await(frames, 2);
        printf("C is told: %.*s\n", LENGTH, (char *)frames + ANSWER);
        return 0;
}

static int reads(struct iomem_connection *mem, const char *name) {
        void *frames;
        size_t size;
        int fd;

        if (iomem_wait(mem, name, 30000) < 0 || (fd = iomem_open(mem, name, IOMEM_WRITE)) < 0 ||
            iomem_map(&frames, &size, fd, IOMEM_WRITE) < 0)
                return fail();
        await(frames, 1);
        printf("C reads: %.*s\n", LENGTH, (char *)frames + TEXT);
        strcpy((char *)frames + ANSWER, "C has read it");
        set_state(frames, 2);
        return 0;
}

/* Nobody needs to have the region open: its name goes when this process has ended. */
static int keeps(struct iomem_connection *mem, const char *name) {
        int fd = iomem_create(mem, name, SIZE, -1, IOMEM_OWNER_PROCESS);

        if (fd < 0)
                return fail();
        close(fd);
        puts("C keeps it");
        fflush(stdout);
        sleep(60);
        return 0;
}

int main(int argc, char **argv) {
        struct iomem_connection *mem;

        if (argc != 3 || !strchr("wrk", argv[1][0])) {
                fprintf(stderr, "usage: %s write|read|keep NAME\n", argv[0]);
                return 2;
        }
        if (iomem_connect(&mem, NULL) < 0)
                return fail();
        if (argv[1][0] == 'k')
                return keeps(mem, argv[2]);
        return argv[1][0] == 'w' ? writes(mem, argv[2]) : reads(mem, argv[2]);
}
