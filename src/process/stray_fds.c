/* SPDX-License-Identifier: MIT */
#include "process/stray_fds.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "records/layout.h"

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
        for (uint32_t i = 1; i <= journal_high(journal, TABLE_NODE); i++) {
                const struct node *node = journal_get(journal, TABLE_NODE, i);

                if (node->id == i && node_is_region(node))
                        fd_keep(list, node->fd);
        }
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

static void close_between(const struct fd_list *list) {
        unsigned int from = STDERR_FILENO + 1;

        for (size_t i = 0; i < list->n; i++) {
                unsigned int fd = (unsigned int)list->fds[i];

                if (fd > from)
                        close_range(from, fd - 1, 0);
                if (fd >= from)
                        from = fd + 1;
        }
        close_range(from, ~0U, 0);
}

int stray_fds_close(struct journal *journal, const int *own, size_t n_own) {
        const struct root *root = journal_root(journal);
        const int of_root[] = {root->fuse_fd, root->listen_fd, root->log_fd, root->wakeup.fd};
        struct fd_list list = {
                .max = sizeof(of_root) / sizeof(of_root[0]) + 1 + n_own +
                       journal_used(journal, TABLE_NODE) + journal_used(journal, TABLE_LIMIT) +
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
        close_between(&list);
        free(list.fds);
        return 0;
}
