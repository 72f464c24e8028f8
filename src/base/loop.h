/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * loop: the worker's event loop, a thin layer over epoll(7) and timerfd.
 *
 * Owns the epoll descriptor.  Callbacks run one at a time on the thread that calls loop_run(); they
 * may add and remove any source, including their own.  Not thread-safe: all functions are called on
 * that thread.
 *
 * Never: owns the descriptors that it watches, knows what they are.
 */

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_source;
/* events: EPOLLIN, EPOLLOUT, EPOLLHUP, … */
typedef void (*loop_fn)(void *userdata, uint32_t events);

/* 0 or negative errno.  Remove all sources before loop_free(); NULL is allowed, and returned. */
int loop_new(struct loop **out);
struct loop *loop_free(struct loop *loop);

/* fd stays the caller's, who removes the source before closing it.  0, -ENOMEM and the errors of
 * epoll_ctl(2). */
int loop_add(struct loop *loop, struct loop_source **out, int fd, uint32_t events, loop_fn fn,
             void *userdata);
int loop_modify(struct loop_source *source, uint32_t events);
/* NULL is allowed; returns NULL. */
struct loop_source *loop_remove(struct loop_source *source);

/* A one-shot timer on CLOCK_MONOTONIC; loop_arm() sets it to milliseconds from now, 0 disarms it.
 * The source owns its timerfd.  0 or negative errno. */
int loop_add_timer(struct loop *loop, struct loop_source **out, loop_fn fn, void *userdata);
int loop_arm(struct loop_source *timer, uint64_t milliseconds);
/* Lets the timer expire in the loop's next turn. */
int loop_arm_soon(struct loop_source *timer);

/*
 * idle is called before the loop sleeps.  It returns true if it may have done something: the loop
 * then polls again without sleeping (the channel spins here).
 */
void loop_set_idle(struct loop *loop, bool (*idle)(void *userdata), void *userdata);
/* Runs until loop_stop(); returns its code, or a negative errno of epoll_wait(2).  It can be called
 * again afterwards. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop, int code);
bool loop_is_stopped(const struct loop *loop);
