/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * negotiate: what INIT offers, what of it is taken, and how large requests may be.
 *
 * Never: sends the answer, or remembers it.
 */

#include "fuse/wire.h"
#include "records/layout.h"

enum { NEGOTIATE_MAX_WRITE = 1024 * 1024 };

/*
 * The answer to an INIT, by the settings of the mount.  0; -EPROTO: the kernel speaks a protocol
 * that is too old; -EAGAIN: one that is newer, and will say INIT again when it has this answer.
 */
int negotiate(struct wire_init_out *out, const struct wire_init_in *in, const struct root *root);

/* Whether the kernel can send requests again that a dead worker has read. */
bool negotiate_can_resend(const struct wire_init_in *in);
