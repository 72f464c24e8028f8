/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * rights: receives a descriptor together with bytes, from a Unix socket (SCM_RIGHTS).
 *
 * Owns nothing.  Never: sets iomem_error(), because its callers have a better text.
 */

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

union rights_control {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
};

/*
 * recvmsg(2), repeated if a signal interrupts it, with room for just one descriptor.  Returns the
 * bytes, 0 at the end, or negative errno.  *fd: the descriptor, which is the caller's, or -1.
 */
ssize_t rights_receive(int *fd, int socket, void *buffer, size_t size);
