/* SPDX-License-Identifier: MIT */
#include "rights.h"

#include <errno.h>
#include <string.h>

ssize_t rights_receive(int *fd, int socket, void *buffer, size_t size) {
        union rights_control control;
        struct iovec iov = {.iov_base = buffer, .iov_len = size};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 /* for one only, so that no further one is received */
                                 .msg_controllen = CMSG_LEN(sizeof(int))};
        struct cmsghdr *header;
        ssize_t n;

        *fd = -1;
        do
                n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        header = CMSG_FIRSTHDR(&message);
        if (n > 0 && header && header->cmsg_level == SOL_SOCKET &&
            header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(fd, CMSG_DATA(header), sizeof(int));
        return n;
}
