/* SPDX-License-Identifier: MIT */

/*
 * share: two processes, in two containers, that share a file by mmap(2) and a futex.
 *
 *   share give FILE WORD   makes the file, puts the word into it, wakes who waits, and waits for the
 *                          answer
 *   share take FILE        waits for the file and the word, prints it, and answers
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 60, SIZE = 4096 };

struct shared {
        uint32_t given, taken; /* futexes */
        char word[64];
};

static int await(uint32_t *futex) {
        struct timespec limit = {.tv_sec = PATIENCE_S};

        while (__atomic_load_n(futex, __ATOMIC_ACQUIRE) == 0)
                if (syscall(SYS_futex, futex, FUTEX_WAIT, 0, &limit, NULL, 0) < 0 &&
                    errno == ETIMEDOUT)
                        return 1;
        return 0;
}

static void set(uint32_t *futex) {
        __atomic_store_n(futex, 1, __ATOMIC_RELEASE);
        syscall(SYS_futex, futex, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static struct shared *map(const char *path, int flags) {
        int fd = open(path, O_RDWR | flags, 0666);
        void *at = MAP_FAILED;

        if (fd >= 0 && (flags == 0 || ftruncate(fd, SIZE) == 0) && lseek(fd, 0, SEEK_END) == SIZE)
                at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fd >= 0)
                close(fd);
        return at == MAP_FAILED ? NULL : at;
}

static int give(const char *path, const char *word) {
        struct shared *shared = map(path, O_CREAT);

        if (!shared) {
                perror(path);
                return 1;
        }
        strncpy(shared->word, word, sizeof(shared->word) - 1);
        set(&shared->given);
        return await(&shared->taken);
}

static int take(const char *path) {
        struct shared *shared = map(path, 0);

        for (int i = 0; !shared && i < PATIENCE_S * 10; i++) {
                usleep(100 * 1000);
                shared = map(path, 0);
        }
        if (!shared || await(&shared->given))
                return 1;
        puts(shared->word);
        set(&shared->taken);
        return 0;
}

int main(int argc, char **argv) {
        if (argc == 4 && strcmp(argv[1], "give") == 0)
                return give(argv[2], argv[3]);
        if (argc == 3 && strcmp(argv[1], "take") == 0)
                return take(argv[2]);
        return 2;
}
