/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * room: takes in what waits before the daemon says that there is no space.
 *
 * Files that were closed or removed may still count: their RELEASE or FORGET has not been read yet,
 * nobody has looked whether their last user is gone, or their memory is being freed.  So whoever is
 * about to get ENOSPC for the first time waits here, and then tries once more.  The wait ends when
 * the kernel has no more requests for us, or after a bounded number of turns of the loop.
 *
 * Owns a timer.  Never: tries anything itself.
 */

#include "base/loop.h"
#include "volume/lifetime.h"
#include "volume/reclaim.h"

struct room;

/* Embedded in the caller's structure, which must live until fn was called or room_leave(). */
struct room_waiter {
        void (*fn)(void *userdata);
        void *userdata;
        unsigned int turns; /* that are left */
        struct room_waiter *prev, *next;
};

/* All arguments stay the caller's and must outlive it.  0 or negative errno. */
int room_new(struct room **out, struct loop *loop, struct lifetimes *lifetimes,
             struct reclaims *memory);
struct room *room_free(struct room *room);
/* is_idle: whether there is no request that could be read now. */
void room_set_door(struct room *room, bool (*is_idle)(void *userdata), void *userdata);

/* Calls fn on the loop, in a later turn. */
void room_await(struct room *room, struct room_waiter *waiter, void (*fn)(void *userdata),
                void *userdata);
void room_leave(struct room *room, struct room_waiter *waiter);
