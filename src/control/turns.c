/* SPDX-License-Identifier: MIT */
#include "control/turns.h"

#include <errno.h>
#include <stdlib.h>
#include "base/users.h"

/* A user with waiting jobs.  Users form a ring; the next user's job runs next. */
struct turns_user {
        struct turns_job *first, *last;
        struct turns_user *previous, *next;
};

struct turns {
        struct loop_source *timer;
        bool armed;
        int left;                /* negative: more than the turn's number was used */
        unsigned int most;       /* visited in one turn */
        uint64_t visited;        /* in past turns */
        struct users *users;     /* of struct turns_user */
        struct turns_user *ring; /* the user whose turn it is */
};

static void turns_arm(struct turns *turns) {
        if (!turns->armed)
                turns->armed = loop_arm_soon(turns->timer) == 0;
}

static void turns_begin(struct turns *turns) {
        unsigned int used = (unsigned int)(TURNS_RECORDS - turns->left);

        turns->visited += used;
        if (used > turns->most)
                turns->most = used;
        turns->left = TURNS_RECORDS;
}

int *turns_left(struct turns *turns) {
        return &turns->left;
}

void turns_used(struct turns *turns) {
        if (turns->left < TURNS_RECORDS)
                turns_arm(turns);
}

uint64_t turns_visited(const struct turns *turns) {
        return turns->visited + (uint64_t)(TURNS_RECORDS - turns->left);
}

unsigned int turns_most(const struct turns *turns) {
        return turns->most;
}

static void ring_add(struct turns *turns, struct turns_user *user) {
        if (!turns->ring) {
                turns->ring = user->previous = user->next = user;
                return;
        }
        /* In front of the user whose turn it is, which is the last place of the ring. */
        user->next = turns->ring;
        user->previous = turns->ring->previous;
        user->previous->next = user;
        user->next->previous = user;
}

static void ring_remove(struct turns *turns, struct turns_user *user) {
        if (turns->ring == user)
                turns->ring = user->next == user ? NULL : user->next;
        user->previous->next = user->next;
        user->next->previous = user->previous;
}

static struct turns_user *user_get(struct turns *turns, uid_t uid) {
        struct turns_user *user = users_get(turns->users, uid);

        if (user && !user->next)
                ring_add(turns, user);
        return user;
}

int turns_wait(struct turns *turns, struct turns_job *job) {
        struct turns_user *user;

        if (job->waits)
                return 0;
        user = user_get(turns, job->uid);
        if (!user)
                return -ENOMEM;
        job->user = user;
        job->waits = true;
        job->next = NULL;
        job->previous = user->last;
        if (user->last)
                user->last->next = job;
        else
                user->first = job;
        user->last = job;
        turns_arm(turns);
        return 0;
}

void turns_cancel(struct turns *turns, struct turns_job *job) {
        struct turns_user *user = job->user;

        if (!job->waits)
                return;
        job->waits = false;
        if (job->previous)
                job->previous->next = job->next;
        else
                user->first = job->next;
        if (job->next)
                job->next->previous = job->previous;
        else
                user->last = job->previous;
        if (user->first)
                return;
        ring_remove(turns, user);
        users_remove(turns->users, user);
}

static void turns_run_one(struct turns *turns) {
        struct turns_job *job = turns->ring->first;

        turns->ring = turns->ring->next;
        turns_cancel(turns, job);
        job->run(job);
}

void turns_next(struct turns *turns) {
        turns_begin(turns);
        while (turns->ring && turns->left > 0) {
                int left = turns->left;

                turns_run_one(turns);
                /* A job that visits nothing also costs something. */
                if (turns->left == left)
                        turns->left--;
        }
        if (turns->ring || turns->left < TURNS_RECORDS)
                turns_arm(turns);
}

static void turns_on_turn(void *userdata, uint32_t events) {
        struct turns *turns = userdata;

        (void)events;
        turns->armed = false;
        turns_next(turns);
}

int turns_new(struct turns **out, struct loop *loop) {
        struct turns *turns;
        int r;

        turns = calloc(1, sizeof(*turns));
        if (!turns)
                return -ENOMEM;
        turns->left = TURNS_RECORDS;
        r = users_new(&turns->users, sizeof(struct turns_user));
        if (r == 0)
                r = loop_add_timer(loop, &turns->timer, turns_on_turn, turns);
        if (r < 0) {
                turns_free(turns);
                return r;
        }
        *out = turns;
        return 0;
}

struct turns *turns_free(struct turns *turns) {
        if (!turns)
                return NULL;
        while (turns->ring)
                turns_cancel(turns, turns->ring->first);
        loop_remove(turns->timer);
        users_free(turns->users);
        free(turns);
        return NULL;
}
