/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * api: Docker's volume plugin protocol, without HTTP: a path and a body go in, a status and a text
 * come out.
 *
 * Every request may come again, in any order, from a runtime that was killed or has forgotten what it
 * did.  Owns nothing.  Never: reads or writes a connection.
 */

#include <stddef.h>

enum { API_BODY_MAX = 64 * 1024 };

struct api_answer {
        unsigned int status; /* of HTTP */
        char *text;          /* to be freed; NULL: out of memory */
};

void api_answer(const char *path, const char *body, size_t length, struct api_answer *out);
/* Makes all volumes again; what cannot be made is logged. */
void api_start(void);
