/* SPDX-License-Identifier: MIT */
#include "top_screen.h"

#include "cli.h"

/* top_screen where iomem was built without ncurses. */
int top_screen_run(struct top_model *model, struct top_view *view, uint64_t samples) {
        (void)model;
        (void)view;
        (void)samples;
        return cli_fail("top: built without ncurses; use top --batch");
}
