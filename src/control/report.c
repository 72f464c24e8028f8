/* SPDX-License-Identifier: MIT */
#include "control/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/words.h"
#include "control/command.h"
#include "tree/pending.h"

enum {
        LOOK_BATCH = 512,
        UNBORN_DEPTH_MAX = PATH_MAX / 2, /* deeper than any path leads */
};

/* Walking */

/* A directory that is being read. */
struct level {
        const struct node *dir;
        uint64_t after;     /* cookie of the last entry read */
        size_t path_length; /* of the directory's own name, with its slash */
};

/* A walk over the regions below a directory; on the heap, because trees may be deep. */
struct walk {
        struct volume *volume;
        struct caller *caller;
        struct level *levels;
        size_t depth;
        size_t max_depth;
        char *path;
        size_t path_size;
        unsigned int looked;
};

typedef int (*region_fn)(void *userdata, const char *name, size_t length, const struct node *node);

static int walk_enter(struct walk *walk, const struct node *dir, size_t path_length) {
        if (!access_allows(walk->caller, dir, ACCESS_READ | ACCESS_SEARCH))
                return 0;
        if (walk->depth == walk->max_depth) {
                size_t depth = walk->max_depth ? 2 * walk->max_depth : 16;
                struct level *levels = realloc(walk->levels, depth * sizeof(*levels));

                if (!levels)
                        return -ENOMEM;
                walk->levels = levels;
                walk->max_depth = depth;
        }
        walk->levels[walk->depth++] = (struct level){.dir = dir, .path_length = path_length};
        return 0;
}

static int walk_need(struct walk *walk, size_t need) {
        char *path;

        if (need <= walk->path_size)
                return 0;
        path = realloc(walk->path, 2 * need);
        if (!path)
                return -ENOMEM;
        walk->path = path;
        walk->path_size = 2 * need;
        return 0;
}

/* Puts an entry's name behind its directory's, with room for a slash. */
static int walk_name(struct walk *walk, size_t at, const struct dentry *dentry) {
        if (walk_need(walk, at + dentry->length + 2) < 0)
                return -ENOMEM;
        memcpy(walk->path + at, dentry->name, dentry->length);
        walk->path[at + dentry->length] = '\0';
        return 0;
}

static int walk_region(struct walk *walk, size_t length, struct node *node, region_fn fn,
                       void *userdata) {
        struct stat st;

        /* What the look finds goes to the records; a listing of any length must not fill the log. */
        if (++walk->looked % LOOK_BATCH == 0)
                (void)txn_commit(walk->volume->txn);
        region_stat(walk->volume->regions, node, &st);
        return fn(userdata, walk->path, length, node);
}

static int walk_step(struct walk *walk, region_fn fn, void *userdata) {
        struct level *level = &walk->levels[walk->depth - 1];
        const struct dentry *dentry = tree_next(walk->volume->tree, level->dir, level->after);
        size_t at = level->path_length;
        struct node *node;
        int r;

        if (!dentry) {
                walk->depth--;
                return 0;
        }
        level->after = dentry->cookie;
        node = tree_node(walk->volume->tree, dentry->node);
        if (!node_is_dir(node) && !node_is_region(node))
                return 0;
        r = walk_name(walk, at, dentry);
        if (r < 0)
                return r;
        if (node_is_region(node))
                return walk_region(walk, at + dentry->length, node, fn, userdata);
        walk->path[at + dentry->length] = '/';
        return walk_enter(walk, node, at + dentry->length + 1);
}

/* Calls fn for each region below dir that the caller may list, its attributes fresh. */
static int walk_regions(struct volume *volume, struct caller *caller, const struct node *dir,
                        region_fn fn, void *userdata) {
        struct walk walk = {.volume = volume, .caller = caller};
        int r;

        r = walk_enter(&walk, dir, 0);
        while (r == 0 && walk.depth > 0)
                r = walk_step(&walk, fn, userdata);
        free(walk.levels);
        free(walk.path);
        return r;
}

/*
 * Bytes of the path from top to dir, each name with a slash behind it, and, if end is not NULL,
 * the path itself in front of end.  -1: dir is not below top, or too far, or the caller may not list
 * all that is on the way.
 */
