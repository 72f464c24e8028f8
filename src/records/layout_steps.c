/* SPDX-License-Identifier: MIT */
#include "records/layout_steps.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include "records/journal_convert.h"
#include "records/layout.h"

/* 0.2.0 has the first layout that is taken over, so there is none before it. */
static const struct journal_step *const layout_steps[] = {
        NULL,
};

static const struct journal_step *step_from(int version) {
        for (size_t i = 0; i < sizeof(layout_steps) / sizeof(layout_steps[0]); i++)
                if (layout_steps[i] && (int)layout_steps[i]->from->version == version)
                        return layout_steps[i];
        return NULL;
}

bool layout_is_known(int version) {
        return version == LAYOUT_VERSION || step_from(version);
}

void layout_print(void) {
        printf("%d", LAYOUT_VERSION);
        for (size_t i = 0; i < sizeof(layout_steps) / sizeof(layout_steps[0]); i++)
                if (layout_steps[i])
                        printf(" %d", (int)layout_steps[i]->from->version);
        printf("\n");
}

int layout_take_over(int fd) {
        int version = journal_version(fd), r = 0;

        while (r == 0 && version >= 0 && version != LAYOUT_VERSION) {
                const struct journal_step *step = step_from(version);

                r = step ? journal_convert(fd, step) : -EPROTO;
                version = journal_version(fd);
        }
        return r < 0 ? r : version < 0 ? version : 0;
}
