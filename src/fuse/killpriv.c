/* SPDX-License-Identifier: MIT */
#include "fuse/killpriv.h"

/* SETATTRs with any of these set something. */
static const uint32_t KILLPRIV_SETS = WIRE_SET_MODE | WIRE_SET_SIZE | WIRE_SET_ATIME |
                                      WIRE_SET_MTIME | WIRE_SET_ATIME_NOW | WIRE_SET_MTIME_NOW;

uint32_t killpriv_take(const struct root *root, uint32_t offered) {
        return root->settings.xattr ? offered & WIRE_INIT_KILLPRIV_V2 : 0;
}

bool killpriv_is_ours(const struct root *root) {
        const struct wire_init_in *in = (const void *)(root->init + sizeof(struct wire_in_header));

        return root->init_length > 0 && killpriv_take(root, in->flags);
}

static bool setattr_asks(const struct wire_setattr_in *in) {
        /* chown(2) clears the bits for every caller, without a flag. */
        return (in->valid & (WIRE_SET_KILL_SUIDGID | WIRE_SET_UID | WIRE_SET_GID)) ||
               !(in->valid & KILLPRIV_SETS);
}

bool killpriv_is_asked(const struct wire_request *request) {
        switch (request->header->opcode) {
        case WIRE_SETATTR:
                return setattr_asks(request->args);
        case WIRE_WRITE:
                return ((const struct wire_write_in *)request->args)->write_flags &
                       WIRE_WRITE_KILL_SUIDGID;
        default:
                return false;
        }
}
