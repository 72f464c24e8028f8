/* SPDX-License-Identifier: MIT */
#include "base/inotify.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "base/fault.h"

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->failed = true)
#include <uthash.h>

struct entry {
        int wd;
        uint32_t key;
        bool failed; /* no memory to be put into a hash */
        UT_hash_handle by_wd;
        UT_hash_handle by_key;
};

struct watch {
        int fd;
        uint32_t mask;
        watch_fn fn;
        void *userdata;
        struct loop_source *source;
        struct entry *wds;
        struct entry *keys;
};

static void watch_drop(struct watch *watch, struct entry *entry) {
        HASH_DELETE(by_wd, watch->wds, entry);
        HASH_DELETE(by_key, watch->keys, entry);
        free(entry);
}

static struct entry *watch_find_key(const struct watch *watch, uint32_t key) {
        struct entry *entry;

        HASH_FIND(by_key, watch->keys, &key, sizeof(key), entry);
        return entry;
}

static struct entry *watch_find_wd(const struct watch *watch, int wd) {
        struct entry *entry;

        HASH_FIND(by_wd, watch->wds, &wd, sizeof(wd), entry);
        return entry;
}

static void watch_handle(struct watch *watch, const struct inotify_event *event) {
        struct entry *entry;
        uint32_t key;

        if (event->mask & IN_Q_OVERFLOW) {
                watch->fn(watch->userdata, 0);
                return;
        }
        entry = watch_find_wd(watch, event->wd);
        if (!entry)
                return; /* removed while the event was under way */
        key = entry->key;
        if (event->mask & IN_IGNORED)
                watch_drop(watch, entry); /* a one-shot watch is over */
        else
                watch->fn(watch->userdata, key);
}

static void watch_on_readable(void *userdata, uint32_t events) {
        struct watch *watch = userdata;
        _Alignas(struct inotify_event) char buffer[16 * 1024];
        ssize_t n;

        (void)events;
        n = read(watch->fd, buffer, sizeof(buffer));
        for (ssize_t at = 0; at < n;) {
                const struct inotify_event *event = (const void *)(buffer + at);

                watch_handle(watch, event);
                at += (ssize_t)sizeof(*event) + event->len;
        }
}

static bool watch_insert(struct watch *watch, struct entry *entry) {
        entry->failed = false;
        HASH_ADD(by_wd, watch->wds, wd, sizeof(entry->wd), entry);
        if (entry->failed)
                return false;
        HASH_ADD(by_key, watch->keys, key, sizeof(entry->key), entry);
        if (entry->failed)
                HASH_DELETE(by_wd, watch->wds, entry);
        return !entry->failed;
}

int watch_add(struct watch *watch, int fd, uint32_t key) {
        struct entry *entry;
        char path[32];

        if (watch_find_key(watch, key))
                return 0;
        entry = calloc(1, sizeof(*entry));
        if (!entry)
                return -ENOMEM;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        entry->key = key;
        entry->wd =
                fault_strikes(FAULT_WATCH) ? -1 : inotify_add_watch(watch->fd, path, watch->mask);
        if (entry->wd < 0) {
                free(entry);
                return errno == ENOMEM ? -ENOMEM : -ENOSPC;
        }
        if (!watch_insert(watch, entry)) {
                inotify_rm_watch(watch->fd, entry->wd);
                free(entry);
                return -ENOMEM;
        }
        return 0;
}

void watch_remove(struct watch *watch, uint32_t key) {
        struct entry *entry = watch_find_key(watch, key);

        if (!entry)
                return;
        inotify_rm_watch(watch->fd, entry->wd);
        watch_drop(watch, entry);
}

int watch_new(struct watch **out, struct loop *loop, uint32_t mask, watch_fn fn, void *userdata) {
        struct watch *watch;
        int r;

        watch = calloc(1, sizeof(*watch));
        if (!watch)
                return -ENOMEM;
        watch->mask = mask;
        watch->fn = fn;
        watch->userdata = userdata;
        watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (watch->fd < 0) {
                r = -errno;
                free(watch);
                return r;
        }
        r = loop_add(loop, &watch->source, watch->fd, EPOLLIN, watch_on_readable, watch);
        if (r < 0) {
                watch_free(watch);
                return r;
        }
        *out = watch;
        return 0;
}

struct watch *watch_free(struct watch *watch) {
        struct entry *entry, *next;

        if (!watch)
                return NULL;
        HASH_ITER(by_key, watch->keys, entry, next) {
                watch_drop(watch, entry);
        }
        loop_remove(watch->source);
        close(watch->fd);
        free(watch);
        return NULL;
}
