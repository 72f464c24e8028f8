/* SPDX-License-Identifier: MIT */
#include "top_model.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "base/size.h"
#include "base/words.h"
#include "cli.h"

static double now(void) {
        struct timespec at;

        clock_gettime(CLOCK_MONOTONIC, &at);
        return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* Rows */

void top_rows_free(struct top_row *rows, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(rows[i].name);
        free(rows);
}

static unsigned int depth_of(const char *name) {
        unsigned int depth = 0;

        while ((name = strchr(name, '/'))) {
                depth++;
                name++;
        }
        return depth;
}

/* Makes room for one row more; NULL if there is no memory. */
static struct top_row *rows_add(struct top_row **rows, size_t *n, size_t *capacity) {
        if (*n == *capacity) {
                size_t more = *capacity ? *capacity * 2 : 64;
                struct top_row *new = realloc(*rows, more * sizeof(*new));

                if (!new)
                        return NULL;
                *rows = new;
                *capacity = more;
        }
        return &(*rows)[(*n)++];
}

struct listing {
        struct top_row *rows;
        size_t n, capacity;
};

static int add_region(void *userdata, const char *name, const struct iomem_stat *region) {
        struct listing *listing = userdata;
        char *copy = strdup(name);
        struct top_row *row =
                copy ? rows_add(&listing->rows, &listing->n, &listing->capacity) : NULL;

        if (!row) {
                free(copy);
                return -ENOMEM;
        }
        *row = (struct top_row){
                .name = copy,
                .depth = depth_of(name),
                .parent = -1,
                .number = 1,
                .region = *region,
        };
        return 0;
}

static int by_name(const void *one, const void *other) {
        return strcmp(((const struct top_row *)one)->name, ((const struct top_row *)other)->name);
}

/* Growth */

static int by_inode(const void *one, const void *other) {
        uint64_t a = ((const struct top_before *)one)->inode;
        uint64_t b = ((const struct top_before *)other)->inode;

        return a < b ? -1 : a > b;
}

static void find_growth(struct top_model *model, struct top_row *row, double seconds) {
        struct top_before key = {.inode = row->region.inode}, *before;

        before = model->n_before == 0 ? NULL
                                      : bsearch(&key, model->before, model->n_before,
                                                sizeof(*model->before), by_inode);
        if (before && seconds > 0)
                row->growth = ((double)row->region.allocated - (double)before->allocated) / seconds;
}

static void remember(struct top_model *model) {
        struct top_before *before = malloc((model->n + 1) * sizeof(*before));

        free(model->before);
        model->before = before;
        model->n_before = before ? model->n : 0;
        for (size_t i = 0; i < model->n_before; i++)
                before[i] = (struct top_before){model->rows[i].region.inode,
                                                model->rows[i].region.allocated};
        if (before)
                qsort(before, model->n_before, sizeof(*before), by_inode);
}

/* Numbers */

/* A line of .ctl/stats: `name{labels} value`. */
static void take_number(struct top_numbers *numbers, const char *line) {
        const struct {
                const char *name;
                double *value;
        } known[] = {
                {"iomemfs_size_bytes", &numbers->size},
                {"iomemfs_used_bytes", &numbers->used},
                {"iomemfs_inodes", &numbers->files},
                {"iomemfs_inodes_max", &numbers->files_max},
                {"iomemfs_restarts_total", &numbers->restarts},
        };
        size_t length = strcspn(line, "{ ");
        const char *space = strrchr(line, ' ');
        double value = space ? strtod(space, NULL) : 0;

        for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
                if (strlen(known[i].name) == length && memcmp(line, known[i].name, length) == 0)
                        *known[i].value = value;
        if (strncmp(line, "iomemfs_requests_total{", 23) == 0 ||
            strncmp(line, "iomemfs_commands_total ", 23) == 0) {
                numbers->all = true;
                numbers->requests += value;
        }
        if (strncmp(line, "iomemfs_passthrough ", 20) == 0)
                numbers->passthrough = value > 0;
}

static void read_numbers(struct top_model *model, double seconds) {
        struct top_numbers numbers = {0}, before = model->numbers;
        char path[PATH_MAX + 32], line[512];
        FILE *stats;

        snprintf(path, sizeof(path), "%s/.ctl/stats", model->mount);
        stats = model->mount[0] ? fopen(path, "re") : NULL;
        while (stats && fgets(line, sizeof(line), stats)) {
                numbers.known = true;
                if (line[0] != '#')
                        take_number(&numbers, line);
        }
        if (stats)
                fclose(stats);
        model->requests_rate = -1;
        if (numbers.all && before.all && seconds > 0 && numbers.requests >= before.requests)
                model->requests_rate = (numbers.requests - before.requests) / seconds;
        model->numbers = numbers;
}

static void free_limits(struct top_model *model) {
        for (size_t i = 0; i < model->n_limits; i++)
                free(model->limits[i].name);
        free(model->limits);
        model->limits = NULL;
        model->n_limits = 0;
}

static void add_limit(struct top_model *model, const struct top_limit *limit) {
        struct top_limit *new = realloc(model->limits, (model->n_limits + 1) * sizeof(*new));

        if (!new || !limit->name) {
                model->limits = new ? new : model->limits;
                free(limit->name);
                return;
        }
        model->limits = new;
        new[model->n_limits++] = *limit;
}

static int take_limit(void *userdata, const char *directory, const struct iomem_space *space) {
        struct top_model *model = userdata;
        bool top = strcmp(directory, ".") == 0;

        add_limit(model, &(struct top_limit){
                                 .name = strdup(top && model->mount[0] ? model->mount : directory),
                                 .used = space->used,
                                 .limit = space->size,
                                 .files = space->inodes_used,
                                 .files_limit = space->inodes,
                         });
        return 0;
}

/* The limit of the directory that is shown is the first one. */
static void read_limits(struct top_model *model) {
        free_limits(model);
        (void)iomem_space(model->connection, model->directory, take_limit, model);
}

/* Samples */

int top_model_sample(struct top_model *model) {
        struct listing listing = {0};
        double begin = now(), seconds = model->at > 0 ? begin - model->at : 0;
        int r = iomem_list(model->connection, model->directory, IOMEM_LIST_POPULATING, add_region,
                           &listing);

        model->error = r;
        if (r < 0) {
                top_rows_free(listing.rows, listing.n);
                return r;
        }
        if (listing.n > 0)
                qsort(listing.rows, listing.n, sizeof(*listing.rows), by_name);
        for (size_t i = 0; i < listing.n; i++)
                find_growth(model, &listing.rows[i], seconds);
        top_rows_free(model->rows, model->n);
        model->rows = listing.rows;
        model->n = listing.n;
        model->capacity = listing.capacity;
        remember(model);
        read_numbers(model, seconds);
        read_limits(model);
        model->at = begin;
        model->cost_ms = (uint64_t)((now() - begin) * 1000);
        return 0;
}

/* Events */

static const char *kind_text(enum iomem_event_kind kind) {
        static const char *const texts[] = {
                [IOMEM_EVENT_OTHER] = "other",           [IOMEM_EVENT_CREATE] = "create",
                [IOMEM_EVENT_RESIZE] = "resize",         [IOMEM_EVENT_SEAL] = "seal",
                [IOMEM_EVENT_RENAME] = "rename",         [IOMEM_EVENT_REMOVE] = "remove",
                [IOMEM_EVENT_LAST_CLOSE] = "last-close", [IOMEM_EVENT_RESTART] = "restart",
                [IOMEM_EVENT_OVERFLOW] = "overflow",
        };

        return (unsigned int)kind < sizeof(texts) / sizeof(*texts) ? texts[kind] : texts[0];
}

static void event_text(char *out, size_t size, const struct iomem_event *event) {
        char name[4 * 64 + 1] = "", user[64] = "", bytes[SIZE_TEXT_MAX] = "", clock[16];
        time_t at = time(NULL);
        struct tm tm;
        int n;

        localtime_r(&at, &tm);
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
        if (event->name)
                words_escape(name, event->name, strnlen(event->name, 64));
        n = snprintf(out, size, "%s %-10s %s", clock, kind_text(event->kind), name);
        if (event->kind == IOMEM_EVENT_CREATE || event->kind == IOMEM_EVENT_RESIZE) {
                size_format(bytes, event->size);
                n += snprintf(out + n, size - (size_t)n, " %s", bytes);
        }
        if (event->uid != UINT32_MAX && event->pid > 0) {
                cli_format_user(user, sizeof(user), event->uid);
                snprintf(out + n, size - (size_t)n, " by %.32s[%d]", user, (int)event->pid);
        }
}

unsigned int top_model_take_events(struct top_model *model) {
        struct iomem_event event;
        unsigned int n = 0;

        /* A flood is taken in pieces, so that keys are answered. */
        while (model->events_reader && n < 10 * TOP_EVENTS &&
               iomem_events_next(model->events_reader, &event, 0) == 0) {
                struct top_event *shown = &model->events[model->n_events++ % TOP_EVENTS];

                event_text(shown->text, sizeof(shown->text), &event);
                shown->restart = event.kind == IOMEM_EVENT_RESTART;
                n++;
        }
        return n;
}

/* Trees */

struct tree {
        struct top_row *rows;
        size_t n, capacity;
        int *path; /* the row of each directory on the way to the present name */
        unsigned int depth, capacity_path;
};

static int tree_enter(struct tree *tree, const char *name, size_t length) {
        struct top_row *row = rows_add(&tree->rows, &tree->n, &tree->capacity);

        if (!row)
                return -ENOMEM;
        *row = (struct top_row){
                .name = strndup(name, length),
                .directory = true,
                .depth = tree->depth,
                .parent = tree->depth ? tree->path[tree->depth - 1] : -1,
        };
        if (!row->name) {
                tree->n--;
                return -ENOMEM;
        }
        if (tree->depth == tree->capacity_path) {
                int *path = realloc(tree->path, (tree->depth + 16) * sizeof(*path));

                if (!path)
                        return -ENOMEM;
                tree->path = path;
                tree->capacity_path = tree->depth + 16;
        }
        tree->path[tree->depth++] = (int)tree->n - 1;
        return 0;
}

/* Leaves the directories that the name is not below, and enters those that it is below. */
static int tree_walk(struct tree *tree, const char *name) {
        const char *slash = name;

        while (tree->depth > 0) {
                const char *above = tree->rows[tree->path[tree->depth - 1]].name;
                size_t length = strlen(above);

                if (strncmp(name, above, length) == 0 && name[length] == '/') {
                        slash = name + length + 1;
                        break;
                }
                tree->depth--;
        }
        while ((slash = strchr(slash, '/'))) {
                int r = tree_enter(tree, name, (size_t)(slash - name));

                if (r < 0)
                        return r;
                slash++;
        }
        return 0;
}

/* A directory is as old as its oldest region. */
static void tree_sum(struct tree *tree, const struct top_row *row) {
        for (unsigned int i = 0; i < tree->depth; i++) {
                struct top_row *above = &tree->rows[tree->path[i]];

                above->region.size += row->region.size;
                above->region.allocated += row->region.allocated;
                above->region.refs += row->region.refs;
                above->growth += row->growth;
                if (above->number++ == 0 || row->region.created < above->region.created)
                        above->region.created = row->region.created;
        }
}

static int tree_add(struct tree *tree, const struct top_row *row) {
        struct top_row *new;
        char *name;
        int r = tree_walk(tree, row->name);

        if (r < 0)
                return r;
        tree_sum(tree, row);
        name = strdup(row->name);
        new = name ? rows_add(&tree->rows, &tree->n, &tree->capacity) : NULL;
        if (!new) {
                free(name);
                return -ENOMEM;
        }
        *new = *row;
        new->name = name;
        new->parent = tree->depth ? tree->path[tree->depth - 1] : -1;
        return 0;
}

int top_model_tree(struct top_row **out, size_t *n, const struct top_row *rows, size_t n_rows) {
        struct tree tree = {0};
        int r = 0;

        for (size_t i = 0; i < n_rows && r == 0; i++)
                r = tree_add(&tree, &rows[i]);
        free(tree.path);
        if (r < 0) {
                top_rows_free(tree.rows, tree.n);
                return r;
        }
        *out = tree.rows;
        *n = tree.n;
        return 0;
}

/* The whole */

int top_model_open(struct top_model *model, const char *directory) {
        char mount[PATH_MAX];
        struct stat st;
        int r;

        *model = (struct top_model){.requests_rate = -1};
        r = cli_connect_directory(&model->connection, directory, &model->directory);
        if (r != 0)
                return r;
        if (cli_is_path(directory))
                snprintf(mount, sizeof(mount), "%s", directory);
        else
                cli_find_mount(mount);
        if (!realpath(mount, model->mount) || stat(model->mount, &st) < 0 || !S_ISDIR(st.st_mode))
                model->mount[0] = '\0';
        if (iomem_events_open(&model->events_reader, model->connection, model->directory) < 0)
                model->events_reader = NULL; /* only the socket is visible here */
        return 0;
}

void top_model_close(struct top_model *model) {
        top_rows_free(model->rows, model->n);
        free_limits(model);
        free(model->before);
        iomem_events_close(model->events_reader);
        iomem_disconnect(model->connection);
}
