/* SPDX-License-Identifier: MIT */
#include "base/words.h"

#include <stdbool.h>

static bool must_escape(unsigned char c) {
        return c <= ' ' || c == '\\' || c == 0x7f;
}

size_t words_escape(char *buffer, const char *name, size_t length) {
        char *at = buffer;

        for (size_t i = 0; i < length; i++) {
                unsigned char c = (unsigned char)name[i];

                if (must_escape(c)) {
                        *at++ = '\\';
                        *at++ = (char)('0' + (c >> 6));
                        *at++ = (char)('0' + (c >> 3 & 7));
                        *at++ = (char)('0' + (c & 7));
                } else {
                        *at++ = (char)c;
                }
        }
        *at = '\0';
        return (size_t)(at - buffer);
}
