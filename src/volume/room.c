/* SPDX-License-Identifier: MIT */
#include "volume/room.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

enum { TURNS_MAX = 64 }; /* turns of the loop, each of which reads many requests */

struct room {
        struct lifetimes *lifetimes;
        struct reclaims *memory;
        struct loop_source *turn;
        bool (*is_idle)(void *userdata);
        void *userdata;
        struct room_waiter *waiters;  /* for requests, and for regions to be looked at */
        struct room_waiter *reclaims; /* for memory that is being freed */
        struct room_waiter *later;    /* for memory whose job may have begun after that */
        bool awaits_memory;           /* room_on_memory() will be called, for `reclaims` */
};

static void room_await_memory(struct room *room);

static void room_on_memory(void *userdata, bool done) {
        struct room *room = userdata;
        struct room_waiter *waiter;

        (void)done;
        while ((waiter = room->reclaims)) {
                DL_DELETE(room->reclaims, waiter);
                waiter->fn(waiter->userdata);
        }
        room->awaits_memory = false;
        room_await_memory(room);
}

static void room_await_memory(struct room *room) {
        if (room->awaits_memory || !room->later)
                return;
        DL_CONCAT(room->reclaims, room->later);
        room->later = NULL;
        room->awaits_memory = true;
        if (reclaim_after(room->memory, room_on_memory, room) < 0)
                room_on_memory(room, false);
}

/* One more turn is over. */
static void room_on_turn(void *userdata, uint32_t events) {
        struct room *room = userdata;
        bool idle = (!room->is_idle || room->is_idle(room->userdata)) &&
                    !lifetimes_are_busy(room->lifetimes);
        struct room_waiter *waiter, *next;

        (void)events;
        DL_FOREACH_SAFE(room->waiters, waiter, next) {
                if (!idle && --waiter->turns > 0)
                        continue;
                DL_DELETE(room->waiters, waiter);
                DL_APPEND(room->later, waiter);
        }
        if (room->waiters)
                loop_arm_soon(room->turn);
        room_await_memory(room);
}

void room_await(struct room *room, struct room_waiter *waiter, void (*fn)(void *userdata),
                void *userdata) {
        *waiter = (struct room_waiter){.fn = fn, .userdata = userdata, .turns = TURNS_MAX};
        DL_APPEND(room->waiters, waiter);
        loop_arm_soon(room->turn);
}

static bool list_has(const struct room_waiter *list, const struct room_waiter *waiter) {
        while (list && list != waiter)
                list = list->next;
        return list != NULL;
}

void room_leave(struct room *room, struct room_waiter *waiter) {
        if (list_has(room->waiters, waiter))
                DL_DELETE(room->waiters, waiter);
        else if (list_has(room->later, waiter))
                DL_DELETE(room->later, waiter);
        else if (list_has(room->reclaims, waiter))
                DL_DELETE(room->reclaims, waiter);
}

void room_set_door(struct room *room, bool (*is_idle)(void *userdata), void *userdata) {
        room->is_idle = is_idle;
        room->userdata = userdata;
}

int room_new(struct room **out, struct loop *loop, struct lifetimes *lifetimes,
             struct reclaims *memory) {
        struct room *room = calloc(1, sizeof(*room));
        int r;

        if (!room)
                return -ENOMEM;
        room->lifetimes = lifetimes;
        room->memory = memory;
        r = loop_add_timer(loop, &room->turn, room_on_turn, room);
        if (r < 0) {
                free(room);
                return r;
        }
        *out = room;
        return 0;
}

struct room *room_free(struct room *room) {
        if (!room)
                return NULL;
        loop_remove(room->turn);
        free(room);
        return NULL;
}
