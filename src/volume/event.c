/* SPDX-License-Identifier: MIT */
#include "volume/event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/words.h"
#include "volume/access.h"

enum {
        DEPTH_MAX = PATH_MAX / 2,
        DIRS_PER_STEP = 16,
};

static const char *const kind_names[_EVENT_N] = {
        [EVENT_CREATE] = "create",   [EVENT_RESIZE] = "resize",   [EVENT_SEAL] = "seal",
        [EVENT_RENAME] = "rename",   [EVENT_REMOVE] = "remove",   [EVENT_LAST_CLOSE] = "last-close",
        [EVENT_RESTART] = "restart", [EVENT_CUT_BACK] = "resize",
};

uint64_t event_next(const struct tree *tree) {
        return tree_root_record(tree)->next_event;
}

/* The sequence number of the oldest event in the ring. */
static uint64_t event_first(const struct tree *tree) {
        uint64_t next = event_next(tree);

        return next > EVENT_RING ? next - EVENT_RING : 0;
}

/* Recording */

/* A path that is built from its end. */
struct path {
        char bytes[PATH_MAX];
        size_t start;
};

static void path_put(struct path *path, const char *name, size_t length) {
        bool first = path->start == sizeof(path->bytes);

        if (path->start < length + 1)
                return; /* deeper than a path can be: leave out the outer directories */
        if (!first)
                path->bytes[--path->start] = '/';
        path->start -= length;
        memcpy(path->bytes + path->start, name, length);
}

/* Puts the directories in front; returns how many were visited. */
static int path_put_dirs(struct path *path, const struct tree *tree, const struct node *dir) {
        int depth = 0;

        for (; dir && dir->id != LAYOUT_ROOT_ID && depth < DEPTH_MAX; depth++) {
                const struct dentry *dentry = tree_name_of(tree, dir);

                if (dentry)
                        path_put(path, dentry->name, dentry->length);
                dir = tree_node(tree, dir->parent);
        }
        return depth;
}

static size_t path_length(const struct path *path) {
        return sizeof(path->bytes) - path->start;
}

static void event_guard(struct event *event, const struct node *dir, size_t end) {
        if (event->n_guards < EVENT_GUARDS)
                event->guards[event->n_guards] = (struct event_guard){
                        .end = (uint32_t)end,
                        .uid = dir->uid,
                        .gid = dir->gid,
                        .mode = dir->mode,
                        .acl_dir = dir->access_acl ? dir->id : 0,
                        .acl_generation = dir->generation,
                };
        if (event->n_guards <= EVENT_GUARDS)
                event->n_guards++;
}

/* Records the directories above a name that hide it from some users.  path: of the name. */
static void event_hide(struct event *event, const struct path *path, const struct tree *tree,
                       const struct node *dir, size_t name_length) {
        const unsigned int list = S_IROTH | S_IXOTH;
        size_t length = path_length(path) - name_length; /* of the path to dir, with its slash */

        for (int depth = 0; dir && depth < DEPTH_MAX; depth++) {
                const struct dentry *dentry = tree_name_of(tree, dir);

                /* A mode may give less to owner or group than to all others, and an access list
                 * to anybody. */
                if (dir->access_acl ||
                    (dir->mode & (list | list << 3 | list << 6)) != (list | list << 3 | list << 6))
                        event_guard(event, dir, length > 0 ? length - 1 : 0);
                if (dir->id == LAYOUT_ROOT_ID)
                        return;
                length -= dentry ? dentry->length + 1 : 0;
                dir = tree_node(tree, dir->parent);
        }
}

static void event_set_path(struct event *event, const struct path *path) {
        size_t length = path_length(path);

        if (length > EVENT_PATH_MAX) {
                length = EVENT_PATH_MAX;
                memcpy(event->path, path->bytes + path->start, length - 3);
                memcpy(event->path + length - 3, "...", 3);
        } else {
                memcpy(event->path, path->bytes + path->start, length);
        }
        event->length = (uint32_t)length;
}

static struct event *event_get(const struct tree *tree, uint64_t sequence) {
        return journal_get(tree_journal(tree), TABLE_EVENT, (uint32_t)(sequence % EVENT_RING) + 1);
}

/* The record of the next event, zeroed. */
static struct event *event_new(struct tree *tree) {
        struct journal *journal = tree_journal(tree);
        struct root *root = tree_root_record(tree);
        uint64_t sequence = root->next_event;
        struct event *event;

        /* Records are taken in order and never freed, so that ids follow the numbers. */
        if (sequence < EVENT_RING)
                journal_new_reserved(journal, TABLE_EVENT);
        event = event_get(tree, sequence);
        if (!event)
                __builtin_unreachable(); /* gcc 12 warns that memset() would write to NULL */
        journal_touch(journal, event, sizeof(*event));
        memset(event, 0, offsetof(struct event, path));
        event->sequence = sequence;
        JOURNAL_SET(journal, root->next_event, sequence + 1);
        return event;
}

