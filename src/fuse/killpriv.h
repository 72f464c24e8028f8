/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * killpriv: who takes the set-user-id and set-group-id bits from a file that is written to.
 *
 * As long as the kernel does, it asks for the attribute security.capability before every write(2)
 * if the file system has extended attributes at all.  It stops asking only for one that takes care
 * of the bits itself (FUSE_HANDLE_KILLPRIV_V2).  So extended attributes are answered if the kernel
 * offers that, and not otherwise.
 *
 * Writes through passthrough do not come to the daemon, but they are announced: as long as the
 * kernel's idea of a file's mode has the bits, it sends a SETATTR that sets nothing before each
 * write that takes them.
 *
 * Never: changes anything.
 */

#include "fuse/wire.h"
#include "records/layout.h"

/* What of the flags that INIT offers is taken, for the flags of its answer. */
uint32_t killpriv_take(const struct root *root, uint32_t offered);
/* Whether it was taken, by the INIT request that the root record has. */
bool killpriv_is_ours(const struct root *root);
/* Whether the request takes the bits from its file; if killpriv_is_ours(). */
bool killpriv_is_asked(const struct wire_request *request);
