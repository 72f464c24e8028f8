/* SPDX-License-Identifier: MIT */
#include "base/words.h"

size_t words_character(const char *text, size_t length, uint32_t *code) {
        const unsigned char *s = (const unsigned char *)text;
        size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

        if (n == 0 || s[0] > 0xf4 || n > length)
                return 0;
        *code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                *code = *code << 6 | (s[i] & 0x3f);
        }
        /* Overlong forms, surrogates, and codes beyond Unicode. */
        if ((n == 3 && *code < 0x800) || (n == 4 && *code < 0x10000) ||
            (*code >= 0xd800 && *code <= 0xdfff) || *code > 0x10ffff)
                return 0;
        return n;
}

bool words_is_control(uint32_t code) {
        return code < 0x20 || (code >= 0x7f && code <= 0x9f) || /* C0, DEL, C1 */
               code == 0x61c || code == 0x200e || code == 0x200f ||
               (code >= 0x2028 && code <= 0x202e) || /* line ends, embeddings, overrides */
               (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

bool words_is_utf8(const char *text, size_t length) {
        uint32_t code;
        size_t n;

        for (size_t i = 0; i < length; i += n) {
                n = words_character(text + i, length - i, &code);
                if (n == 0)
                        return false;
        }
        return true;
}

static char *escape_byte(char *at, unsigned char c) {
        *at++ = '\\';
        *at++ = (char)('0' + (c >> 6));
        *at++ = (char)('0' + (c >> 3 & 7));
        *at++ = (char)('0' + (c & 7));
        return at;
}

size_t words_escape(char *buffer, const char *name, size_t length) {
        char *at = buffer;
        uint32_t code;

        while (length > 0) {
                size_t n = words_character(name, length, &code);
                bool escape = n == 0 || code == ' ' || code == '\\' || words_is_control(code);

                if (n == 0)
                        n = 1;
                for (size_t i = 0; i < n; i++) {
                        if (escape)
                                at = escape_byte(at, (unsigned char)name[i]);
                        else
                                *at++ = name[i];
                }
                name += n;
                length -= n;
        }
        *at = '\0';
        return (size_t)(at - buffer);
}
