/* SPDX-License-Identifier: MIT */
#include "fuse/reply.h"

#include <errno.h>
#include <string.h>

void reply_error(struct fuse_request *req, int error) {
        if (error == -ENOSPC && channel_retry(req))
                return;
        if (error != 0)
                txn_abort(channel_txn(req->channel));
        reply_error_kept(req, error);
}

void reply_error_kept(struct fuse_request *req, int error) {
        struct iovec iov[1];

        channel_reply(req, error, iov, 1);
}

void reply_bytes(struct fuse_request *req, const void *bytes, size_t size) {
        struct iovec iov[2] = {[1] = {(void *)bytes, size}};

        channel_reply(req, 0, iov, size > 0 ? 2 : 1);
}

void reply_text(struct fuse_request *req, const char *text) {
        reply_bytes(req, text, strlen(text));
}

void reply_entry(struct fuse_request *req, const struct wire_entry *entry) {
        struct wire_entry_out out;

        wire_put_entry(&out, entry);
        reply_bytes(req, &out, sizeof(out));
}

void reply_attributes(struct fuse_request *req, const struct wire_attributes *attributes) {
        struct wire_attr_out out;

        wire_put_attr(&out, attributes);
        reply_bytes(req, &out, sizeof(out));
}

void reply_statx(struct fuse_request *req, const struct wire_attributes *attributes) {
        struct wire_statx_out out;

        wire_put_statx(&out, attributes);
        reply_bytes(req, &out, sizeof(out));
}

static struct wire_open_out open_out(uint64_t handle, uint32_t flags, int backing) {
        return (struct wire_open_out){
                .fh = handle,
                /* The kernel accepts no other flag together with this one. */
                .open_flags = backing > 0 ? WIRE_OPEN_PASSTHROUGH : flags,
                .backing_id = backing,
        };
}

void reply_open(struct fuse_request *req, uint64_t handle, uint32_t flags, int backing) {
        struct wire_open_out out = open_out(handle, flags, backing);

        reply_bytes(req, &out, sizeof(out));
}

void reply_create(struct fuse_request *req, const struct wire_entry *entry, uint64_t handle,
                  uint32_t flags, int backing) {
        struct wire_create_out out;

        wire_put_entry(&out.entry, entry);
        out.open = open_out(handle, flags, backing);
        reply_bytes(req, &out, sizeof(out));
}

void reply_written(struct fuse_request *req, size_t size) {
        struct wire_write_out out = {.size = (uint32_t)size};

        reply_bytes(req, &out, sizeof(out));
}

void reply_statfs(struct fuse_request *req, const struct statvfs *st) {
        struct wire_statfs_out out;

        wire_put_statfs(&out, st);
        reply_bytes(req, &out, sizeof(out));
}

void reply_xattr_size(struct fuse_request *req, size_t size) {
        struct wire_xattr_out out = {.size = (uint32_t)size};

        reply_bytes(req, &out, sizeof(out));
}

void reply_offset(struct fuse_request *req, uint64_t offset) {
        struct wire_lseek_out out = {.offset = offset};

        reply_bytes(req, &out, sizeof(out));
}

void reply_poll(struct fuse_request *req, uint32_t events) {
        struct wire_poll_out out = {.revents = events};

        reply_bytes(req, &out, sizeof(out));
}