static ssize_t path_between(const struct walk *walk, const struct node *top, const struct node *dir,
                            char *end) {
        ssize_t length = 0;

        for (int depth = 0; depth < UNBORN_DEPTH_MAX; depth++) {
                const struct dentry *dentry;

                if (!access_allows(walk->caller, dir, ACCESS_READ | ACCESS_SEARCH))
                        return -1;
                if (dir == top)
                        return length;
                dentry = dir->id != LAYOUT_ROOT_ID ? tree_name_of(walk->volume->tree, dir) : NULL;
                if (!dentry)
                        return -1;
                length += dentry->length + 1;
                if (end) {
                        end[-length + dentry->length] = '/';
                        memcpy(end - length, dentry->name, dentry->length);
                }
                dir = tree_node(walk->volume->tree, dir->parent);
        }
        return -1;
}

/* The same for one region that is being populated. */
static int walk_unborn_one(struct walk *walk, const struct node *top, const struct pending *record,
                           region_fn fn, void *userdata) {
        struct node *node = tree_node(walk->volume->tree, record->node);
        const struct node *dir = pending_dir(walk->volume->tree, record);
        ssize_t length = node && dir ? path_between(walk, top, dir, NULL) : -1;

        if (length < 0)
                return 0;
        if (walk_need(walk, (size_t)length + record->length + 1) < 0)
                return -ENOMEM;
        path_between(walk, top, dir, walk->path + length);
        memcpy(walk->path + length, record->name, record->length + 1);
        return walk_region(walk, (size_t)length + record->length, node, fn, userdata);
}

/* Calls fn for each region that is being populated, as walk_regions() would if it had its name. */
static int walk_unborn(struct volume *volume, struct caller *caller, const struct node *top,
                       region_fn fn, void *userdata) {
        struct walk walk = {.volume = volume, .caller = caller};
        const struct pending *record;
        int r = 0;

        for (uint32_t at = 0; r == 0 && (record = pending_next(volume->tree, &at));)
                r = walk_unborn_one(&walk, top, record, fn, userdata);
        free(walk.path);
        return r;
}

/* Flags */

static const struct bit {
        uint32_t value;
        const char *name;
} flag_bits[] =
        {
                {NODE_EPHEMERAL, "ephemeral"}, {NODE_FIXED, "fixed"},
                {NODE_POPULATE, "populate"},   {NODE_HUGE, "huge"},
                {NODE_PENDING, "populating"},  {0, NULL},
},
  seal_bits[] = {
          {F_SEAL_SHRINK, "shrink"},
          {F_SEAL_GROW, "grow"},
          {F_SEAL_WRITE, "write"},
          {0, NULL},
};

/* As `a,b`, or, quoted, as `"a", "b"`. */
static void bits_write(FILE *stream, const struct bit *bits, uint32_t value, bool quoted) {
        const char *quote = quoted ? "\"" : "", *separator = "";

        for (; bits->name; bits++) {
                if (!(value & bits->value))
                        continue;
                fprintf(stream, "%s%s%s%s", separator, quote, bits->name, quote);
                separator = quoted ? ", " : ",";
        }
}

/* Creator's command, whose record is not terminated if it is full. */
static size_t creator_length(const struct node *node) {
        return strnlen(node->creator_name, sizeof(node->creator_name));
}

static struct tm birth_time(const struct node *node) {
        time_t seconds = (time_t)node->btime.sec;
        struct tm tm;

        gmtime_r(&seconds, &tm);
        return tm;
}

/* Table */

static const char *const columns[] = {
        "NAME", "SIZE",  "ALLOCATED", "HUGE",    "MODE", "UID",     "GID",
        "REFS", "FLAGS", "SEALS",     "CREATED", "PID",  "COMMAND",
};

enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

/* Columns of numbers, which are aligned to the right. */
static const bool is_number[COLUMNS] = {
        [1] = true, [2] = true, [3] = true, [5] = true, [6] = true, [7] = true, [11] = true,
};

/* Cells one after the other, each terminated: what they are padded to is known at the end only. */
struct table {
        FILE *cells;
        int widths[COLUMNS];
        int column;
};

/* Columns on a terminal that bytes take, if they are UTF-8 of plain letters. */
static int cell_width(const char *cell) {
        int width = 0;

        for (; *cell; cell++)
                if (((unsigned char)*cell & 0xc0) != 0x80)
                        width++;
        return width;
}

