/* SPDX-License-Identifier: MIT */
#include "fuse/notify.h"

#include <errno.h>
#include <sys/uio.h>
#include "fuse/wire.h"

static int notify(int fuse_fd, enum wire_notification code, const void *body, size_t size,
                  const char *name, size_t length) {
        struct wire_out_header header = {.error = (int)code};
        struct iovec iov[] = {
                {&header, sizeof(header)},
                {(void *)body, size},
                {(void *)name, length},
                {"", 1},
        };

        header.len = (uint32_t)(sizeof(header) + size + (name ? length + 1 : 0));
        return writev(fuse_fd, iov, name ? 4 : size > 0 ? 2 : 1) < 0 ? -errno : 0;
}

int notify_entry(int fuse_fd, uint64_t dir, const char *name, size_t length) {
        struct wire_inval_entry body = {.dir = dir, .name_length = (uint32_t)length};

        return notify(fuse_fd, WIRE_NOTIFY_INVAL_ENTRY, &body, sizeof(body), name, length);
}

int notify_inode(int fuse_fd, uint64_t node, int64_t offset) {
        struct wire_inval_inode body = {.node = node, .offset = offset};

        return notify(fuse_fd, WIRE_NOTIFY_INVAL_INODE, &body, sizeof(body), NULL, 0);
}

int notify_poll(int fuse_fd, uint64_t kh) {
        struct wire_poll_wakeup body = {.kh = kh};

        return notify(fuse_fd, WIRE_NOTIFY_POLL, &body, sizeof(body), NULL, 0);
}

int notify_epoch(int fuse_fd) {
        return notify(fuse_fd, WIRE_NOTIFY_INC_EPOCH, NULL, 0, NULL, 0);
}

int notify_resend(int fuse_fd) {
        return notify(fuse_fd, WIRE_NOTIFY_RESEND, NULL, 0, NULL, 0);
}