static void event_fill(struct event *event, enum event_kind kind, const struct node *node,
                       const struct caller *caller) {
        event->kind = kind;
        if (node) {
                event->ino = node->ino;
                event->size = node->size;
                event->seals = node->seals;
        }
        if (caller) {
                event->uid = caller->uid;
                event->pid = caller->pid;
        }
}

void event_add(struct tree *tree, enum event_kind kind, const struct node *node,
               const struct node *dir, const char *name, size_t length,
               const struct caller *caller) {
        struct event *event = event_new(tree);
        struct path path = {.start = sizeof(path.bytes)};

        path_put(&path, name, length);
        path_put_dirs(&path, tree, dir);
        event_set_path(event, &path);
        event_hide(event, &path, tree, dir, length);
        event->dir = dir->id;
        event_fill(event, kind, node, caller);
}

void event_add_node(struct tree *tree, enum event_kind kind, struct node *node,
                    const struct caller *caller) {
        const struct dentry *dentry = node->nlink > 0 ? tree_name_of(tree, node) : NULL;

        if (dentry)
                event_add(tree, kind, node, tree_node(tree, dentry->parent), dentry->name,
                          dentry->length, caller);
}

void event_add_restart(struct tree *tree) {
        event_fill(event_new(tree), EVENT_RESTART, NULL, NULL);
}

/* Who has something to read */

void event_scopes(const struct tree *tree, uint64_t from,
                  void (*fn)(void *userdata, const struct node *dir), void *userdata) {
        uint32_t last = 0;

        if (from < event_first(tree)) {
                fn(userdata, NULL);
                return;
        }
        for (; from < event_next(tree); from++) {
                const struct event *event = event_get(tree, from);
                const struct node *dir = tree_node(tree, event->dir);

                if (!dir) {
                        fn(userdata, NULL);
                        return;
                }
                if (event->dir == last)
                        continue;
                last = event->dir;
                for (int depth = 0; dir && depth < DEPTH_MAX; depth++) {
                        fn(userdata, dir);
                        dir = dir->id != LAYOUT_ROOT_ID ? tree_node(tree, dir->parent) : NULL;
                }
        }
}

/* Telling */

/* An access list is not stored with the event, so that of the directory now counts. */
static bool guard_allows(const struct tree *tree, const struct event_guard *guard,
                         struct caller *caller) {
        const struct node then = {
                .mode = guard->mode,
                .uid = guard->uid,
                .gid = guard->gid,
        };
        const struct node *dir = guard->acl_dir ? tree_node(tree, guard->acl_dir) : &then;

        if (!dir || (guard->acl_dir && dir->generation != guard->acl_generation))
                return caller_is_root(caller);
        return access_allows(tree, caller, dir, ACCESS_READ | ACCESS_SEARCH);
}

/* Whether a reader whose scope has this length may see the event. */
static bool event_is_for(const struct tree *tree, const struct event *event, size_t scope_length,
                         struct caller *caller) {
        if (event->n_guards > EVENT_GUARDS)
                return caller_is_root(caller);
        for (uint32_t i = 0; i < event->n_guards; i++)
                if (event->guards[i].end >= scope_length &&
                    !guard_allows(tree, &event->guards[i], caller))
                        return false;
        return true;
}

static bool scope_holds(const struct path *scope, const struct event *event, size_t *skip) {
        size_t length = path_length(scope);

        *skip = 0;
        if (event->kind == EVENT_RESTART || length == 0)
                return true;
        *skip = length + 1;
        return event->length > length && event->path[length] == '/' &&
               memcmp(event->path, scope->bytes + scope->start, length) == 0;
}

/* Formats the line; returns its length. */
static size_t event_print(const struct event *event, uint64_t number, size_t skip,
                          char buffer[EVENT_LINE_MAX]) {
        char name[4 * EVENT_PATH_MAX + 1] = "-";
        int n;

        if (event->length > skip)
                words_escape(name, event->path + skip, event->length - skip);
        n = snprintf(buffer, EVENT_LINE_MAX, "%" PRIu64 " %s %s", number, kind_names[event->kind],
                     name);
        if (event->kind == EVENT_CREATE || event->kind == EVENT_RESIZE ||
            event->kind == EVENT_CUT_BACK)
                n += snprintf(buffer + n, EVENT_LINE_MAX - (size_t)n, " size=%" PRIu64 "%s",
                              event->size, event->kind == EVENT_CUT_BACK ? " cut=1" : "");
        if (event->kind == EVENT_SEAL)
                n += snprintf(buffer + n, EVENT_LINE_MAX - (size_t)n, " seals=%" PRIu32,
                              event->seals);
        if (event->pid != 0)
                n += snprintf(buffer + n, EVENT_LINE_MAX - (size_t)n, " uid=%" PRIu32 " pid=%d",
                              event->uid, (int)event->pid);
        n += snprintf(buffer + n, EVENT_LINE_MAX - (size_t)n, "\n");
        return (size_t)n;
}

