/* SPDX-License-Identifier: MIT */
#include "top_frame.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <wchar.h>
#include "base/errno_text.h"
#include "base/size.h"
#include "base/words.h"
#include "cli.h"

enum { EVENTS_SHOWN = 5, EVENTS_IN_BATCH = 10, LIMITS_SHOWN = 6, BAR_MAX = 40, NAME_LEAST = 12 };

static const struct {
        const char *word;
        const char *heading;
} sorts[_TOP_SORT_N] = {
        [TOP_BY_SIZE] = {"size", "SIZE"},
        [TOP_BY_ALLOCATED] = {"allocated", "ALLOC"},
        [TOP_BY_GROWTH] = {"growth", "GROWTH/s"},
        [TOP_BY_USERS] = {"users", "REFS"},
        [TOP_BY_AGE] = {"age", "AGE"},
        [TOP_BY_NAME] = {"name", "NAME"},
};

enum top_sort top_sort_of(const char *word) {
        enum top_sort sort = 0;

        while (sort < _TOP_SORT_N && strcasecmp(sorts[sort].word, word) != 0)
                sort++;
        return sort;
}

/* Text */

/* Cuts or pads the text to a number of columns on the terminal. */
static void fit(char *out, size_t size, const char *text, unsigned int columns) {
        size_t used = 0, length = strlen(text);
        unsigned int at = 0;
        mbstate_t state = {0};

        while (length > 0 && used + 2 * MB_LEN_MAX < size) {
                wchar_t c = L'?';
                size_t n = mbrtowc(&c, text, length, &state);
                bool bad = n == 0 || n > length;
                int width = bad ? 1 : wcwidth(c);

                if (bad) {
                        state = (mbstate_t){0};
                        n = 1;
                }
                if (at + (unsigned int)(width < 0 ? 1 : width) > columns) {
                        /* The last column says that there is more. */
                        while (used > 0 && at >= columns && columns > 0) {
                                used--;
                                while (used > 0 && ((unsigned char)out[used] & 0xc0) == 0x80)
                                        used--;
                                at--;
                        }
                        if (columns > 0)
                                out[used++] = '~';
                        at = columns;
                        break;
                }
                if (bad || width < 0)
                        out[used++] = '?';
                else
                        used += (size_t)(mempcpy(out + used, text, n) - (void *)(out + used));
                at += (unsigned int)(width < 0 ? 1 : width);
                text += n;
                length -= n;
        }
        while (at++ < columns && used + 1 < size)
                out[used++] = ' ';
        out[used] = '\0';
}

static void frame_add(struct top_frame *frame, enum top_look look, const char *text) {
        if (frame->n == frame->capacity) {
                size_t capacity = frame->capacity ? 2 * frame->capacity : 64;
                struct top_line *lines = realloc(frame->lines, capacity * sizeof(*lines));

                if (!lines) {
                        frame->failed = true;
                        return;
                }
                frame->lines = lines;
                frame->capacity = capacity;
        }
        frame->lines[frame->n].look = look;
        frame->lines[frame->n].text = strdup(text);
        if (frame->lines[frame->n].text)
                frame->n++;
        else
                frame->failed = true;
}

static void frame_print(struct top_frame *frame, enum top_look look, unsigned int columns,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));

static void frame_print(struct top_frame *frame, enum top_look look, unsigned int columns,
                        const char *format, ...) {
        char text[4 * TOP_WIDTH_MAX], line[4 * TOP_WIDTH_MAX];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        fit(line, sizeof(line), text, columns);
        frame_add(frame, look, line);
}

/* Head */

static void head_title(struct top_frame *frame, const struct top_model *model,
                       const struct top_view *view, unsigned int columns) {
        const struct top_numbers *numbers = &model->numbers;
        char clock[16], rate[48] = "", restarts[48] = "";
        time_t now = time(NULL);
        struct tm tm;

        localtime_r(&now, &tm);
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
        if (model->requests_rate >= 0)
                snprintf(rate, sizeof(rate), ", %.0f requests/s", model->requests_rate);
        if (numbers->known)
                snprintf(restarts, sizeof(restarts), ", %.0f restarts%s", numbers->restarts,
                         numbers->passthrough ? "" : ", no passthrough");
        frame_print(frame, TOP_TITLE, columns, "iomem top  %s  %s%s%s  %zu regions%s%s%s%s", clock,
                    model->mount[0] ? model->mount : cli_place(), model->directory ? "/" : "",
                    model->directory ? model->directory : "", model->n, rate, restarts,
                    view->paused ? "  PAUSED" : "", model->error ? "  cannot be read: " : "");
}