/* Ends a cell; an empty one is shown as a dash, so that every line has as many words. */
static void table_cell(struct table *table, const char *cell) {
        int width;

        if (*cell == '\0')
                cell = "-";
        width = cell_width(cell);
        if (table->widths[table->column] < width)
                table->widths[table->column] = width;
        fwrite(cell, 1, strlen(cell) + 1, table->cells);
        table->column = (table->column + 1) % COLUMNS;
}

static void table_number(struct table *table, uint64_t number) {
        char cell[32];

        snprintf(cell, sizeof(cell), "%" PRIu64, number);
        table_cell(table, cell);
}

static void table_bits(struct table *table, const struct bit *bits, uint32_t value) {
        char cell[64] = "";
        FILE *stream = fmemopen(cell, sizeof(cell), "w");

        if (stream) {
                bits_write(stream, bits, value, false);
                fclose(stream);
        }
        table_cell(table, cell);
}

static int table_escaped(struct table *table, const char *name, size_t length) {
        char *cell = malloc(4 * length + 1);

        if (!cell)
                return -ENOMEM;
        words_escape(cell, name, length);
        table_cell(table, cell);
        free(cell);
        return 0;
}

static int table_region(void *userdata, const char *name, size_t length, const struct node *node) {
        struct table *table = userdata;
        struct tm tm = birth_time(node);
        char cell[64];
        int r;

        r = table_escaped(table, name, length);
        if (r < 0)
                return r;
        table_number(table, node->size);
        table_number(table, node->blocks);
        table_number(table, node->huge);
        snprintf(cell, sizeof(cell), "%04o", node->mode & 07777);
        table_cell(table, cell);
        table_number(table, node->uid);
        table_number(table, node->gid);
        table_number(table, node->opens);
        table_bits(table, flag_bits, node->flags);
        table_bits(table, seal_bits, node->seals);
        strftime(cell, sizeof(cell), "%Y-%m-%dT%H:%M:%SZ", &tm);
        table_cell(table, cell);
        table_number(table, (uint64_t)node->creator_pid);
        return table_escaped(table, node->creator_name, creator_length(node));
}

static void table_print(FILE *stream, const struct table *table, const char *cells, size_t size) {
        const char *end = cells + size;
        int column = 0;

        while (cells < end) {
                int padding = table->widths[column] - cell_width(cells);

                if (is_number[column])
                        fprintf(stream, "%*s%s", padding, "", cells);
                else if (column < COLUMNS - 1)
                        fprintf(stream, "%s%*s", cells, padding, "");
                else
                        fputs(cells, stream);
                column = (column + 1) % COLUMNS;
                fputs(column == 0 ? "\n" : "  ", stream);
                cells += strlen(cells) + 1;
        }
}

int report_table(FILE *stream, struct volume *volume, struct caller *caller, struct node *dir) {
        struct table table = {0};
        char *cells = NULL;
        size_t size = 0;
        int r;

        table.cells = open_memstream(&cells, &size);
        if (!table.cells)
                return -ENOMEM;
        for (int i = 0; i < COLUMNS; i++)
                table_cell(&table, columns[i]);
        r = walk_regions(volume, caller, dir, table_region, &table);
        if (r == 0)
                r = walk_unborn(volume, caller, dir, table_region, &table);
        if (fclose(table.cells) != 0)
                r = -ENOMEM;
        if (r == 0)
                table_print(stream, &table, cells, size);
        free(cells);
        return r;
}

/* JSON */

