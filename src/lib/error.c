/* SPDX-License-Identifier: MIT */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include "base/errno_text.h"
#include "iomem.h"

static __thread char text[512];

int error_set(int error, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        return error;
}

int error_about(int error, const char *what) {
        return error_set(error, "%s: %s", what, errno_text(error));
}

const char *iomem_error(void) {
        return text;
}

const char *iomem_version(void) {
        return IOMEM_VERSION;
}
