/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * killpriv: decides whether the kernel or the daemon clears set-user-id and set-group-id bits of a
 * file that is written to.
 *
 * If the kernel does, and the file system has extended attributes, the kernel asks for the
 * attribute security.capability before every write(2).  It stops asking only if the file system
 * clears the bits itself (FUSE_HANDLE_KILLPRIV_V2).  So the daemon has extended attributes only if
 * the kernel offers that.
 *
 * Writes through passthrough do not come to the daemon, but they are announced.  As long as the
 * mode that the kernel has cached has the bits, it sends a SETATTR that sets nothing before each
 * write that clears them.
 *
 * Never: changes anything.
 */

#include "fuse/wire.h"
#include "records/layout.h"

/* The flags that we accept, out of those that INIT offers, for the reply. */
uint32_t killpriv_take(const struct root *root, uint32_t offered);
/* Whether it was accepted, by the INIT request in the root record. */
bool killpriv_is_ours(const struct root *root);
/* Whether the request clears the bits of its file; valid if killpriv_is_ours(). */
bool killpriv_is_asked(const struct wire_request *request);
