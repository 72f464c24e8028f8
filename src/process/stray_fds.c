/* SPDX-License-Identifier: MIT */
#include "process/stray_fds.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "memory/descriptor.h"

struct fd_list {
        int *fds;
        size_t n, max;
};

static void fd_keep(struct fd_list *list, int fd) {
        if (fd > STDERR_FILENO && list->n < list->max)
                list->fds[list->n++] = fd;
}

static int fd_compare(const void *a, const void *b) {
        return *(const int *)a - *(const int *)b;
}

static void fd_keep_records(struct fd_list *list, struct journal *journal) {
        for (uint32_t i = 1; i <= journal_high(journal, TABLE_LIMIT); i++) {
                const struct limit *limit = journal_get(journal, TABLE_LIMIT, i);

                if (limit->id == i)
                        fd_keep(list, limit->tmpfs_fd);
        }
        for (uint32_t i = 1; i <= journal_high(journal, TABLE_CLIENT); i++) {
                const struct client *client = journal_get(journal, TABLE_CLIENT, i);

                if (client->id == i) {
                        fd_keep(list, client->fd);
                        fd_keep(list, client->reply_fd);
                        fd_keep(list, client->text_fd);
                }
        }
}

/* Closes the numbers from *from up to fd, but not fd itself. */
static void close_up_to(unsigned int *from, int fd) {
        unsigned int end = (unsigned int)fd;

        if (end > *from)
                close_range(*from, end - 1, 0);
        if (end >= *from)
                *from = end + 1;
}

/* The list is in order; and the records of regions' descriptors are, by their numbers. */
static void close_others(const struct fd_list *list, struct journal *journal) {
        uint32_t high = journal_high(journal, TABLE_DESCRIPTOR);
        unsigned int from = STDERR_FILENO + 1;
        size_t at = 0;

        for (uint32_t id = 1; id <= high; id++) {
                const struct descriptor *record = journal_get(journal, TABLE_DESCRIPTOR, id);
                int number = descriptor_number(journal, id);

                if (record->id != id)
                        continue;
                while (at < list->n && list->fds[at] < number)
                        close_up_to(&from, list->fds[at++]);
                close_up_to(&from, number);
        }
        while (at < list->n)
                close_up_to(&from, list->fds[at++]);
        close_range(from, ~0U, 0);
}

int stray_fds_close(struct journal *journal, const int *own, size_t n_own) {
        const struct root *root = journal_root(journal);
        const int of_root[] = {root->fuse_fd, root->closes_fd, root->listen_fd, root->log_fd,
                               root->wakeup.fd};
        struct fd_list list = {
                .max = sizeof(of_root) / sizeof(of_root[0]) + 1 + n_own +
                       journal_used(journal, TABLE_LIMIT) +
                       3 * (size_t)journal_used(journal, TABLE_CLIENT),
        };

        list.fds = calloc(list.max, sizeof(*list.fds));
        if (!list.fds)
                return -ENOMEM;
        for (size_t i = 0; i < sizeof(of_root) / sizeof(of_root[0]); i++)
                fd_keep(&list, of_root[i]);
        fd_keep(&list, journal_fd(journal));
        for (size_t i = 0; i < n_own; i++)
                fd_keep(&list, own[i]);
        fd_keep_records(&list, journal);
        qsort(list.fds, list.n, sizeof(*list.fds), fd_compare);
        close_others(&list, journal);
        free(list.fds);
        return 0;
}