/* Bytes of the UTF-8 sequence at s, 0 if there is none: neither overlong nor a surrogate. */
static size_t utf8_length(const unsigned char *s, size_t length) {
        size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

        if (n == 0 || s[0] > 0xf4 || n > length)
                return 0;
        for (size_t i = 1; i < n; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
                return 0;
        return n;
}

/* Bytes that are no UTF-8 become \udc80 to \udcff, as Python's surrogateescape has them. */
static void json_string(FILE *stream, const char *text, size_t length) {
        const unsigned char *s = (const unsigned char *)text;

        fputc('"', stream);
        while (length > 0) {
                size_t n = utf8_length(s, length);

                if (n == 0) {
                        fprintf(stream, "\\udc%02x", *s);
                        n = 1;
                } else if (*s == '"' || *s == '\\') {
                        fprintf(stream, "\\%c", *s);
                } else if (*s < 0x20 || *s == 0x7f) {
                        fprintf(stream, "\\u%04x", *s);
                } else {
                        fwrite(s, 1, n, stream);
                }
                s += n;
                length -= n;
        }
        fputc('"', stream);
}

static void json_time(char text[64], const struct node *node) {
        struct tm tm = birth_time(node);
        size_t length = strftime(text, 64, "%Y-%m-%dT%H:%M:%S", &tm);

        snprintf(text + length, 64 - length, ".%06dZ", (int)(node->btime.nsec / 1000));
}

static void json_region(FILE *stream, const char *name, size_t length, const struct node *node) {
        char created[64];

        json_time(created, node);
        fputs("{\"name\": ", stream);
        json_string(stream, name, length);
        fprintf(stream,
                ", \"size\": %" PRIu64 ", \"allocated\": %" PRIu64 ", \"huge\": %" PRIu64
                ", \"mode\": \"%04o\""
                ", \"uid\": %u, \"gid\": %u, \"inode\": %" PRIu64 ", \"links\": %u, \"refs\": %u"
                ", \"writers\": %u, \"flags\": [",
                node->size, node->blocks, node->huge, node->mode & 07777, node->uid, node->gid,
                node->ino, node->nlink, node->opens, node->writers);
        bits_write(stream, flag_bits, node->flags, true);
        fputs("], \"seals\": [", stream);
        bits_write(stream, seal_bits, node->seals, true);
        fprintf(stream, "], \"created\": \"%s\"", created);
        fprintf(stream, ", \"creator_uid\": %u, \"creator_pid\": %d, \"creator_command\": ",
                node->creator_uid, node->creator_pid);
        json_string(stream, node->creator_name, creator_length(node));
        fputc('}', stream);
}

struct json {
        FILE *stream;
        const char *separator;
};

static int json_item(void *userdata, const char *name, size_t length, const struct node *node) {
        struct json *json = userdata;

        fputs(json->separator, json->stream);
        json->separator = ",\n";
        json_region(json->stream, name, length, node);
        return 0;
}

int report_json(FILE *stream, struct volume *volume, struct caller *caller, struct node *dir) {
        struct json json = {stream, "\n"};
        int r;

        fputs("{\"regions\": [", stream);
        r = walk_regions(volume, caller, dir, json_item, &json);
        /* Not among the regions: nobody can open them, and who reads those expects to. */
        fputs("\n],\n\"populating\": [", stream);
        json.separator = "\n";
        if (r == 0)
                r = walk_unborn(volume, caller, dir, json_item, &json);
        fputs("\n]}\n", stream);
        return r;
}

int report_region(FILE *stream, struct regions *regions, struct node *node, const char *name) {
        struct stat st;
        int r;

        r = region_stat(regions, node, &st);
        if (r < 0)
                return r;
        json_region(stream, name, strlen(name), node);
        return 0;
}

/* Attributes */

static void attribute_created(FILE *stream, const struct node *node) {
        char text[64];

        json_time(text, node);
        fputs(text, stream);
}

static void attribute_creator_uid(FILE *stream, const struct node *node) {
        fprintf(stream, "%u", node->creator_uid);
}

static void attribute_creator_pid(FILE *stream, const struct node *node) {
        fprintf(stream, "%d", node->creator_pid);
}

static void attribute_creator_command(FILE *stream, const struct node *node) {
        fwrite(node->creator_name, 1, creator_length(node), stream);
}

static void attribute_refs(FILE *stream, const struct node *node) {
        fprintf(stream, "%u", node->opens);
}

static void attribute_writers(FILE *stream, const struct node *node) {
        fprintf(stream, "%u", node->writers);
}

static void attribute_flags(FILE *stream, const struct node *node) {
        bits_write(stream, flag_bits, node->flags, false);
}

static void attribute_seals(FILE *stream, const struct node *node) {
        bits_write(stream, seal_bits, node->seals, false);
}

static void attribute_huge(FILE *stream, const struct node *node) {
        fprintf(stream, "%" PRIu64, node->huge);
}

/* What stat(2) does not tell. */
static const struct attribute {
        const char *name;
        void (*write)(FILE *stream, const struct node *node);
} attributes[] = {
        {"created", attribute_created},
        {"creator_uid", attribute_creator_uid},
        {"creator_pid", attribute_creator_pid},
        {"creator_command", attribute_creator_command},
        {"refs", attribute_refs},
        {"writers", attribute_writers},
        {"flags", attribute_flags},
        {"seals", attribute_seals},
        {"huge", attribute_huge},
};

int report_attribute(FILE *stream, struct regions *regions, struct node *node, const char *name) {
        for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
                struct stat st;
                int r;

                if (strcmp(attributes[i].name, name) != 0)
                        continue;
                r = region_stat(regions, node, &st);
                if (r == 0)
                        attributes[i].write(stream, node);
                return r;
        }
        return -ENODATA;
}

