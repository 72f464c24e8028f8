/* SPDX-License-Identifier: MIT */
#include "socket/adopt.h"

#include <dirent.h>
#include <stdlib.h>
#include "socket/client.h"
#include "socket/disposal.h"
#include "socket/listener.h"

static bool connection_is_known(struct journal *journal, int fd) {
        for (uint32_t id = 1; id <= journal_high(journal, TABLE_CLIENT); id++) {
                const struct client *record = journal_get(journal, TABLE_CLIENT, id);

                if (record->id == id && record->fd == fd)
                        return true;
        }
        return false;
}

void adopt_connections(struct txn *txn) {
        struct journal *journal = txn_journal(txn);
        struct root *root = journal_root(journal);
        DIR *fds = root->accepting ? opendir("/proc/self/fd") : NULL;
        struct dirent *entry;
        struct disposal disposal = {0};
        struct caller caller;

        while (fds && (entry = readdir(fds))) {
                int fd = atoi(entry->d_name);

                if (entry->d_name[0] == '.' || !listener_is_own(fd, root->listen_fd) ||
                    connection_is_known(journal, fd))
                        continue;
                if (listener_identify(fd, &caller) == 0)
                        client_new(txn, fd, &caller);
                else /* stray_fds_close() will close it, and must not have to wait for that */
                        disposal_prepare_close(&disposal, fd, caller.uid, true);
        }
        if (fds)
                closedir(fds);
        root->accepting = 0;
}
