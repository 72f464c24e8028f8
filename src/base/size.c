/* SPDX-License-Identifier: MIT */
#include "base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGTPE";

/* The rest of the text. */
struct scan {
        const char *at, *end;
};

static int digit_of(const struct scan *scan, unsigned int base) {
        static const char digits[] = "0123456789abcdef";
        char c = scan->at < scan->end ? *scan->at : '\0';
        const char *found;

        if (c >= 'A' && c <= 'F')
                c = (char)(c | 0x20);
        found = c ? memchr(digits, c, base) : NULL;
        return found ? (int)(found - digits) : -1;
}

/* Takes the digits of a number, at least one; a number that is too large becomes UINT64_MAX. */
static bool take_number(struct scan *scan, unsigned int base, uint64_t *out) {
        int digit = digit_of(scan, base);
        bool fits = true;

        if (digit < 0)
                return false;
        for (*out = 0; digit >= 0; digit = digit_of(scan, base)) {
                fits = fits && !__builtin_mul_overflow(*out, (uint64_t)base, out) &&
                       !__builtin_add_overflow(*out, (uint64_t)digit, out);
                scan->at++;
        }
        if (!fits)
                *out = UINT64_MAX;
        return true;
}

/* Takes ".5": *out of *scale.  Digits beyond the 18th are less than a byte of any unit. */
static bool take_fraction(struct scan *scan, uint64_t *out, uint64_t *scale) {
        int digit;

        *out = 0;
        *scale = 1;
        if (scan->at == scan->end || *scan->at != '.')
                return true;
        scan->at++;
        if (digit_of(scan, 10) < 0)
                return false;
        for (; (digit = digit_of(scan, 10)) >= 0; scan->at++) {
                if (*scale == UINT64_C(1000000000000000000))
                        continue;
                *out = *out * 10 + (uint64_t)digit;
                *scale *= 10;
        }
        return true;
}

static uint64_t power(uint64_t base, unsigned int exponent) {
        uint64_t result = 1;

        while (exponent-- > 0)
                result *= base;
        return result;
}

static bool rest_is(const struct scan *scan, const char *what) {
        size_t length = (size_t)(scan->end - scan->at);

        return length == strlen(what) && memcmp(scan->at, what, length) == 0;
}

/* The unit that is the rest of the text; 1 for none or B, 0 if it is no unit. */
static uint64_t unit_of(struct scan *scan) {
        const char *found;
        unsigned int n;

        if (scan->at == scan->end || rest_is(scan, "B"))
                return 1;
        found = memchr(units, *scan->at & ~0x20, sizeof(units) - 1);
        if (!found)
                return 0;
        n = (unsigned int)(found - units + 1);
        scan->at++;
        if (rest_is(scan, "") || rest_is(scan, "iB"))
                return power(1024, n);
        return rest_is(scan, "B") ? power(1000, n) : 0;
}

int size_parse(const char *text, size_t length, uint64_t *out) {
        struct scan scan = {text, text + length};
        bool hex = length > 2 && text[0] == '0' && (text[1] | 0x20) == 'x';
        uint64_t whole, fraction = 0, scale = 1, unit;
        unsigned __int128 bytes;

        if (hex)
                scan.at += 2;
        if (!take_number(&scan, hex ? 16 : 10, &whole))
                return -EINVAL;
        if (!hex && !take_fraction(&scan, &fraction, &scale))
                return -EINVAL;
        unit = unit_of(&scan);
        if (unit == 0 || (scale > 1 && unit == 1))
                return -EINVAL;
        bytes = (unsigned __int128)whole * unit + (unsigned __int128)fraction * unit / scale;
        if (bytes > INT64_MAX)
                return -EFBIG;
        *out = (uint64_t)bytes;
        return 0;
}

int size_parse_count(const char *text, size_t length, uint64_t *out) {
        if (memchr(text, '.', length) || memchr(text, 'B', length))
                return -EINVAL;
        return size_parse(text, length, out);
}

int size_parse_whole(const char *text, size_t length, uint64_t *out) {
        struct scan scan = {text, text + length};
        uint64_t number;

        if (!take_number(&scan, 10, &number) || scan.at != scan.end)
                return -EINVAL;
        if (number > INT64_MAX)
                return -EFBIG;
        *out = number;
        return 0;
}

void size_format(char out[SIZE_TEXT_MAX], uint64_t bytes) {
        uint64_t whole = bytes, rest = 0, tenths;
        unsigned int unit = 0;

        while (whole >= 1024) {
                rest = whole % 1024;
                whole /= 1024;
                unit++;
        }
        tenths = (rest * 10 + 512) / 1024;
        whole += tenths / 10;
        tenths %= 10;
        if (whole == 1024 && unit < sizeof(units) - 1) {
                whole = 1;
                unit++;
        }
        if (unit == 0)
                snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 "B", bytes);
        else if (tenths == 0)
                snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 "%c", whole, units[unit - 1]);
        else
                snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 "%c", whole, tenths,
                         units[unit - 1]);
}
