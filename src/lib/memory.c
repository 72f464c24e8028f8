/* SPDX-License-Identifier: MIT */
#include "iomem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "error.h"
#include "rights.h"

/* Regions without a name, mappings, and sending of descriptors.  None of them needs a
 * connection. */

/* Touches every page, so that a lack of memory shows now and not later. */
static int populate(int fd, uint64_t size, unsigned int flags) {
        void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        int r = 0;

        if (address == MAP_FAILED)
                return -errno;
        if (flags & IOMEM_HUGE)
                madvise(address, size, MADV_HUGEPAGE); /* advice: small pages are no error */
        if ((flags & IOMEM_POPULATE) && fallocate(fd, 0, 0, (off_t)size) < 0)
                r = -errno;
#ifdef MADV_POPULATE_WRITE
        if (r == 0 && (flags & IOMEM_POPULATE) && madvise(address, size, MADV_POPULATE_WRITE) < 0 &&
            errno != EINVAL)
                r = -errno;
#endif
        munmap(address, size);
        return r;
}

int iomem_anonymous(uint64_t size, unsigned int flags) {
        int fd, r = 0;

        if (flags & ~(IOMEM_FIXED | IOMEM_POPULATE | IOMEM_HUGE))
                return error_set(-EINVAL,
                                 "a region without a name can be fixed, populate and huge");
        if (size > INT64_MAX)
                return error_set(-EINVAL, "a region cannot have that size");
        fd = memfd_create("iomem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return error_about(-errno, "a region without a name");
        if (ftruncate(fd, (off_t)size) < 0)
                r = -errno;
        if (r == 0 && size > 0 && (flags & (IOMEM_POPULATE | IOMEM_HUGE)))
                r = populate(fd, size, flags);
        if (r == 0 && (flags & IOMEM_FIXED) &&
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
                r = -errno;
        if (r < 0) {
                close(fd);
                return error_about(r, "a region without a name");
        }
        return fd;
}

int iomem_map(void **out, size_t *size, int fd, int access) {
        struct stat st;
        void *address = NULL;

        if (fstat(fd, &st) < 0)
                return error_about(-errno, "mapping a region");
        if (!S_ISREG(st.st_mode))
                return error_set(-EINVAL, "mapping a region: it is none");
        if (st.st_size > 0)
                address = mmap(NULL, (size_t)st.st_size,
                               access == IOMEM_WRITE ? PROT_READ | PROT_WRITE : PROT_READ,
                               MAP_SHARED, fd, 0);
        if (address == MAP_FAILED)
                return error_about(-errno, "mapping a region");
        *out = address;
        if (size)
                *size = (size_t)st.st_size;
        return 0;
}

int iomem_unmap(void *address, size_t size) {
        if (!address)
                return 0;
        return munmap(address, size) < 0 ? error_about(-errno, "unmapping a region") : 0;
}

int iomem_send_fd(int socket, int fd) {
        union rights_control control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                                   .cmsg_level = SOL_SOCKET,
                                                   .cmsg_type = SCM_RIGHTS}};
        struct iovec iov = {.iov_base = "", .iov_len = 1};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control.space)};
        ssize_t n;

        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        do
                n = sendmsg(socket, &message, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? error_about(-errno, "sending a descriptor") : 0;
}

int iomem_recv_fd(int socket) {
        char byte;
        int fd;
        ssize_t n = rights_receive(&fd, socket, &byte, 1);

        if (n < 0)
                return error_about((int)n, "receiving a descriptor");
        if (n == 0)
                return error_set(-EPIPE, "receiving a descriptor: the other end was closed");
        if (fd < 0)
                return error_set(-EBADMSG, "receiving a descriptor: a byte without one came");
        return fd;
}
