/* SPDX-License-Identifier: MIT */
#include "records/blame.h"

#include <stdlib.h>
#include "base/log.h"

enum { DEATHS_MAX = 2 };

void blame_enter(struct root *root, uint64_t key, uint32_t opcode) {
        root->current_opcode = opcode;
        __atomic_store_n(&root->current, key, __ATOMIC_RELEASE);
        if (root->crash_opcode != 0 && root->crash_opcode == opcode)
                abort();
}

void blame_leave(struct root *root) {
        __atomic_store_n(&root->current, 0, __ATOMIC_RELEASE);
}

static struct suspect *blame_find(struct root *root, uint64_t key) {
        for (int i = 0; i < LAYOUT_SUSPECTS; i++)
                if (root->suspects[i].key == key)
                        return &root->suspects[i];
        return NULL;
}

/* The place of the one that was blamed longest ago. */
static struct suspect *blame_new(struct root *root, uint64_t key) {
        struct suspect *suspect = &root->suspects[root->next_suspect++ % LAYOUT_SUSPECTS];

        *suspect = (struct suspect){.key = key};
        return suspect;
}

bool blame_assign(struct root *root) {
        struct suspect *suspect;

        if (root->current == 0)
                return false;
        suspect = blame_find(root, root->current);
        if (!suspect)
                suspect = blame_new(root, root->current);
        suspect->opcode = root->current_opcode;
        suspect->deaths++;
        root->current = 0;
        return true;
}

bool blame_is_poison(struct root *root, uint64_t key, uint32_t opcode) {
        const struct suspect *suspect = blame_find(root, key);

        if (!suspect || suspect->deaths < DEATHS_MAX)
                return false;
        root->counters.poisoned++;
        log_line(LOG_ERR, "a request of type %u has cost %u workers: given up", opcode,
                 suspect->deaths);
        return true;
}

void blame_absolve(struct root *root, uint64_t key) {
        struct suspect *suspect = blame_find(root, key);

        if (suspect)
                *suspect = (struct suspect){0};
}
