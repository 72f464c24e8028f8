/* SPDX-License-Identifier: MIT */

/* What libiomem reads of a daemon: regions as JSON. */

#include <string.h>
#include "fuzz.h"
#include "json.h"

static int visit(void *userdata, const char *name, const struct iomem_stat *region) {
        unsigned int *n = userdata;

        FUZZ_CHECK(memchr(name, '\0', JSON_NAME_MAX));
        FUZZ_CHECK(memchr(region->creator_command, '\0', sizeof(region->creator_command)));
        return ++*n == 1000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct iomem_stat region;
        unsigned int n = 0;

        if (json_region((const char *)data, size, &region) == 0)
                visit(&n, (char[JSON_NAME_MAX]){""}, &region);
        n = 0;
        json_regions((const char *)data, size, false, visit, &n);
        json_regions((const char *)data, size, true, visit, &n);
        return 0;
}
