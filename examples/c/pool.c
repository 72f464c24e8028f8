/* SPDX-License-Identifier: MIT */

/* Three workers reverse strings in shared memory.  Only slot numbers go through the pipe. */

#include <iomem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 3, SLOT = 64 };

static const char *const words[] = {"shared", "memory", "has",  "no", "copies", "to",
                                    "make",   "and",    "none", "to", "wait",   "for"};
enum { WORDS = sizeof(words) / sizeof(*words) };

static int fail(void) {
        fprintf(stderr, "pool: %s\n", iomem_error());
        return EXIT_FAILURE;
}

static void reverse(char *text) {
        for (size_t i = 0, j = strlen(text); i + 1 < j; i++) {
                char c = text[i];

                text[i] = text[--j];
                text[j] = c;
        }
}

static void work(char (*slots)[SLOT], int jobs) {
        unsigned char slot;

        while (read(jobs, &slot, 1) == 1)
                reverse(slots[slot]);
}

int main(void) {
        struct iomem_connection *mem;
        char(*slots)[SLOT];
        void *memory;
        int fd, jobs[2];

        if (iomem_connect(&mem, NULL) < 0)
                return fail();
        fd = iomem_create(mem, "example-pool", WORDS * SLOT, -1, IOMEM_FIXED);
        if (fd < 0 || iomem_map(&memory, NULL, fd, IOMEM_WRITE) < 0)
                return fail();
        slots = memory;
        for (int i = 0; i < WORDS; i++)
                strcpy(slots[i], words[i]);
        if (pipe(jobs) < 0)
                return EXIT_FAILURE;
        for (int i = 0; i < WORKERS; i++)
                if (fork() == 0) {
                        close(jobs[1]);
                        work(slots, jobs[0]);
                        _exit(0);
                }
        close(jobs[0]);
        for (unsigned char i = 0; i < WORDS; i++)
                if (write(jobs[1], &i, 1) != 1)
                        return EXIT_FAILURE;
        close(jobs[1]);
        while (wait(NULL) > 0)
                ;
        printf("%d strings by %d workers\n", WORDS, WORKERS);
        for (int i = 0; i < WORDS; i++)
                printf("%s%c", slots[i], i + 1 < WORDS ? ' ' : '\n');
        if (iomem_remove(mem, "example-pool") < 0)
                return fail();
        iomem_disconnect(mem);
        return EXIT_SUCCESS;
}