/* Only root gets the number of lost events: some of them may not be for the reader. */
static size_t event_print_lost(const struct event_cursor *cursor, struct caller *caller,
                               char buffer[EVENT_LINE_MAX]) {
        int n;

        if (caller_is_root(caller))
                n = snprintf(buffer, EVENT_LINE_MAX, "%" PRIu64 " overflow - lost=%" PRIu64 "\n",
                             cursor->told + 1, cursor->lost);
        else
                n = snprintf(buffer, EVENT_LINE_MAX, "%" PRIu64 " overflow -\n", cursor->told + 1);
        return (size_t)n;
}

void event_seek_end(const struct tree *tree, struct event_cursor *cursor) {
        *cursor = (struct event_cursor){.next = event_next(tree)};
}

bool event_is_at_end(const struct tree *tree, const struct event_cursor *cursor) {
        return cursor->lost == 0 && cursor->next == event_next(tree);
}

/* A call of event_read(). */
struct event_scan {
        const struct tree *tree;
        const struct event_reader *reader;
        struct event_cursor *cursor;
        struct path scope;
        int floor; /* the value at which the budget is used up */
};

/* False: the budget was used up already. */
static bool event_scan_begin(struct event_scan *scan) {
        const struct event_reader *reader = scan->reader;
        int depth, steps;

        if (*reader->budget <= 0)
                return false;
        /* The present path of the reader's directory; it is compared with the paths of the
         * events. */
        scan->scope.start = sizeof(scan->scope.bytes);
        depth = path_put_dirs(&scan->scope, scan->tree, reader->dir);
        *reader->budget -= depth;
        steps = 1 + depth / DIRS_PER_STEP;
        scan->floor = *reader->budget < steps ? *reader->budget - steps : 0;
        return true;
}

/* Moves over events that are not for the reader.  Returns the first one that is, or NULL. */
static const struct event *event_scan_find(struct event_scan *scan, size_t *skip) {
        struct event_cursor *cursor = scan->cursor;
        int *budget = scan->reader->budget;

        for (; cursor->next < event_next(scan->tree) && *budget > scan->floor; cursor->next++) {
                const struct event *event = event_get(scan->tree, cursor->next);

                --*budget;
                if (scope_holds(&scan->scope, event, skip) &&
                    event_is_for(scan->tree, event, path_length(&scan->scope),
                                 scan->reader->caller))
                        return event;
        }
        return NULL;
}

/* Formats the line at the cursor; returns its length, 0 if there is none. */
static size_t event_scan_line(struct event_scan *scan, char line[EVENT_LINE_MAX]) {
        struct event_cursor *cursor = scan->cursor;
        const struct event *event;
        size_t skip;

        if (cursor->lost == 0 && cursor->next < event_first(scan->tree)) {
                if (cursor->partial > 0) {
                        /* The event that was partly read has left the ring: end its line. */
                        cursor->partial = 0;
                        line[0] = '\n';
                        return 1;
                }
                cursor->lost = event_first(scan->tree) - cursor->next;
                cursor->next = event_first(scan->tree);
        }
        if (cursor->lost > 0)
                return event_print_lost(cursor, scan->reader->caller, line);
        event = event_scan_find(scan, &skip);
        return event ? event_print(event, cursor->told + 1, skip, line) : 0;
}

size_t event_read(const struct tree *tree, const struct event_reader *reader,
                  struct event_cursor *cursor, char *buffer, size_t size) {
        struct event_scan scan = {.tree = tree, .reader = reader, .cursor = cursor};
        size_t used = 0, length, n;
        char line[EVENT_LINE_MAX];

        if (!event_scan_begin(&scan))
                return 0;
        while (used < size && (length = event_scan_line(&scan, line)) > 0) {
                n = length - cursor->partial;
                if (n > size - used)
                        n = size - used;
                memcpy(buffer + used, line + cursor->partial, n);
                used += n;
                cursor->partial += n;
                if (cursor->partial < length)
                        break;
                cursor->partial = 0;
                cursor->told++;
                if (cursor->lost > 0)
                        cursor->lost = 0;
                else
                        cursor->next++;
        }
        return used;
}

bool event_waits(const struct tree *tree, const struct event_reader *reader,
                 struct event_cursor *cursor) {
        struct event_scan scan = {.tree = tree, .reader = reader, .cursor = cursor};
        char line[EVENT_LINE_MAX];

        /* The rest of a line has to be read even if its event is gone. */
        return cursor->partial > 0 || (event_scan_begin(&scan) && event_scan_line(&scan, line) > 0);
}
