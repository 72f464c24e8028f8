/* SPDX-License-Identifier: MIT */
#include "fuse/negotiate.h"

#include <errno.h>
#include <unistd.h>
#include "fuse/killpriv.h"

/*
 * Features to be accepted if offered.  Not the writeback cache, because write(2) must return ENOSPC
 * itself; nor O_TRUNC in OPEN, because a failing OPEN would have to undo it.
 */
static const uint32_t NEGOTIATE_WANTED =
        WIRE_INIT_ASYNC_READ | WIRE_INIT_EXPORT_SUPPORT | WIRE_INIT_AUTO_INVAL_DATA |
        WIRE_INIT_READDIRPLUS | WIRE_INIT_READDIRPLUS_AUTO | WIRE_INIT_ASYNC_DIO |
        WIRE_INIT_PARALLEL_DIROPS | WIRE_INIT_MAX_PAGES | WIRE_INIT_CACHE_SYMLINKS | WIRE_INIT_EXT;

/* Access lists are extended attributes.  Where they are, default ones may take the umask's place. */
static uint32_t acl_flags(const struct wire_init_in *in, const struct root *root) {
        const uint32_t flags = WIRE_INIT_POSIX_ACL | WIRE_INIT_DONT_MASK;
        bool possible = killpriv_take(root, in->flags) && (in->flags & flags) == flags;

        return possible && root->settings.acl ? flags : 0;
}

static bool wants_passthrough(const struct wire_init_in *in, const struct root *root) {
        return (in->flags2 & WIRE_INIT2_PASSTHROUGH) &&
               root->settings.want_passthrough != PASSTHROUGH_OFF;
}

int negotiate(struct wire_init_out *out, const struct wire_init_in *in, const struct root *root) {
        *out = (struct wire_init_out){.major = WIRE_MAJOR, .minor = WIRE_MINOR};
        if (in->major > WIRE_MAJOR)
                return -EAGAIN;
        if (in->major < WIRE_MAJOR || in->minor < WIRE_MINOR_MIN)
                return -EPROTO;
        out->flags = (in->flags & NEGOTIATE_WANTED) | WIRE_INIT_BIG_WRITES |
                     killpriv_take(root, in->flags) | acl_flags(in, root);
        out->max_readahead = in->max_readahead;
        out->max_write = NEGOTIATE_MAX_WRITE;
        out->time_gran = 1;
        if (in->flags & WIRE_INIT_MAX_PAGES)
                out->max_pages = (uint16_t)(NEGOTIATE_MAX_WRITE / sysconf(_SC_PAGESIZE));
        if (wants_passthrough(in, root)) {
                out->flags2 = WIRE_INIT2_PASSTHROUGH;
                out->max_stack_depth = 1;
        }
        return 0;
}

bool negotiate_has_acl(const struct root *root) {
        const struct wire_init_in *in = (const void *)(root->init + sizeof(struct wire_in_header));

        return root->init_length > 0 && acl_flags(in, root);
}

bool negotiate_can_resend(const struct wire_init_in *in) {
        return in->flags2 & WIRE_INIT2_RESEND;
}
