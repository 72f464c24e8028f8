/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * negotiate: chooses the reply to INIT: which features are accepted, and how large requests may be.
 *
 * Never: sends the reply, stores it.
 */

#include "fuse/wire.h"
#include "records/layout.h"

enum { NEGOTIATE_MAX_WRITE = 1024 * 1024 };

/*
 * Fills in the reply to an INIT, according to the settings of the mount.  0; -EPROTO: the kernel's
 * protocol is too old; -EAGAIN: it is newer, and the kernel will send INIT again after this reply.
 */
int negotiate(struct wire_init_out *out, const struct wire_init_in *in, const struct root *root);

/* Whether access lists were accepted, by the INIT request in the root record. */
bool negotiate_has_acl(const struct root *root);

/* Whether the kernel can resend requests that a dead worker has read. */
bool negotiate_can_resend(const struct wire_init_in *in);
