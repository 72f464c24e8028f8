/* SPDX-License-Identifier: MIT */
#include "fuse/backing_id.h"

#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* As in Linux 6.9. */
struct backing_map {
        int32_t fd;
        uint32_t flags;
        uint64_t pad;
};
#define BACKING_ID_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_ID_CLOSE _IOW(229, 2, uint32_t)

int backing_id_open(int fuse_fd, int fd) {
        struct backing_map map = {.fd = fd};
        int id = ioctl(fuse_fd, BACKING_ID_OPEN, &map);

        return id < 0 ? -errno : id;
}

void backing_id_close(int fuse_fd, int id) {
        ioctl(fuse_fd, BACKING_ID_CLOSE, &id);
}

bool backing_id_works(int fuse_fd) {
        int fd, id;

        fd = memfd_create("iomemfs-trial", MFD_CLOEXEC);
        if (fd < 0)
                return false;
        id = backing_id_open(fuse_fd, fd);
        close(fd);
        if (id < 0)
                return false;
        backing_id_close(fuse_fd, id);
        return true;
}
