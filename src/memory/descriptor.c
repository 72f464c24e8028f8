/* SPDX-License-Identifier: MIT */
#include "memory/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
        CONNECTIONS_SHARE = 8,    /* connections may take one in so many of all descriptors */
        CONNECTIONS_MOST = 16384, /* as many as there are records for them */
        TRIES = 8,
};

static uint64_t descriptors_all(void) {
        struct rlimit limit;

        return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

uint32_t descriptor_connections(void) {
        uint64_t share = descriptors_all() / CONNECTIONS_SHARE;

        return share < CONNECTIONS_MOST ? (uint32_t)share : CONNECTIONS_MOST;
}

void descriptor_init(struct journal *journal) {
        struct root *root = journal_root(journal);

        if (root->descriptors_from == 0)
                root->descriptors_from = DESCRIPTOR_SPARE + (int32_t)descriptor_connections();
}

int descriptor_number(const struct journal *journal, uint32_t id) {
        const struct root *root = journal_root(journal);

        return root->descriptors_from + (int)id - 1;
}

/* A descriptor of a connection can have one of our numbers when there are very many. */
static bool is_in_use(int number) {
        return fcntl(number, F_GETFD) >= 0;
}

/* Takes the next number.  Negative if there is none; *id is 0 then, or has to be given back. */
static int take_next(struct journal *journal, uint32_t *id) {
        int number;

        *id = journal_new(journal, TABLE_DESCRIPTOR);
        if (*id == 0)
                return -ENOSPC;
        number = descriptor_number(journal, *id);
        if ((uint64_t)number >= descriptors_all())
                return -ENOSPC;
        return is_in_use(number) ? -EBUSY : number;
}

int descriptor_new(struct journal *journal, uint32_t node) {
        uint32_t skipped[TRIES], n = 0, id;
        struct descriptor *record;
        int number = -EBUSY;

        while (number == -EBUSY && n < TRIES) {
                number = take_next(journal, &id);
                if (number < 0 && id != 0)
                        skipped[n++] = id;
        }
        if (number >= 0) {
                record = journal_get(journal, TABLE_DESCRIPTOR, id);
                *record = (struct descriptor){.id = id, .node = node};
        }
        while (n > 0)
                journal_delete(journal, TABLE_DESCRIPTOR, skipped[--n]);
        return number >= 0 ? number : -ENOSPC;
}

int descriptor_move(int fd, int number) {
        int r;

        if (fd == number)
                return 0;
        r = dup3(fd, number, O_CLOEXEC) < 0 ? -errno : 0;

        close(fd);
        return r == -EBADF || r == -EMFILE ? -ENOSPC : r;
}

void descriptor_delete(struct journal *journal, int number) {
        const struct root *root = journal_root(journal);

        journal_delete(journal, TABLE_DESCRIPTOR, (uint32_t)(number - root->descriptors_from) + 1);
}

uint64_t descriptor_left(const struct journal *journal) {
        const struct root *root = journal_root(journal);
        uint64_t all = descriptors_all(), used = journal_used(journal, TABLE_DESCRIPTOR);
        uint64_t ours =
                all > (uint64_t)root->descriptors_from ? all - (uint64_t)root->descriptors_from : 0;

        return ours > used ? ours - used : 0;
}