/* `camera  [######......]  12M of 64M   3 of 100 files` */
static void head_limit(struct top_frame *frame, const struct top_limit *limit, unsigned int width,
                       unsigned int columns) {
        char name[4 * 64 + 1], shown[4 * 64 + 1], used[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX + 8];
        char bar[BAR_MAX + 1], files[64];
        unsigned int cells = columns > 100 ? BAR_MAX : columns > 60 ? 20 : 10, full = 0;
        double part = limit->limit ? (double)limit->used / (double)limit->limit : 0;

        words_escape(name, limit->name, strnlen(limit->name, 64));
        fit(shown, sizeof(shown), name, width);
        size_format(used, limit->used);
        size_format(all, limit->limit);
        if (limit->limit == 0)
                snprintf(all, sizeof(all), "no limit");
        full = part >= 1 ? cells : (unsigned int)(part * cells + 0.5);
        memset(bar, '.', cells);
        memset(bar, '#', full);
        bar[cells] = '\0';
        if (limit->files_limit)
                snprintf(files, sizeof(files), "%" PRIu64 " of %" PRIu64 " files", limit->files,
                         limit->files_limit);
        else
                snprintf(files, sizeof(files), "%" PRIu64 " files", limit->files);
        frame_print(frame,
                    part < .75  ? TOP_BAR
                    : part < .9 ? TOP_BAR_HIGH
                                : TOP_BAR_FULL,
                    columns, "%s [%s] %6s of %-8s  %s", shown, bar, used, all, files);
}

static void head_limits(struct top_frame *frame, const struct top_model *model,
                        unsigned int columns) {
        size_t n = model->n_limits < LIMITS_SHOWN ? model->n_limits : LIMITS_SHOWN;
        unsigned int width = 8;

        for (size_t i = 0; i < n; i++)
                if (strlen(model->limits[i].name) > width)
                        width = (unsigned int)strlen(model->limits[i].name);
        if (width > columns / 4)
                width = columns / 4;
        for (size_t i = 0; i < n; i++)
                head_limit(frame, &model->limits[i], width, columns);
        if (model->n_limits > n)
                frame_print(frame, TOP_PLAIN, columns, "and %zu limits more: iomem df",
                            model->n_limits - n);
}

static void head_filter(struct top_frame *frame, const struct top_view *view,
                        unsigned int columns) {
        char shown[4 * sizeof(view->filter) + 1];

        if (!view->filter[0] && !view->typing)
                return;
        words_escape(shown, view->filter, strlen(view->filter));
        frame_print(frame, TOP_PLAIN, columns, "Filter: %s%s", shown,
                    view->typing ? "_   (Enter: keep, Esc: none)" : "   (Esc: none)");
}

/* Rows */

static double key_of(const struct top_row *row, enum top_sort sort) {
        switch (sort) {
        case TOP_BY_SIZE:
                return (double)row->region.size;
        case TOP_BY_ALLOCATED:
                return (double)row->region.allocated;
        case TOP_BY_GROWTH:
                return row->growth;
        case TOP_BY_USERS:
                return row->region.refs;
        case TOP_BY_AGE: /* the youngest first */
                return (double)row->region.created + row->region.created_nsec / 1e9;
        default:
                return 0;
        }
}

struct order {
        const struct top_row *row;
        int index;
        enum top_sort sort;
        bool reverse;
};

static int compare(const void *one, const void *other) {
        const struct order *a = one, *b = other;
        double x = key_of(a->row, a->sort), y = key_of(b->row, b->sort);
        int r = x > y ? -1 : x < y;

        if (r == 0)
                r = strcmp(a->row->name, b->row->name);
        return a->reverse ? -r : r;
}

/* Case does not matter, as in less(1) with -i. */
static bool matches(const struct top_view *view, const struct top_row *row) {
        return !view->filter[0] || strcasestr(row->name, view->filter);
}

static bool is_closed(const struct top_view *view, const char *directory) {
        for (size_t i = 0; i < view->n_closed; i++)
                if (strcmp(view->closed[i], directory) == 0)
                        return true;
        return false;
}

