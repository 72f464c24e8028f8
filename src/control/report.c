/* SPDX-License-Identifier: MIT */
#include "control/report.h"

#include <fcntl.h>
#include <string.h>

static const struct bit {
        uint32_t value;
        const char *name;
} flag_bits[] =
        {
                {NODE_EPHEMERAL, "ephemeral"},
                {NODE_FIXED, "fixed"},
                {NODE_POPULATE, "populate"},
                {NODE_HUGE, "huge"},
                {NODE_SPARSE, "sparse"},
                {NODE_PENDING, "populating"},
                {NODE_OWNER_PROCESS, "owner=process"},
                {NODE_OWNER_SERVICE, "owner=service"},
                {NODE_OWNER_CONTAINER, "owner=container"},
                {NODE_OWNER_ENDED, "owner-ended"},
                {0, NULL},
},
  seal_bits[] = {
          {F_SEAL_SHRINK, "shrink"},
          {F_SEAL_GROW, "grow"},
          {F_SEAL_WRITE, "write"},
          {0, NULL},
};

static void bits_write(FILE *stream, const struct bit *bits, uint32_t value, bool quoted) {
        const char *quote = quoted ? "\"" : "", *separator = "";

        for (; bits->name; bits++) {
                if (!(value & bits->value))
                        continue;
                fprintf(stream, "%s%s%s%s", separator, quote, bits->name, quote);
                separator = quoted ? ", " : ",";
        }
}

void report_flags(FILE *stream, const struct node *node, bool quoted) {
        bits_write(stream, flag_bits, node->flags, quoted);
}

void report_seals(FILE *stream, const struct node *node, bool quoted) {
        bits_write(stream, seal_bits, node->seals, quoted);
}

size_t report_creator_length(const struct node *node) {
        return strnlen(node->creator_name, sizeof(node->creator_name));
}

struct tm report_birth(const struct node *node) {
        time_t seconds = (time_t)node->btime.sec;
        struct tm tm;

        gmtime_r(&seconds, &tm);
        return tm;
}
