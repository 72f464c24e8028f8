/* SPDX-License-Identifier: MIT */
#include "memory/window.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct window {
        uint32_t id;      /* of the region; 0: unused */
        uint64_t index;   /* its offset in the file by WINDOW_SIZE */
        size_t from, end; /* the written part, which has memory */
        char *map;        /* NULL: not mapped yet */
        uint64_t last_use;
};

struct windows {
        struct window slots[WINDOWS];
        uint64_t uses;
};

/* A copy of this thread that gets SIGBUS continues here; NULL outside of copies. */
static _Thread_local sigjmp_buf *volatile copy_guard;

static void on_sigbus(int number) {
        if (copy_guard)
                siglongjmp(*copy_guard, 1);
        signal(number, SIG_DFL);
        raise(number);
}

static bool copy_guarded(char *to, const void *from, size_t size) {
        sigjmp_buf guard;

        if (sigsetjmp(guard, 0) != 0) {
                copy_guard = NULL;
                return false;
        }
        copy_guard = &guard;
        atomic_signal_fence(memory_order_seq_cst);
        memcpy(to, from, size);
        atomic_signal_fence(memory_order_seq_cst);
        copy_guard = NULL;
        return true;
}

int windows_new(struct windows **out) {
        /* SA_NODEFER, because siglongjmp() leaves the handler and the next SIGBUS must get through,
         * too. */
        const struct sigaction action = {.sa_handler = on_sigbus, .sa_flags = SA_NODEFER};
        struct windows *windows;
        sigset_t set;

        windows = calloc(1, sizeof(*windows));
        if (!windows)
                return -ENOMEM;
        sigaction(SIGBUS, &action, NULL);
        /* SIGBUS may have been blocked by the process that mounts. */
        sigemptyset(&set);
        sigaddset(&set, SIGBUS);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        *out = windows;
        return 0;
}

static void window_close(struct window *window) {
        if (window->map)
                munmap(window->map, WINDOW_SIZE);
        *window = (struct window){0};
}

struct windows *windows_free(struct windows *windows) {
        if (!windows)
                return NULL;
        for (int i = 0; i < WINDOWS; i++)
                window_close(&windows->slots[i]);
        signal(SIGBUS, SIG_DFL);
        free(windows);
        return NULL;
}

/* The slot of this window; if there is none, the least recently used slot is reused for it. */
static struct window *windows_slot(struct windows *windows, uint32_t id, uint64_t index) {
        struct window *oldest = &windows->slots[0];

        for (int i = 0; i < WINDOWS; i++) {
                struct window *window = &windows->slots[i];

                if (window->id == id && window->index == index)
                        return window;
                if (window->last_use < oldest->last_use)
                        oldest = window;
        }
        window_close(oldest);
        oldest->id = id;
        oldest->index = index;
        return oldest;
}

static bool window_open(struct window *window, int fd) {
        void *map;

        map = mmap(NULL, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                   (off_t)(window->index * WINDOW_SIZE));
        if (map == MAP_FAILED)
                return false;
        /* A child would keep the region's memory, and keep the region from being sealed. */
        madvise(map, WINDOW_SIZE, MADV_DONTFORK);
        window->map = map;
        return true;
}

bool windows_copy(struct windows *windows, uint32_t id, int fd, const void *bytes, size_t size,
                  uint64_t offset) {
        struct window *window = windows_slot(windows, id, offset / WINDOW_SIZE);
        size_t at = offset % WINDOW_SIZE;

        window->last_use = ++windows->uses;
        if (at < window->from || at + size > window->end)
                return false;
        if (!window->map && !window_open(window, fd))
                return false;
        return copy_guarded(window->map + at, bytes, size);
}

void windows_wrote(struct windows *windows, uint32_t id, size_t size, uint64_t offset) {
        struct window *window = windows_slot(windows, id, offset / WINDOW_SIZE);
        size_t at = offset % WINDOW_SIZE;

        if (at > window->end || at + size < window->from) {
                window->from = at;
                window->end = at + size;
                return;
        }
        if (at < window->from)
                window->from = at;
        if (at + size > window->end)
                window->end = at + size;
}

void windows_forget(struct windows *windows, uint32_t id) {
        for (int i = 0; i < WINDOWS; i++)
                if (windows->slots[i].id == id)
                        window_close(&windows->slots[i]);
}