void top_view_toggle(struct top_view *view, const char *directory) {
        char **closed, *copy;

        for (size_t i = 0; i < view->n_closed; i++)
                if (strcmp(view->closed[i], directory) == 0) {
                        free(view->closed[i]);
                        view->closed[i] = view->closed[--view->n_closed];
                        return;
                }
        copy = strdup(directory);
        closed = copy ? realloc(view->closed, (view->n_closed + 1) * sizeof(*closed)) : NULL;
        if (!closed) {
                free(copy);
                return;
        }
        view->closed = closed;
        closed[view->n_closed++] = copy;
}

void top_view_clear(struct top_view *view) {
        for (size_t i = 0; i < view->n_closed; i++)
                free(view->closed[i]);
        free(view->closed);
}

/* The rows in the order in which they are shown. */
struct rows {
        struct top_row *made; /* of the tree; NULL: they are the model's */
        size_t n_made;
        const struct top_row **shown;
        size_t n;
};

static void rows_free(struct rows *rows) {
        top_rows_free(rows->made, rows->n_made);
        free(rows->shown);
}

/* Orders `n` rows; those of one parent after each other in `order`. */
static size_t order_make(struct order *order, const struct top_row *rows, size_t n,
                         const struct top_view *view) {
        size_t used = 0;

        for (size_t i = 0; i < n; i++)
                if (view->tree || matches(view, &rows[i]))
                        order[used++] = (struct order){&rows[i], (int)i, view->sort, view->reverse};
        if (used > 0)
                qsort(order, used, sizeof(*order), compare);
        return used;
}

/* The rows of a tree, each directory before what is in it. */
struct walk {
        const struct top_view *view;
        int *next;  /* of each row: the next one with the same parent, or -1 */
        int *first; /* of each row, and at the end of the roots: the first one below it, or -1 */
        const struct top_row *rows;
        struct rows *out;
};

static void walk_below(struct walk *walk, int at) {
        for (; at >= 0; at = walk->next[at]) {
                const struct top_row *row = &walk->rows[at];

                walk->out->shown[walk->out->n++] = row;
                if (row->directory && !is_closed(walk->view, row->name))
                        walk_below(walk, walk->first[at]);
        }
}

/* False: there was no memory. */
static bool rows_walk(struct rows *rows, const struct top_view *view, const struct order *order,
                      size_t n) {
        int *links = malloc((2 * n + 1) * sizeof(int));
        struct walk walk;

        if (!links)
                return false;
        walk = (struct walk){view, links, links + n, rows->made, rows};
        for (size_t i = 0; i <= n; i++)
                walk.first[i] = -1;
        /* From the last to the first, so that each comes before those that are added already. */
        for (size_t i = n; i-- > 0;) {
                int at = order[i].index, parent = order[i].row->parent;
                size_t above = parent < 0 ? n : (size_t)parent;

                walk.next[at] = walk.first[above];
                walk.first[above] = at;
        }
        walk_below(&walk, walk.first[n]);
        free(links);
        return true;
}

/* Those that match, by name, for the tree. */
static bool rows_tree(struct rows *rows, const struct top_model *model,
                      const struct top_view *view) {
        struct top_row *matching = malloc((model->n + 1) * sizeof(*matching));
        size_t n = 0;
        int r;

        for (size_t i = 0; matching && i < model->n; i++)
                if (matches(view, &model->rows[i]))
                        matching[n++] = model->rows[i];
        r = matching ? top_model_tree(&rows->made, &rows->n_made, matching, n) : -1;
        free(matching);
        return r == 0;
}

static bool rows_make(struct rows *rows, const struct top_model *model,
                      const struct top_view *view) {
        struct order *order;
        size_t n;
        bool made;

        *rows = (struct rows){0};
        if (view->tree && !rows_tree(rows, model, view))
                return false;
        n = view->tree ? rows->n_made : model->n;
        order = malloc((n + 1) * sizeof(*order));
        rows->shown = malloc((n + 1) * sizeof(*rows->shown));
        made = order && rows->shown;
        if (made)
                n = order_make(order, view->tree ? rows->made : model->rows, n, view);
        if (made && view->tree)
                made = rows_walk(rows, view, order, n);
        else if (made)
                for (rows->n = 0; rows->n < n; rows->n++)
                        rows->shown[rows->n] = order[rows->n].row;
        free(order);
        return made;
}

