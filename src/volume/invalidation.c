/* SPDX-License-Identifier: MIT */
#include "volume/invalidation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->failed = true)
#include <uthash.h>
#include <utlist.h>
#include "base/fault.h"

/* The chain of requests whose worker died before the kernel was told; no order gets this high. */
#define CHAIN_TAKEN_UP UINT64_MAX

enum state {
        STATE_WAITS, /* for another one of the same chain */
        STATE_TELLS,
        STATE_TOLD, /* its end is handled in the loop's next turn */
};

struct chain;

/* A notification to be sent.  It is made together with the record, and sent after the commit. */
struct notification {
        struct invalidations *invalidations;
        struct chain *chain;
        uint32_t id; /* of the record */
        enum invalidation_kind kind;
        enum state state;
        uint64_t node;
        uint64_t order;
        struct notification *prev, *next; /* in this transaction's list, or the chain's */
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1];
};

/* The notifications of one request, which are sent one after the other. */
struct chain {
        uint64_t id;              /* see struct invalidation_mark */
        unsigned int n;           /* notifications, including those of the current transaction */
        struct notification *due; /* committed ones */
        struct invalidations_waiter *waiters;
        struct chain *prev, *next; /* in the list of chains handled in the next turn */
        bool is_told;              /* it is in that list */
        bool failed;               /* there was no memory to put it into the hash */
        UT_hash_handle hh;
};

struct invalidations {
        struct txn *txn;
        struct journal *journal;
        struct root *root;
        struct loop_source *turn;
        struct invalidation_teller teller;
        invalidations_reply_fn reply;
        void *userdata;
        int (*after_memory)(void *userdata, invalidation_told_fn fn, void *fn_userdata);
        void *memory_userdata;
        struct invalidation_mark last;        /* of the current request */
        struct notification *fresh;           /* of the current transaction */
        struct notification *due;             /* committed, but in no chain's queue yet */
        struct chain *chains;                 /* uthash */
        struct chain *told;                   /* utlist */
        struct invalidations_waiter *waiters; /* called in the next turn */
};

/* Chains */

static struct chain *chain_find(const struct invalidations *invalidations, uint64_t id) {
        struct chain *chain;

        HASH_FIND(hh, invalidations->chains, &id, sizeof(id), chain);
        return chain;
}

/* The chain, made if there is none; NULL without memory. */
static struct chain *chain_get(struct invalidations *invalidations, uint64_t id) {
        struct chain *chain = chain_find(invalidations, id);

        if (chain)
                return chain;
        chain = fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*chain));
        if (!chain)
                return NULL;
        chain->id = id;
        HASH_ADD(hh, invalidations->chains, id, sizeof(chain->id), chain);
        if (!chain->failed)
                return chain;
        free(chain);
        return NULL;
}

static void waiters_call(struct invalidations_waiter **list) {
        struct invalidations_waiter *waiter;

        while ((waiter = *list)) {
                DL_DELETE(*list, waiter);
                waiter->fn(waiter->userdata);
        }
}

/* Frees the chain if it has no notification left; then calls the waiters. */
static void chain_put(struct invalidations *invalidations, struct chain *chain) {
        struct invalidations_waiter *waiters = chain->waiters;

        if (chain->n > 0)
                return;
        if (chain->is_told)
                DL_DELETE(invalidations->told, chain);
        HASH_DEL(invalidations->chains, chain);
        free(chain);
        waiters_call(&waiters);
}

static struct invalidation *invalidation_get(const struct invalidations *invalidations,
                                             uint32_t id) {
        struct invalidation *invalidation =
                journal_get(invalidations->journal, TABLE_INVALIDATION, id);

        return invalidation && invalidation->id == id ? invalidation : NULL;
}

/* Sending */

/* Deletes the record, in the transaction of the reply that waited for it or in one of its own. */
static void invalidation_told(struct invalidations *invalidations, uint32_t id) {
        struct invalidation *invalidation = invalidation_get(invalidations, id);
        uint64_t unique = invalidation->unique;
        int result = invalidation->result;

        journal_delete(invalidations->journal, TABLE_INVALIDATION, id);
        txn_insist(invalidations->txn);
        if (unique == 0) {
                (void)txn_commit(invalidations->txn);
                return;
        }
        if (invalidations->reply && invalidations->reply(invalidations->userdata, unique, result))
                return;
        txn_abort(invalidations->txn);
        JOURNAL_SET(invalidations->journal, invalidation->kind, INVALIDATION_TOLD);
        txn_commit_anyway(invalidations->txn);
}

