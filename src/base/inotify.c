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
        bool failed; /* there was no memory to put it into a hash */
        UT_hash_handle by_wd;
        UT_hash_handle by_key;
};

struct inotify {
        int fd;
        uint32_t mask;
        inotify_fn fn;
        void *userdata;
        struct loop_source *source;
        struct entry *wds;
        struct entry *keys;
};

static void inotify_drop(struct inotify *inotify, struct entry *entry) {
        HASH_DELETE(by_wd, inotify->wds, entry);
        HASH_DELETE(by_key, inotify->keys, entry);
        free(entry);
}

static struct entry *inotify_find_key(const struct inotify *inotify, uint32_t key) {
        struct entry *entry;

        HASH_FIND(by_key, inotify->keys, &key, sizeof(key), entry);
        return entry;
}

static struct entry *inotify_find_wd(const struct inotify *inotify, int wd) {
        struct entry *entry;

        HASH_FIND(by_wd, inotify->wds, &wd, sizeof(wd), entry);
        return entry;
}

static void inotify_handle(struct inotify *inotify, const struct inotify_event *event) {
        struct entry *entry;
        uint32_t key;

        if (event->mask & IN_Q_OVERFLOW) {
                inotify->fn(inotify->userdata, 0);
                return;
        }
        entry = inotify_find_wd(inotify, event->wd);
        if (!entry)
                return; /* removed while the event was on its way */
        key = entry->key;
        if (event->mask & IN_IGNORED)
                inotify_drop(inotify, entry); /* a one-shot watch is over */
        else
                inotify->fn(inotify->userdata, key);
}

static void inotify_on_readable(void *userdata, uint32_t events) {
        struct inotify *inotify = userdata;
        _Alignas(struct inotify_event) char buffer[16 * 1024];
        ssize_t n;

        (void)events;
        n = read(inotify->fd, buffer, sizeof(buffer));
        for (ssize_t at = 0; at < n;) {
                const struct inotify_event *event = (const void *)(buffer + at);

                inotify_handle(inotify, event);
                at += (ssize_t)sizeof(*event) + event->len;
        }
}

static bool inotify_insert(struct inotify *inotify, struct entry *entry) {
        entry->failed = false;
        HASH_ADD(by_wd, inotify->wds, wd, sizeof(entry->wd), entry);
        if (entry->failed)
                return false;
        HASH_ADD(by_key, inotify->keys, key, sizeof(entry->key), entry);
        if (entry->failed)
                HASH_DELETE(by_wd, inotify->wds, entry);
        return !entry->failed;
}

int inotify_watch(struct inotify *inotify, int fd, uint32_t key) {
        struct entry *entry;
        char path[32];

        if (inotify_find_key(inotify, key))
                return 0;
        entry = calloc(1, sizeof(*entry));
        if (!entry)
                return -ENOMEM;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        entry->key = key;
        entry->wd = fault_strikes(FAULT_WATCH)
                            ? -1
                            : inotify_add_watch(inotify->fd, path, inotify->mask);
        if (entry->wd < 0) {
                free(entry);
                return errno == ENOMEM ? -ENOMEM : -ENOSPC;
        }
        if (!inotify_insert(inotify, entry)) {
                inotify_rm_watch(inotify->fd, entry->wd);
                free(entry);
                return -ENOMEM;
        }
        return 0;
}

void inotify_unwatch(struct inotify *inotify, uint32_t key) {
        struct entry *entry = inotify_find_key(inotify, key);

        if (!entry)
                return;
        inotify_rm_watch(inotify->fd, entry->wd);
        inotify_drop(inotify, entry);
}

int inotify_new(struct inotify **out, struct loop *loop, uint32_t mask, inotify_fn fn,
                void *userdata) {
        struct inotify *inotify;
        int r;

        inotify = calloc(1, sizeof(*inotify));
        if (!inotify)
                return -ENOMEM;
        inotify->mask = mask;
        inotify->fn = fn;
        inotify->userdata = userdata;
        inotify->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (inotify->fd < 0) {
                r = -errno;
                free(inotify);
                return r;
        }
        r = loop_add(loop, &inotify->source, inotify->fd, EPOLLIN, inotify_on_readable, inotify);
        if (r < 0) {
                inotify_free(inotify);
                return r;
        }
        *out = inotify;
        return 0;
}

struct inotify *inotify_free(struct inotify *inotify) {
        struct entry *entry, *next;

        if (!inotify)
                return NULL;
        HASH_ITER(by_key, inotify->keys, entry, next) {
                inotify_drop(inotify, entry);
        }
        loop_remove(inotify->source);
        close(inotify->fd);
        free(inotify);
        return NULL;
}