static void format_age(char out[16], int64_t created) {
        int64_t age = time(NULL) - created;

        if (age < 0)
                age = 0;
        if (age < 100)
                snprintf(out, 16, "%ds", (int)age);
        else if (age < 100 * 60)
                snprintf(out, 16, "%dm", (int)(age / 60));
        else if (age < 48 * 3600)
                snprintf(out, 16, "%dh", (int)(age / 3600));
        else
                snprintf(out, 16, "%ud", (unsigned int)(age / 86400));
}

static void format_growth(char out[SIZE_TEXT_MAX + 1], double growth) {
        out[0] = growth < 0 ? '-' : '+';
        if (fabs(growth) < 1)
                snprintf(out, SIZE_TEXT_MAX, "0");
        else
                size_format(out + 1, (uint64_t)fabs(growth));
}

static void row_name(char *out, size_t size, const struct top_row *row,
                     const struct top_view *view) {
        char escaped[4 * 256 + 1];
        const char *slash = strrchr(row->name, '/'), *name = row->name;

        if (!view->tree) {
                words_escape(escaped, name, strnlen(name, 256));
                snprintf(out, size, "%s", escaped);
                return;
        }
        name = slash ? slash + 1 : name;
        words_escape(escaped, name, strnlen(name, 256));
        snprintf(out, size, "%*s%s%s", (int)(2 * (row->depth < 64 ? row->depth : 64)), "",
                 !row->directory              ? "  "
                 : is_closed(view, row->name) ? "+ "
                                              : "- ",
                 escaped);
        if (row->directory)
                strncat(out, "/", size - strlen(out) - 1);
}

/* The columns to the left of the name take 56 columns; narrow terminals get the first ones. */
static void row_print(struct top_frame *frame, const struct top_row *row,
                      const struct top_view *view, bool selected, unsigned int columns) {
        char size[SIZE_TEXT_MAX], allocated[SIZE_TEXT_MAX], growth[SIZE_TEXT_MAX + 1], age[16];
        char user[64], name[4 * 256 + 160], head[160], state[64] = "";
        bool populating = row->region.flags & IOMEM_POPULATING;

        size_format(size, row->region.size);
        size_format(allocated, row->region.allocated);
        format_growth(growth, row->growth);
        format_age(age, row->region.created);
        if (row->directory)
                snprintf(user, sizeof(user), "(%u)", row->number);
        else
                cli_format_user(user, sizeof(user), row->region.uid);
        row_name(name, sizeof(name), row, view);
        if (populating && row->region.size)
                snprintf(state, sizeof(state), "  populating %d%%",
                         (int)((double)row->region.allocated * 100 / (double)row->region.size));
        if (columns >= 56 + NAME_LEAST)
                snprintf(head, sizeof(head), "%7s %7s %9s %5u %5s %-8.8s ", size, allocated, growth,
                         row->region.refs, age, user);
        else
                snprintf(head, sizeof(head), "%7s %7s ", size, allocated);
        frame_print(frame,
                    selected         ? TOP_SELECTED
                    : populating     ? TOP_POPULATING
                    : row->directory ? TOP_DIRECTORY
                                     : TOP_PLAIN,
                    columns, "%s%s%s", head, name, state);
}

static void rows_heading(struct top_frame *frame, const struct top_view *view,
                         unsigned int columns) {
        char text[128] = "", word[32];
        static const enum top_sort shown[] = {TOP_BY_SIZE, TOP_BY_ALLOCATED, TOP_BY_GROWTH,
                                              TOP_BY_USERS, TOP_BY_AGE};
        static const int widths[] = {7, 7, 9, 5, 5};
        int n = columns >= 56 + NAME_LEAST ? 5 : 2;
        size_t used = 0;

        for (int i = 0; i < n; i++) {
                snprintf(word, sizeof(word), "%s%s", sorts[shown[i]].heading,
                         view->sort == shown[i] ? (view->reverse ? "^" : "v") : "");
                used += (size_t)snprintf(text + used, sizeof(text) - used, "%*s ", widths[i], word);
        }
        frame_print(frame, TOP_HEADING, columns, "%s%sNAME%s", text, n == 5 ? "USER     " : "",
                    view->sort != TOP_BY_NAME ? ""
                    : view->reverse           ? "^"
                                              : "v");
}

