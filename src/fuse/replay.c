/* SPDX-License-Identifier: MIT */
#include "fuse/replay.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/errno_text.h"
#include "base/log.h"
#include "fuse/backing_id.h"
#include "fuse/notify.h"
#include "fuse/wire.h"

void replay_outcome(struct journal *journal) {
        struct root *root = journal_root(journal);
        const void *bytes;
        uint64_t key;
        size_t length;

        bytes = journal_outcome(journal, &key, &length);
        if (key == 0 || length < sizeof(struct wire_out_header))
                return;
        if (write(root->fuse_fd, bytes, length) == (ssize_t)length)
                root->counters.replayed++;
}

static bool backing_is_named(struct journal *journal, int32_t id) {
        uint32_t high = journal_high(journal, TABLE_NODE);

        for (uint32_t i = 1; i <= high; i++) {
                const struct node *node = journal_get(journal, TABLE_NODE, i);

                if (node->id == i && node->backing_id == id)
                        return true;
        }
        return false;
}

/* Ids rise one by one, so an id that was opened but not recorded is the last one or the next. */
void replay_backing(struct journal *journal) {
        struct root *root = journal_root(journal);
        int32_t last = root->last_backing;

        if (!root->passthrough)
                return;
        for (int32_t id = last; id <= last + 1; id++)
                if (id > 0 && !backing_is_named(journal, id))
                        backing_id_close(root->fuse_fd, id);
}

void replay_requests(struct journal *journal) {
        struct root *root = journal_root(journal);
        int r = notify_resend(root->fuse_fd);

        if (r < 0 && r != -ENODEV)
                log_line(LOG_WARNING, "cannot have unanswered requests resent: %s", errno_text(-r));
}
