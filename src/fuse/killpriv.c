/* SPDX-License-Identifier: MIT */
#include "fuse/killpriv.h"

/* SETATTRs with any of these set something. */
static const uint32_t KILLPRIV_SETS =
        FATTR_MODE | FATTR_SIZE | FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW;

uint32_t killpriv_take(const struct root *root, const struct fuse_init_in *in) {
        return root->settings.xattr ? in->flags & FUSE_HANDLE_KILLPRIV_V2 : 0;
}

bool killpriv_is_ours(const struct root *root) {
        const struct fuse_init_in *in = (const void *)(root->init + sizeof(struct fuse_in_header));

        return root->init_length > 0 && killpriv_take(root, in);
}

static bool setattr_asks(const struct fuse_setattr_in *in) {
        /* By rights chown(2) takes the bits from everybody, without a flag. */
        return (in->valid & (FATTR_KILL_SUIDGID | FATTR_UID | FATTR_GID)) ||
               !(in->valid & KILLPRIV_SETS);
}

bool killpriv_is_asked(const struct fuse_in_header *request) {
        const void *in = request + 1;

        switch (request->opcode) {
        case FUSE_SETATTR:
                return setattr_asks(in);
        case FUSE_WRITE:
                return ((const struct fuse_write_in *)in)->write_flags & FUSE_WRITE_KILL_SUIDGID;
        default:
                return false;
        }
}
