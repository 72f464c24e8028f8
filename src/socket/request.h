/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * request: carries out a request of the socket, and makes the reply (struct answer).
 *
 * A descriptor for a client is a fresh open of the region.  It has only the access that was asked
 * for, and only a caller who may open the file gets it.
 *
 * The descriptors of a reply belong to the transaction until they are recorded with it.  Never:
 * commits, sends, knows of connections.
 */

#include "control/listing.h"
#include "socket/protocol.h"

struct answer {
        char text[LAYOUT_REPLY_MAX];
        uint64_t length;
        int fd;           /* to be sent with the first byte, -1 for none */
        int text_fd;      /* a reply that is longer than text, or a listing; -1 for none */
        uint32_t listing; /* handle of the listing whose pieces follow, 0 for none */
        bool failed;
        bool waits;         /* waits for a name that does not exist yet; no reply so far */
        uint32_t populates; /* node that has to be populated first, 0 for none; no reply so far */
        bool invalidations; /* send the reply only when the kernel has been told of the change */
        bool no_space;      /* failed with ENOSPC: perhaps there is space later */
};

/* Carries out the request.  After success the transaction has only its changes; after failure it is
 * empty. */
void answer_request(struct volume *volume, struct listings *listings, struct caller *caller,
                    const struct request *request, struct answer *out);
/* The second half of a request that waited for a population.  node: the region, without a name. */
void answer_populated(struct volume *volume, struct caller *caller, const struct request *request,
                      uint32_t node, int result, uint64_t huge, struct answer *out);
/* Turns a reply into an error.  Its descriptors are closed by the abort of the transaction. */
void answer_fail(struct answer *answer, const char *tag, int error, const char *text);
/* The same, with the name from the request. */
void answer_fail_name(struct answer *answer, const struct request *request, int error,
                      const char *reason);
/* Initializes an empty reply. */
void answer_clear(struct answer *answer);