/* Metrics */

/* Names of the kernel's FUSE requests by opcode; the protocol never reuses a number. */
static const char *const opcodes[64] = {
        [1] = "LOOKUP",       [2] = "FORGET",       [3] = "GETATTR",       [4] = "SETATTR",
        [5] = "READLINK",     [6] = "SYMLINK",      [8] = "MKNOD",         [9] = "MKDIR",
        [10] = "UNLINK",      [11] = "RMDIR",       [12] = "RENAME",       [13] = "LINK",
        [14] = "OPEN",        [15] = "READ",        [16] = "WRITE",        [17] = "STATFS",
        [18] = "RELEASE",     [20] = "FSYNC",       [21] = "SETXATTR",     [22] = "GETXATTR",
        [23] = "LISTXATTR",   [24] = "REMOVEXATTR", [25] = "FLUSH",        [26] = "INIT",
        [27] = "OPENDIR",     [28] = "READDIR",     [29] = "RELEASEDIR",   [30] = "FSYNCDIR",
        [31] = "GETLK",       [32] = "SETLK",       [33] = "SETLKW",       [34] = "ACCESS",
        [35] = "CREATE",      [36] = "INTERRUPT",   [37] = "BMAP",         [38] = "DESTROY",
        [39] = "IOCTL",       [40] = "POLL",        [42] = "BATCH_FORGET", [43] = "FALLOCATE",
        [44] = "READDIRPLUS", [45] = "RENAME2",     [46] = "LSEEK",        [47] = "COPY_FILE_RANGE",
        [50] = "SYNCFS",      [51] = "TMPFILE",     [52] = "STATX",
};

static void metric_head(FILE *stream, const char *name, const char *type, const char *help) {
        fprintf(stream, "# HELP iomemfs_%s %s\n# TYPE iomemfs_%s %s\n", name, help, name, type);
}

static void gauge(FILE *stream, const char *name, const char *help, uint64_t value) {
        metric_head(stream, name, "gauge", help);
        fprintf(stream, "iomemfs_%s %" PRIu64 "\n", name, value);
}

static void counter(FILE *stream, const char *name, const char *help, uint64_t value) {
        metric_head(stream, name, "counter", help);
        fprintf(stream, "iomemfs_%s %" PRIu64 "\n", name, value);
}

/* The wishes for short wake-ups.  Now, not as of when the record was brought up to date. */
static void stats_wakeup(FILE *stream, const struct wakeup *wakeup) {
        uint64_t held_ns = wakeup->held_ns;
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (wakeup->held)
                held_ns += (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - wakeup->at;
        gauge(stream, "short_wakeups", "Whether short wake-ups are asked for under load (1).",
              wakeup->fd >= 0);
        counter(stream, "short_wakeups_total", "Times that short wake-ups were asked for.",
                wakeup->turns);
        metric_head(stream, "short_wakeups_seconds_total", "counter",
                    "How long short wake-ups were asked for.");
        fprintf(stream, "iomemfs_short_wakeups_seconds_total %" PRIu64 ".%06" PRIu64 "\n",
                held_ns / 1000000000, held_ns / 1000 % 1000000);
}

static void stats_requests(FILE *stream, const struct counters *counters) {
        uint64_t others = 0;

        metric_head(stream, "requests_total", "counter", "Requests of the kernel by FUSE opcode.");
        for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
                if (opcodes[i])
                        fprintf(stream, "iomemfs_requests_total{opcode=\"%s\"} %" PRIu64 "\n",
                                opcodes[i], counters->requests[i]);
                else
                        others += counters->requests[i];
        }
        fprintf(stream, "iomemfs_requests_total{opcode=\"OTHER\"} %" PRIu64 "\n", others);
}