static void notification_told(void *userdata, bool told);

/* If it cannot be sent, go on as if it had been: there is no kernel, or it has no memory. */
static void notification_tell(struct notification *notification) {
        struct invalidations *invalidations = notification->invalidations;
        const struct invalidation_teller *teller = &invalidations->teller;
        int r = -ENOENT;

        notification->state = STATE_TELLS;
        if (notification->kind == INVALIDATION_ENTRY && teller->entry)
                r = teller->entry(teller->userdata, notification->node, notification->name,
                                  notification->length, notification_told, notification);
        else if (notification->kind == INVALIDATION_INODE && teller->inode)
                r = teller->inode(teller->userdata, notification->node, notification_told,
                                  notification);
        else if (notification->kind == INVALIDATION_MEMORY && invalidations->after_memory)
                r = invalidations->after_memory(invalidations->memory_userdata, notification_told,
                                                notification);
        if (r == 0 || notification->chain->is_told)
                return;
        notification->state = STATE_TOLD;
        notification->chain->is_told = true;
        DL_APPEND(invalidations->told, notification->chain);
        loop_arm_soon(invalidations->turn);
}

static void notification_end(struct notification *notification) {
        struct invalidations *invalidations = notification->invalidations;
        struct chain *chain = notification->chain;
        uint32_t id = notification->id;

        DL_DELETE(chain->due, notification);
        free(notification);
        /* The chain must stay during the reply, which may add to it. */
        invalidation_told(invalidations, id);
        chain->n--;
        if (chain->due && chain->due->state == STATE_WAITS)
                notification_tell(chain->due);
        chain_put(invalidations, chain);
}

static void notification_told(void *userdata, bool told) {
        struct notification *notification = userdata;

        if (!told)
                notification->invalidations->root->counters.given_up++;
        notification_end(notification);
}

static void invalidations_on_turn(void *userdata, uint32_t events) {
        struct invalidations *invalidations = userdata;
        struct invalidations_waiter *waiters = invalidations->waiters;
        struct chain *chain;

        (void)events;
        invalidations->waiters = NULL;
        waiters_call(&waiters);
        while ((chain = invalidations->told)) {
                DL_DELETE(invalidations->told, chain);
                chain->is_told = false;
                notification_end(chain->due);
        }
}

/* Makes a notification for the chain with this number. */
static struct notification *notification_new(struct invalidations *invalidations,
                                             const struct invalidation *invalidation,
                                             uint64_t chain_id) {
        struct chain *chain = chain_get(invalidations, chain_id);
        struct notification *notification;

        if (!chain)
                return NULL;
        notification = fault_strikes(FAULT_MEMORY) ? NULL : calloc(1, sizeof(*notification));
        if (!notification) {
                chain_put(invalidations, chain);
                return NULL;
        }
        notification->invalidations = invalidations;
        notification->chain = chain;
        notification->id = invalidation->id;
        notification->kind = invalidation->kind;
        notification->node = invalidation->node;
        notification->order = invalidation->order;
        notification->length = invalidation->length;
        memcpy(notification->name, invalidation->name, invalidation->length);
        chain->n++;
        return notification;
}

/* It is committed.  Sends it at once if it is the first of its chain. */
static void notification_queue(struct notification *notification) {
        struct chain *chain = notification->chain;

        DL_APPEND(chain->due, notification);
        if (chain->due == notification)
                notification_tell(notification);
}

static void notification_drop(struct notification *notification) {
        struct invalidations *invalidations = notification->invalidations;
        struct chain *chain = notification->chain;

        free(notification);
        chain->n--;
        chain_put(invalidations, chain);
}

static void notifications_drop(struct notification **list) {
        struct notification *notification;

        while ((notification = *list)) {
                DL_DELETE(*list, notification);
                notification_drop(notification);
        }
}

