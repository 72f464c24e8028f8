/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * rights: a descriptor that comes along with bytes on a Unix socket (SCM_RIGHTS).
 *
 * Owns nothing; never sets iomem_error(), as its callers know what they were waiting for.
 */

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

union rights_control {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
};

/*
 * recvmsg(2), which is not interrupted, with room for one descriptor and no more.
 * Bytes, 0 at the end, or negative errno.  *fd: the descriptor, the caller's from now on, or -1.
 */
ssize_t rights_receive(int *fd, int socket, void *buffer, size_t size);
