/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * answer: carries out a request of the socket, and words the answer.
 *
 * A descriptor that is handed out is a fresh open of the region with just the access asked for,
 * and only for who could have opened the file.
 *
 * The descriptors of an answer are the transaction's, until they are written down with it.  Never:
 * commits, sends, knows of connections.
 */

#include "control/listing.h"
#include "socket/protocol.h"

struct answer {
        char text[LAYOUT_REPLY_MAX];
        uint64_t length;
        int fd;           /* to ride on the first byte, -1 for none */
        int text_fd;      /* the answer, if it is longer than text, or a listing; -1 */
        uint32_t listing; /* handle of a listing whose pieces follow, 0 for none */
        bool failed;
        bool waits;         /* what is waited for does not exist yet; there is no answer */
        uint32_t populates; /* node that has to be populated first, 0 for none; no answer yet */
        bool invalidations; /* to be given when the kernel has been told of the change */
};

/* Nothing but the changes that the request makes is in the transaction afterwards; none if it
 * failed. */
void answer_request(struct volume *volume, struct listings *listings, struct caller *caller,
                    const struct request *request, struct answer *out);
/* The second half of a request that waits for a population; node: the region without a name. */
void answer_populated(struct volume *volume, struct caller *caller, const struct request *request,
                      uint32_t node, int result, uint64_t huge, struct answer *out);
/* Makes an answer an error.  What it had is the transaction's to give back. */
void answer_fail(struct answer *answer, const char *tag, int error, const char *text);
/* The same, with the name that the request is about. */
void answer_fail_name(struct answer *answer, const struct request *request, int error,
                      const char *reason);
/* An answer without anything. */
void answer_clear(struct answer *answer);