/* Events */

static size_t events_shown(const struct top_model *model, unsigned int lines) {
        size_t most = lines == 0 ? EVENTS_IN_BATCH : lines >= 20 ? EVENTS_SHOWN : lines / 6;

        if (!model->events_reader)
                return 0;
        return model->n_events < most ? (size_t)model->n_events : most;
}

static void events_print(struct top_frame *frame, const struct top_model *model, size_t n,
                         unsigned int columns) {
        if (n == 0)
                return;
        frame_print(frame, TOP_HEADING, columns, "EVENTS (%" PRIu64 ")", model->n_events);
        for (uint64_t i = model->n_events - n; i < model->n_events; i++) {
                const struct top_event *event = &model->events[i % TOP_EVENTS];

                frame_print(frame, event->restart ? TOP_RESTART : TOP_PLAIN, columns, "%s",
                            event->text);
        }
}

/* The whole */

static void help_print(struct top_frame *frame, unsigned int columns) {
        static const char *const texts[] = {
                "Keys of iomem top",
                "",
                "  s a g u y n   sort by size, allocated memory, growth, users, age, name",
                "  r             reverse the order",
                "  /             show only names with this text; Esc shows all again",
                "  t             tree: directories with the sums of what is below them",
                "  Enter         in the tree, close or open a directory",
                "  Up Down PgUp PgDn Home End",
                "                move",
                "  Space         look again now",
                "  p             pause",
                "  + -           look less or more often",
                "  h ?           this help; any key ends it",
                "  q             quit",
                "",
                "Nothing here changes a region or a process.",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
                frame_print(frame, i == 0 ? TOP_TITLE : TOP_PLAIN, columns, "%s", texts[i]);
}

/* Keeps the selected row within what there is, and within the page. */
static void view_scroll(struct top_view *view, size_t n, size_t page) {
        if (view->selected >= n)
                view->selected = n ? n - 1 : 0;
        if (view->first > view->selected)
                view->first = view->selected;
        if (page > 0 && view->selected >= view->first + page)
                view->first = view->selected - page + 1;
        if (page > 0 && view->first + page > n)
                view->first = n > page ? n - page : 0;
}

static void frame_rows(struct top_frame *frame, const struct top_model *model,
                       struct top_view *view, unsigned int columns, unsigned int lines) {
        size_t n_events = events_shown(model, lines);
        size_t taken = frame->n + 1 + (n_events ? n_events + 1 : 0), end;
        struct rows rows;

        if (!rows_make(&rows, model, view)) {
                frame->failed = true;
                rows_free(&rows);
                return;
        }
        frame->n_rows = rows.n;
        frame->page = lines == 0 ? rows.n : lines > taken ? lines - taken : 0;
        view_scroll(view, rows.n, frame->page);
        rows_heading(frame, view, columns);
        end = view->first + frame->page < rows.n ? view->first + frame->page : rows.n;
        for (size_t i = view->first; i < end; i++)
                row_print(frame, rows.shown[i], view, lines > 0 && i == view->selected, columns);
        if (view->selected < rows.n && rows.shown[view->selected]->directory)
                frame->selected = strdup(rows.shown[view->selected]->name);
        for (size_t i = end - view->first; lines > 0 && i < frame->page; i++)
                frame_add(frame, TOP_PLAIN, "");
        events_print(frame, model, n_events, columns);
        rows_free(&rows);
}

void top_frame_make(struct top_frame *frame, const struct top_model *model, struct top_view *view,
                    unsigned int columns, unsigned int lines) {
        *frame = (struct top_frame){0};
        if (columns > TOP_WIDTH_MAX)
                columns = TOP_WIDTH_MAX;
        if (view->help) {
                help_print(frame, columns);
                return;
        }
        head_title(frame, model, view, columns);
        if (model->error)
                frame_print(frame, TOP_BAR_FULL, columns, "%s", errno_text(model->error));
        head_limits(frame, model, columns);
        head_filter(frame, view, columns);
        frame_rows(frame, model, view, columns, lines);
}

void top_frame_clear(struct top_frame *frame) {
        for (size_t i = 0; i < frame->n; i++)
                free(frame->lines[i].text);
        free(frame->lines);
        free(frame->selected);
}
