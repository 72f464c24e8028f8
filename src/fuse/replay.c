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

static bool backing_is_named(struct journal *journal, uint32_t id, int32_t backing) {
        const struct node *node = journal_get(journal, TABLE_NODE, id);

        return node && node->id == id && node->backing_id == backing;
}

/* Ids rise one by one, so one that was opened but not noted is the one after the newest. */
void replay_backing(struct journal *journal) {
        struct root *root = journal_root(journal);
        const struct opened_id *newest = &root->opened_ids[root->newest_id];
        int32_t id = newest->id;

        if (!root->passthrough)
                return;
        if (id == 0)
                id = root->opened_ids[!root->newest_id].id + 1;
        if (!backing_is_named(journal, newest->node, id))
                backing_id_close(root->fuse_fd, id);
}

void replay_requests(struct journal *journal) {
        struct root *root = journal_root(journal);
        int r = notify_resend(root->fuse_fd);

        if (r < 0 && r != -ENODEV)
                log_line(LOG_WARNING, "cannot have unanswered requests resent: %s", errno_text(-r));
}
