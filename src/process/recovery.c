/* SPDX-License-Identifier: MIT */
#include "process/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include "base/log.h"
#include "fuse/replay.h"
#include "memory/store.h"
#include "process/stray_fds.h"
#include "socket/adopt.h"

enum {
        DEATHS_MAX = 2,     /* workers in a row that may die in background work */
        PUT_OFF_MS = 10000, /* the work is then put off by this, times their number */
        PUT_OFF_MOST = 360, /* the greatest factor */
};

/* For tests: after a worker was hit by a crash point, the next one may be hit as well. */
static void arm_crash(struct journal *journal) {
        struct root *root = journal_root(journal);

        if (root->crash_again == 0 || journal_crash_left(journal) > 0 || !root->started)
                return;
        journal_crash_after(journal, root->crash_again);
        root->crash_again = 0;
}

static int adopt(struct journal *journal) {
        struct txn *txn;
        int r = txn_new(&txn, journal);

        if (r < 0)
                return r;
        adopt_connections(txn);
        txn_free(txn);
        return 0;
}

static bool is_successor(const struct root *root) {
        return root->counters.restarts > 0 || root->counters.takeovers > 0;
}

static int tell_restart(struct volume *volume) {
        if (!volume->root->ready)
                return 0;
        event_add_restart(volume->tree);
        txn_after_commit(volume->txn, TXN_AFTER_EVENTS);
        return txn_commit(volume->txn);
}

/* Work that can take long */

struct rest {
        struct volume *volume;
        struct loop_source *timer;
};

static void rest_begin(void *userdata, uint32_t events) {
        struct rest *rest = userdata;

        (void)events;
        volume_take_up(rest->volume);
        loop_remove(rest->timer);
        free(rest);
}

static int rest_put_off(struct volume *volume, uint32_t deaths) {
        uint64_t times = deaths < PUT_OFF_MOST ? deaths : PUT_OFF_MOST;
        struct rest *rest = calloc(1, sizeof(*rest));
        int r = rest ? loop_add_timer(volume->loop, &rest->timer, rest_begin, rest) : -ENOMEM;

        if (r < 0) {
                free(rest);
                return r;
        }
        rest->volume = volume;
        log_line(LOG_WARNING,
                 "%u workers died while they checked for unused regions; "
                 "the next check is put off for %llu s",
                 deaths, (unsigned long long)times * PUT_OFF_MS / 1000);
        return loop_arm(rest->timer, times * PUT_OFF_MS);
}

/* Begins the background work, unless it has killed workers before: it must not stop them from
 * serving. */
static int rest_take_up(struct volume *volume) {
        struct root *root = volume->root;

        root->background_deaths = root->in_background ? root->background_deaths + 1 : 0;
        root->in_background = 0;
        if (root->background_deaths > DEATHS_MAX)
                return rest_put_off(volume, root->background_deaths);
        volume_take_up(volume);
        return 0;
}

int recovery_run(const struct recovery *recovery, struct server **server) {
        struct journal *journal = recovery->journal;
        struct root *root = journal_root(journal);
        struct recovered rooms = {0};
        int r;

        /* 1.  Roll back the transaction that was not finished.  No record may be read before
         * that. */
        journal_rollback(journal);
        arm_crash(journal);

        /* 2.  Give records to connections that were accepted but not recorded.  Before 3, which
         * closes descriptors without a record. */
        r = adopt(journal);

        /* 3.  Close descriptors that only the dead worker used, and remove files that it made for a
         * transaction that it did not finish.  Before 4, which opens others. */
        if (r == 0)
                r = stray_fds_close(journal, recovery->own_fds, recovery->n_own_fds);
        store_undo_made(journal);

        /* 4.  Put the modules together over the records.  The channel reads the saved INIT: the
         * kernel sends it only once, and no request can be understood without it. */
        if (r == 0)
                r = recovery->build(recovery->userdata, &rooms);
        if (r < 0)
                return r;

        /* 5.  Send the last outcome again, because it may have been committed but not sent.  Before
         * the first commit with another outcome, which would replace it. */
        if (is_successor(root))
                replay_outcome(journal);

        /* 6.  Close backing ids: those that the dead worker was about to close, and those that it
         * opened but did not record.  Free the memory of regions that it had released.  Before 7,
         * which may close others and needs room in their list. */
        volume_close_backings(rooms.volume);
        if (is_successor(root))
                replay_backing(journal);
        reclaims_take_up(rooms.volume->reclaims);

        /* 7.  Finish a FORGET that was read, because the kernel does not resend it.  Before a
         * request is read, which would overwrite it. */
        if (is_successor(root))
                channel_finish_forget(rooms.channel);

        /* 8.  Drop regions that were being populated.  Before the requests that began them come
         * again, by 10 and 11, and begin anew. */
        r = volume_drop_pending(rooms.volume);

        /* 9.  Give the notifier the invalidations that were not sent, in order.  Before 11, where
         * replies wait for the invalidations in front of them. */
        if (r == 0)
                r = invalidations_take_up(rooms.volume->invalidations);

        /* 10.  Let the kernel resend the requests without a reply; none of them has changed
         * anything.  After 5, because otherwise the last request would be resent although it was
         * carried out. */
        if (r == 0 && is_successor(root))
                replay_requests(journal);

        /* 11.  Continue with the socket's connections, now that all that their lines may need
         * works. */
        if (r == 0)
                r = server_new(server, rooms.volume, rooms.listings);

        /* 12.  Everything is restored: from here on this worker serves. */
        if (r == 0)
                r = tell_restart(rooms.volume);
        if (r < 0)
                return r;
        root->serving = 1;

        /* 13.  Check for regions whose last user or owner has gone meanwhile, for orphans, and for
         * regions whose grace has ended: in small steps, beside the requests. */
        return rest_take_up(rooms.volume);
}
