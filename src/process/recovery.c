/* SPDX-License-Identifier: MIT */
#include "process/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include "base/log.h"
#include "fuse/replay.h"
#include "process/stray_fds.h"
#include "socket/adopt.h"

enum {
        DEATHS_MAX = 2,     /* workers that may die in background work, one after the other */
        PUT_OFF_MS = 10000, /* by how long it is put off then, times their number */
        PUT_OFF_MOST = 360, /* times that */
};

/* For tests: a worker that comes after one that was struck may be struck as well. */
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

/* What can take long */

struct rest {
        struct volume *volume;
        struct loop_source *timer;
};

static void rest_begin(void *userdata, uint32_t events) {
        struct rest *rest = userdata;

        (void)events;
        lifetimes_take_up(rest->volume->lifetimes);
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
                 "%u workers died while they looked after regions that nobody uses any more; "
                 "that waits for %llu s now",
                 deaths, (unsigned long long)times * PUT_OFF_MS / 1000);
        return loop_arm(rest->timer, times * PUT_OFF_MS);
}

/* No background work may keep a worker from serving. */
static int rest_take_up(struct volume *volume) {
        struct root *root = volume->root;

        root->background_deaths = root->in_background ? root->background_deaths + 1 : 0;
        root->in_background = 0;
        if (root->background_deaths > DEATHS_MAX)
                return rest_put_off(volume, root->background_deaths);
        lifetimes_take_up(volume->lifetimes);
        return 0;
}

int recovery_run(const struct recovery *recovery, struct server **server) {
        struct journal *journal = recovery->journal;
        struct root *root = journal_root(journal);
        struct recovered rooms = {0};
        int r;

        /* 1. The transaction that was under way has not happened.  Nobody may look at a record
         * before that. */
        journal_rollback(journal);
        arm_crash(journal);

        /* 2. Connections that were taken and not written down get their records.  Before 3, which
         * closes what no record names. */
        r = adopt(journal);

        /* 3. Descriptors that the dead worker had open for itself.  Before 4, which opens others. */
        if (r == 0)
                r = stray_fds_close(journal, recovery->own_fds, recovery->n_own_fds);

        /* 4. The rooms are put together over the records.  The channel takes up what INIT said: the
         * kernel sends that once, and no request means anything without it. */
        if (r == 0)
                r = recovery->build(recovery->userdata, &rooms);
        if (r < 0)
                return r;

        /* 5. The last outcome is told again: it may have been committed and not sent.  Before the
         * first commit of another one, which would take its place. */
        if (is_successor(root))
                replay_outcome(journal);

        /* 6. Backing ids: those that there was no time to close, and those that were opened and got
         * into no record.  Before 7, which may close others and has to find room in the list. */
        volume_close_backings(rooms.volume);
        if (is_successor(root))
                replay_backing(journal);

        /* 7. The rest of a FORGET that was read: nobody sends that again.  Before any request is
         * read, which would be put where it lies. */
        if (is_successor(root))
                channel_finish_forget(rooms.channel);

        /* 8. Regions that were being populated are given up.  Before the requests that began them,
         * which 10 and 11 bring again, and which begin anew. */
        r = volume_drop_pending(rooms.volume);

        /* 9. Invalidations that were not told are handed to the notifier, in order.  Before 11,
         * where answers wait until those in front of them have been told. */
        if (r == 0)
                r = invalidations_take_up(rooms.volume->invalidations);

        /* 10. The kernel resends what it has no answer to: of that nothing has happened.  After 5,
         * or the last request would come again although it has happened. */
        if (r == 0 && is_successor(root))
                replay_requests(journal);

        /* 11. The socket's connections go on.  When everything that their lines want can be done. */
        if (r == 0)
                r = server_new(server, rooms.volume, rooms.listings);

        /* 12. All is as it was: from here on this worker serves. */
        if (r == 0)
                r = tell_restart(rooms.volume);
        if (r < 0)
                return r;
        root->serving = 1;

        /* 13. Regions whose last user has gone meanwhile, orphans, and those whose grace has ended:
         * looked for in pieces, beside the requests. */
        return rest_take_up(rooms.volume);
}