/* Recording */

static int invalidation_new(struct invalidations *invalidations, enum invalidation_kind kind,
                            uint64_t node, const char *name, size_t length) {
        uint32_t id = journal_new(invalidations->journal, TABLE_INVALIDATION);
        struct invalidation *invalidation =
                journal_get(invalidations->journal, TABLE_INVALIDATION, id);
        struct notification *notification;
        uint64_t chain;

        if (!invalidation)
                return -ENOMEM;
        invalidation->id = id;
        invalidation->kind = kind;
        invalidation->node = node;
        invalidation->order = invalidations->root->next_invalidation;
        invalidation->length = (uint32_t)length;
        memcpy(invalidation->name, name, length);
        JOURNAL_SET(invalidations->journal, invalidations->root->next_invalidation,
                    invalidation->order + 1);
        chain = invalidations->last.chain ? invalidations->last.chain : invalidation->order + 1;
        notification = notification_new(invalidations, invalidation, chain);
        if (!notification)
                return -ENOMEM;
        DL_APPEND(invalidations->fresh, notification);
        txn_after_commit(invalidations->txn, TXN_AFTER_INVALIDATIONS);
        invalidations->last = (struct invalidation_mark){id, invalidation->order, chain};
        return 0;
}

int invalidation_entry(struct invalidations *invalidations, uint32_t dir, const char *name,
                       size_t length) {
        return invalidation_new(invalidations, INVALIDATION_ENTRY, dir, name, length);
}

int invalidation_inode(struct invalidations *invalidations, uint32_t node) {
        return invalidation_new(invalidations, INVALIDATION_INODE, node, "", 0);
}

int invalidation_memory(struct invalidations *invalidations) {
        return invalidation_new(invalidations, INVALIDATION_MEMORY, 0, "", 0);
}

/* Replies that wait */

void invalidations_begin(struct invalidations *invalidations, struct invalidation_mark mark) {
        invalidations->last = mark;
}

struct invalidation_mark invalidations_mark(const struct invalidations *invalidations) {
        return invalidations->last;
}

bool invalidations_reply_later(struct invalidations *invalidations, uint64_t unique, int result) {
        struct invalidation *invalidation = invalidation_get(invalidations, invalidations->last.id);

        /* Meanwhile the record may have been sent, or rolled back and its id reused. */
        if (!invalidation || invalidation->order != invalidations->last.order ||
            invalidation->kind == INVALIDATION_TOLD)
                return false;
        JOURNAL_SET(invalidations->journal, invalidation->unique, unique);
        JOURNAL_SET(invalidations->journal, invalidation->result, result);
        return true;
}

static struct invalidation *invalidations_find(const struct invalidations *invalidations,
                                               uint64_t unique) {
        uint32_t high = journal_high(invalidations->journal, TABLE_INVALIDATION);

        if (journal_used(invalidations->journal, TABLE_INVALIDATION) == 0)
                return NULL;
        for (uint32_t id = 1; id <= high; id++) {
                struct invalidation *invalidation = invalidation_get(invalidations, id);

                if (invalidation && invalidation->unique == unique)
                        return invalidation;
        }
        return NULL;
}

enum invalidations_state invalidations_resume(struct invalidations *invalidations, uint64_t unique,
                                              int *result) {
        struct invalidation *invalidation = invalidations_find(invalidations, unique);

        if (!invalidation)
                return INVALIDATIONS_NONE;
        if (invalidation->kind != INVALIDATION_TOLD)
                return INVALIDATIONS_WAITING;
        *result = invalidation->result;
        journal_delete(invalidations->journal, TABLE_INVALIDATION, invalidation->id);
        return INVALIDATIONS_DONE;
}

void invalidations_after(struct invalidations *invalidations, struct invalidations_waiter *waiter,
                         void (*fn)(void *userdata), void *userdata) {
        struct chain *chain = chain_find(invalidations, invalidations->last.chain);

        *waiter = (struct invalidations_waiter){.fn = fn, .userdata = userdata};
        if (chain) {
                DL_APPEND(chain->waiters, waiter);
        } else {
                DL_APPEND(invalidations->waiters, waiter);
                loop_arm_soon(invalidations->turn);
        }
}