static void stats_counters(FILE *stream, const struct counters *counters) {
        stats_requests(stream, counters);
        counter(stream, "restarts_total", "Restarts of the worker.", counters->restarts);
        counter(stream, "takeovers_total", "Takeovers of the keeper's place by the worker.",
                counters->takeovers);
        counter(stream, "upgrades_total", "Times that the program was replaced.",
                counters->upgrades);
        counter(stream, "upgrades_refused_total", "Upgrades that were not made; see the log.",
                counters->upgrades_refused);
        counter(stream, "replayed_total", "Requests answered again after a restart.",
                counters->replayed);
        counter(stream, "poisoned_total", "Requests answered EIO because two workers died of them.",
                counters->poisoned);
        counter(stream, "commands_total", "Commands run.", counters->commands);
        counter(stream, "command_errors_total", "Commands that failed.", counters->command_errors);
        counter(stream, "cut_back_total",
                "Regions cut back to the limit after growing behind the daemon's back.",
                counters->cut_back);
}

static void stats_nodes(FILE *stream, const struct tree *tree) {
        struct journal *journal = tree_arena(tree);
        uint32_t high = journal_high(journal, TABLE_NODE);
        uint64_t regions = 0, opens = 0;

        for (uint32_t id = 1; id <= high; id++) {
                const struct node *node = tree_node(tree, id);

                if (!node)
                        continue;
                opens += node->opens;
                if (node_is_region(node) && !(node->flags & NODE_DETACHED))
                        regions++;
        }
        gauge(stream, "regions", "Regions.", regions);
        gauge(stream, "open_handles", "Open files and directories.", opens);
        gauge(stream, "ctl_handles", "Open files of .ctl.", journal_used(journal, TABLE_HANDLE));
        gauge(stream, "inodes", "Files of any type.", tree_inodes(tree));
        gauge(stream, "inodes_max", "Limit of nr_inodes=, 0 for none.",
              tree_root_record(tree)->limit_nodes);
}

static void stats_unborn(FILE *stream, struct volume *volume) {
        uint64_t populating = 0, lack = 0;
        const struct pending *record;

        for (uint32_t at = 0; (record = pending_next(volume->tree, &at));) {
                struct node *node = tree_node(volume->tree, record->node);
                struct stat st;

                if (!node)
                        continue;
                if (++populating % LOOK_BATCH == 0)
                        (void)txn_commit(volume->txn);
                if (region_stat(volume->regions, node, &st) == 0 && node->blocks < node->size)
                        lack += node->size - node->blocks;
        }
        gauge(stream, "populating", "Regions that are being populated.", populating);
        gauge(stream, "populating_bytes", "Bytes that these still lack.", lack);
}

int report_stats(FILE *stream, struct volume *volume) {
        const struct root *root = volume->root;
        struct space space;

        volume_space(volume, &space);
        metric_head(stream, "build_info", "gauge", "Version of the program and its records.");
        fprintf(stream, "iomemfs_build_info{version=\"%s\",layout=\"%d\"} 1\n", IOMEMFS_VERSION,
                LAYOUT_VERSION);
        gauge(stream, "passthrough", "Whether data passes the daemon by (1).", root->passthrough);
        gauge(stream, "size_bytes", "Limit of size=, 0 for none.", space.limit);
        gauge(stream, "used_bytes", "Bytes reserved by regions.", space.used);
        stats_nodes(stream, volume->tree);
        stats_unborn(stream, volume);
        stats_counters(stream, &root->counters);
        stats_wakeup(stream, &root->wakeup);
        metric_head(stream, "daemon_pid", "gauge", "Process ids.");
        fprintf(stream, "iomemfs_daemon_pid{role=\"worker\"} %d\n", (int)getpid());
        fprintf(stream, "iomemfs_daemon_pid{role=\"keeper\"} %d\n", (int)getppid());
        return 0;
}
