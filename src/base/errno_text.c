/* SPDX-License-Identifier: MIT */
#include "base/errno_text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *errno_text(int error) {
        static __thread char text[96];
        const char *meaning = strerrordesc_np(error < 0 ? -error : error);

        if (!meaning)
                snprintf(text, sizeof(text), "error %d", error < 0 ? -error : error);
        else
                snprintf(text, sizeof(text), "%s", meaning);
        /* The C library begins with a capital letter, but names such as RFS keep theirs. */
        if (islower((unsigned char)text[1]) || text[1] == ' ')
                text[0] = (char)tolower((unsigned char)text[0]);
        return text;
}
