/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mount_namespace: lets a mount in a private mount namespace end with that namespace.
 *
 * A namespace lives as long as a process lives in it.  A daemon that lived in the namespace of its
 * own mount would keep both for ever.  So, unless the namespace is that of the first process, which
 * lives as long as any other, the daemon moves to a copy, and detaches there whatever it does not
 * need: its own mount, and the file systems of others, which it would keep as well.
 *
 * Owns nothing.  Never: unmounts anything in the namespace that it has left, except through
 * mount_namespace_run().
 */

#include <stdint.h>

/*
 * Call it in a process with a single thread, after the mount was made.  device: of our own mount.
 * socket: a path whose directory stays, or "".  Returns the namespace that was left; 0 if the
 * process has stayed where it was.
 */
uint64_t mount_namespace_leave(uint32_t device, const char *socket);

/*
 * Calls fn in a child process that joins the namespace, and returns what fn returned: 0 or negative
 * errno.  -ESRCH: no process lives in it, so there is no way to join it.
 */
int mount_namespace_run(uint64_t home, int (*fn)(void *userdata), void *userdata);