/* The whole */

static int notification_compare(const void *a, const void *b) {
        const struct notification *x = *(struct notification *const *)a;
        const struct notification *y = *(struct notification *const *)b;

        return (x->order > y->order) - (x->order < y->order);
}

int invalidations_take_up(struct invalidations *invalidations) {
        uint32_t high = journal_high(invalidations->journal, TABLE_INVALIDATION);
        struct notification **untold;
        size_t n = 0;
        int r = 0;

        if (journal_used(invalidations->journal, TABLE_INVALIDATION) == 0)
                return 0;
        untold = calloc(high, sizeof(struct notification *));
        if (!untold)
                return -ENOMEM;
        /* It is not known which of them belonged to one request, so all become one chain. */
        for (uint32_t id = 1; id <= high && r == 0; id++) {
                const struct invalidation *invalidation = invalidation_get(invalidations, id);

                if (!invalidation || invalidation->kind == INVALIDATION_TOLD)
                        continue;
                untold[n] = notification_new(invalidations, invalidation, CHAIN_TAKEN_UP);
                r = untold[n] ? 0 : -ENOMEM;
                n += r == 0;
        }
        qsort(untold, n, sizeof(struct notification *), notification_compare);
        for (size_t i = 0; i < n; i++)
                notification_queue(untold[i]);
        free(untold);
        invalidations->last = (struct invalidation_mark){.chain = CHAIN_TAKEN_UP};
        return r;
}

/* Runs after the commit; may begin other transactions. */
static void invalidations_send(void *userdata) {
        struct invalidations *invalidations = userdata;
        struct notification *notification;

        while ((notification = invalidations->due)) {
                DL_DELETE(invalidations->due, notification);
                notification_queue(notification);
        }
}

static void invalidations_commit(void *userdata) {
        struct invalidations *invalidations = userdata;

        DL_CONCAT(invalidations->due, invalidations->fresh);
        invalidations->fresh = NULL;
}

static void invalidations_abort(void *userdata) {
        struct invalidations *invalidations = userdata;

        notifications_drop(&invalidations->fresh);
}

int invalidations_new(struct invalidations **out, struct txn *txn, struct loop *loop) {
        struct invalidations *invalidations;
        int r;

        invalidations = calloc(1, sizeof(*invalidations));
        if (!invalidations)
                return -ENOMEM;
        invalidations->txn = txn;
        invalidations->journal = txn_journal(txn);
        invalidations->root = journal_root(invalidations->journal);
        r = loop_add_timer(loop, &invalidations->turn, invalidations_on_turn, invalidations);
        if (r < 0) {
                free(invalidations);
                return r;
        }
        txn_set_after(txn, TXN_AFTER_INVALIDATIONS, invalidations_send, invalidations);
        txn_add_member(txn, invalidations_commit, invalidations_abort, invalidations);
        *out = invalidations;
        return 0;
}

static void chain_free(struct invalidations *invalidations, struct chain *chain) {
        struct notification *notification;

        HASH_DEL(invalidations->chains, chain);
        while ((notification = chain->due)) {
                DL_DELETE(chain->due, notification);
                free(notification);
        }
        free(chain);
}

struct invalidations *invalidations_free(struct invalidations *invalidations) {
        if (!invalidations)
                return NULL;
        loop_remove(invalidations->turn);
        notifications_drop(&invalidations->fresh);
        notifications_drop(&invalidations->due);
        while (invalidations->chains)
                chain_free(invalidations, invalidations->chains);
        free(invalidations);
        return NULL;
}

void invalidations_set_teller(struct invalidations *invalidations,
                              const struct invalidation_teller *teller) {
        invalidations->teller = *teller;
}

void invalidations_set_memory(struct invalidations *invalidations,
                              int (*after)(void *userdata, invalidation_told_fn fn,
                                           void *fn_userdata),
                              void *userdata) {
        invalidations->after_memory = after;
        invalidations->memory_userdata = userdata;
}

void invalidations_set_reply(struct invalidations *invalidations, invalidations_reply_fn reply,
                             void *userdata) {
        invalidations->reply = reply;
        invalidations->userdata = userdata;
}
