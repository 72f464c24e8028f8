/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mount_watch: notices that our mount is gone from our mount namespace although it still lives.
 *
 * Then another namespace (of a container) or open files of a lazy unmount still have it, and the
 * daemon serves them until they end.  The administrator, who sees no mount any more, finds the
 * reason for the processes in the log; and the path of the socket becomes free for the next mount.
 *
 * The kernel tells when the namespace has changed.  The table of mounts, which may be long, is read
 * on the queue's thread, at most once in a while.
 *
 * Owns a descriptor and a timer.  Never: touches a mount.
 */

#include "base/job_queue.h"
#include "base/loop.h"

struct mount_watch;

/* gone() is called once.  0 or negative errno. */
int mount_watch_new(struct mount_watch **out, struct loop *loop, struct job_queue *queue,
                    uint32_t device, void (*gone)(void *userdata), void *userdata);
