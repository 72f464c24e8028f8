/* SPDX-License-Identifier: MIT */
#include "control/ctl_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "volume/event.h"

const struct ctl_file ctl_files[_CTL_N] = {
        [CTL_DIR] = {".ctl", S_IFDIR | 0777, -1},
        [CTL_CREATE] = {"create", S_IFREG | 0666, COMMAND_CREATE},
        [CTL_RESIZE] = {"resize", S_IFREG | 0666, COMMAND_RESIZE},
        [CTL_SEAL] = {"seal", S_IFREG | 0666, COMMAND_SEAL},
        [CTL_REMOVE] = {"remove", S_IFREG | 0666, COMMAND_REMOVE},
        [CTL_DEFAULT] = {"default", S_IFREG | 0666, COMMAND_DEFAULT},
        [CTL_LIMIT] = {"limit", S_IFREG | 0666, COMMAND_LIMIT},
        [CTL_REGIONS] = {"regions", S_IFREG | 0444, -1},
        [CTL_REGIONS_JSON] = {"regions.json", S_IFREG | 0444, -1},
        [CTL_LIMITS_JSON] = {"limits.json", S_IFREG | 0444, -1},
        [CTL_EVENTS] = {"events", S_IFREG | 0444, -1},
        [CTL_STATS] = {"stats", S_IFREG | 0444, -1},
        [CTL_SOCKET] = {"socket", S_IFLNK | 0777, -1},
        [CTL_ADMIN] = {"admin", S_IFREG | 0600, COMMAND_ADMIN},
        [CTL_ERROR] = {"error", S_IFREG | 0444, -1},
};

/* Construction */

static enum waiter_state ctl_look(void *userdata, uint32_t id);
static void ctl_tell_one(void *userdata, uint32_t id, void *readers);

/* Readers that polled when the last worker died may have missed an event. */
static int ctl_resume_polls(struct ctl *ctl) {
        uint32_t high = journal_high(ctl->journal, TABLE_HANDLE);
        int r = 0;

        for (uint32_t id = 1; r == 0 && id <= high; id++) {
                const struct handle *handle = handles_get(ctl->handles, id);

                if (handle && handle->poll != 0)
                        r = waiters_add(ctl->waiters, id, handle->dir, true);
        }
        return r;
}

static int ctl_build(struct ctl *ctl) {
        struct waiters_parts parts = {
                .look = ctl_look,
                .tell = ctl_tell_one,
                .userdata = ctl,
        };
        int r;

        r = handles_new(&ctl->handles, ctl->volume->txn);
        if (r == 0)
                r = turns_new(&ctl->turns, ctl->volume->loop);
        if (r == 0)
                r = listings_new(&ctl->listings, ctl->volume, ctl->handles, ctl->turns,
                                 ctl->testing ? &ctl->work : NULL);
        if (r == 0)
                r = last_errors_new(&ctl->errors, ctl->volume->txn, ctl->handles);
        parts.turns = ctl->turns;
        if (r == 0)
                r = waiters_new(&ctl->waiters, &parts);
        if (r == 0)
                r = ctl_resume_polls(ctl);
        return r;
}

int ctl_new(struct ctl **out, struct volume *volume) {
        const char *testing = getenv("IOMEMFS_TESTING");
        struct ctl *ctl;
        int r;

        ctl = calloc(1, sizeof(*ctl));
        if (!ctl)
                return -ENOMEM;
        ctl->volume = volume;
        ctl->journal = volume->journal;
        ctl->root = journal_root(volume->journal);
        ctl->testing = testing && strcmp(testing, "1") == 0;
        ctl->told = event_next(volume->tree);
        r = ctl_build(ctl);
        if (r < 0) {
                ctl_free(ctl);
                return r;
        }
        *out = ctl;
        return 0;
}

struct ctl *ctl_free(struct ctl *ctl) {
        if (!ctl)
                return NULL;
        waiters_free(ctl->waiters);
        last_errors_free(ctl->errors);
        listings_free(ctl->listings);
        turns_free(ctl->turns);
        handles_free(ctl->handles);
        free(ctl);
        return NULL;
}

/* Names and attributes */

const char *ctl_name(enum ctl_kind kind) {
        return ctl_files[kind].name;
}

const char *ctl_socket_path(const struct ctl *ctl) {
        return ctl->root->settings.socket;
}

struct listings *ctl_listings(const struct ctl *ctl) {
        return ctl->listings;
}

bool ctl_is_name(const struct ctl *ctl, const char *name) {
        return name[0] != '\0' && strcmp(ctl->root->settings.ctl_name, name) == 0;
}

static bool ctl_has(const struct ctl *ctl, enum ctl_kind kind, const struct node *dir) {
        switch (kind) {
        case CTL_NONE:
        case CTL_DIR:
                return false;
        case CTL_SOCKET:
                return ctl_socket_path(ctl)[0] != '\0';
        case CTL_ADMIN:
                return dir->id == LAYOUT_ROOT_ID;
        default:
                return true;
        }
}

enum ctl_kind ctl_lookup(const struct ctl *ctl, const struct node *dir, const char *name,
                         size_t length) {
        for (int kind = CTL_DIR + 1; kind < _CTL_N; kind++)
                if (strlen(ctl_files[kind].name) == length &&
                    memcmp(ctl_files[kind].name, name, length) == 0 &&
                    ctl_has(ctl, (enum ctl_kind)kind, dir))
                        return (enum ctl_kind)kind;
        return CTL_NONE;
}

void ctl_stat(const struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct stat *st) {
        const struct timespec birth = {dir->btime.sec, dir->btime.nsec};

        *st = (struct stat){
                .st_mode = ctl_files[kind].mode,
                .st_nlink = kind == CTL_DIR ? 2 : 1,
                .st_uid = kind == CTL_ADMIN ? ctl->root->settings.owner : dir->uid,
                .st_gid = dir->gid,
                .st_blksize = 4096,
                .st_atim = birth,
                .st_mtim = birth,
                .st_ctim = birth,
        };
        if (kind == CTL_SOCKET)
                st->st_size = (off_t)strlen(ctl_socket_path(ctl));
}

/* Handles */

bool ctl_is_admin(const struct ctl *ctl, struct caller *caller) {
        return handles_is_admin(ctl->handles, caller);
}

int ctl_open(struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct caller *caller,
             bool writes, uint32_t *out) {
        struct handle *handle;
        int r;

        if (!S_ISREG(ctl_files[kind].mode) || !ctl_has(ctl, kind, dir))
                return -ENXIO;
        if (writes && ctl_files[kind].verb < 0)
                return -EACCES;
        caller_resolve(caller);
        if (kind == CTL_ADMIN && !ctl_is_admin(ctl, caller))
                return -EACCES;
        r = handles_add(ctl->handles, caller, &handle);
        if (r < 0)
                return r;
        handle->kind = kind;
        handle->dir = dir->id;
        handle->dir_generation = dir->generation;
        event_seek_end(ctl->volume->tree, &handle->cursor);
        *out = handle->id;
        return 0;
}

void ctl_close(struct ctl *ctl, uint32_t id) {
        struct handle *handle = handles_get(ctl->handles, id);

        if (!handle)
                return;
        waiters_remove(ctl->waiters, id);
        handles_delete(ctl->handles, handle);
}

/* Usage and errors */

/* Adds a word to ctl->text. */
static void text_add(struct ctl *ctl, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

static void text_add(struct ctl *ctl, const char *format, ...) {
        size_t used = strlen(ctl->text);
        va_list args;

        if (used > 0)
                ctl->text[used++] = ' ';
        va_start(args, format);
        vsnprintf(ctl->text + used, sizeof(ctl->text) - used, format, args);
        va_end(args);
}

static const char *text_end(struct ctl *ctl) {
        if (!ctl->text[0])
                text_add(ctl, "none");
        strcat(ctl->text, "\n");
        return ctl->text;
}

/* The defaults of the directory, in the form in which they would be written. */
static const char *ctl_default(struct ctl *ctl, const struct node *dir) {
        uint32_t flags, bits;

        volume_defaults(ctl->volume, dir, &flags, &bits);
        if (bits != LAYOUT_NO_MODE)
                text_add(ctl, "mode=%04o", bits & 07777);
        if (flags & NODE_EPHEMERAL)
                text_add(ctl, "ephemeral");
        if (command_owner(flags))
                text_add(ctl, "owner=%s", command_owner(flags));
        if (flags & NODE_HUGE)
                text_add(ctl, "huge");
        if (flags & NODE_SPARSE)
                text_add(ctl, "sparse");
        return text_end(ctl);
}

/* The same of its limit. */
static const char *ctl_limit(struct ctl *ctl, const struct node *dir) {
        const struct limit *limit = volume_own_limit(ctl->volume, dir);

        if (limit && limit->bytes > 0)
                text_add(ctl, "size=%" PRIu64, limit->bytes);
        if (limit && limit->nodes > 0)
                text_add(ctl, "nr_inodes=%" PRIu64, limit->nodes);
        return text_end(ctl);
}

static const char *ctl_usage(struct ctl *ctl, const struct handle *handle) {
        const struct node *dir = tree_node(ctl->volume->tree, handle->dir);

        ctl->text[0] = '\0';
        if (handle->kind == CTL_DEFAULT)
                return dir ? ctl_default(ctl, dir) : text_end(ctl);
        if (handle->kind == CTL_LIMIT)
                return dir ? ctl_limit(ctl, dir) : text_end(ctl);
        return command_usage((enum command_verb)ctl_files[handle->kind].verb);
}

static ssize_t ctl_read_text(struct ctl *ctl, struct handle *handle, char *buffer, size_t size,
                             uint64_t offset) {
        const struct text *record = journal_get(ctl->journal, TABLE_TEXT, handle->text);
        const char *text = record ? record->bytes : ctl_usage(ctl, handle);
        size_t length = record ? handle->text_length : strlen(text);
        uint64_t at;

        /* Writes before have moved the file's position; the text begins there. */
        if (offset < handle->base)
                JOURNAL_SET(ctl->journal, handle->base, offset);
        at = offset - handle->base;
        if (at >= length)
                return 0;
        if (size > length - at)
                size = length - at;
        memcpy(buffer, text + at, size);
        return (ssize_t)size;
}

/* Events */

/* The reader of a file of events, and its directory; free it with caller_clear().  False: the
 * directory is gone. */
static bool ctl_event_reader(struct ctl *ctl, const struct handle *handle, struct caller *caller,
                             struct event_reader *out) {
        const struct node *dir = tree_node(ctl->volume->tree, handle->dir);

        if (!dir)
                return false;
        *caller = handles_opener(ctl->handles, handle, 0);
        *out = (struct event_reader){
                .dir = dir,
                .caller = caller,
                .budget = turns_left(ctl->turns),
        };
        return true;
}

static ssize_t ctl_read_events(struct ctl *ctl, struct handle *handle, char *buffer, size_t size) {
        struct event_reader reader;
        struct caller caller;
        size_t n;

        if (!ctl_event_reader(ctl, handle, &caller, &reader))
                return -ESTALE;
        journal_touch(ctl->journal, &handle->cursor, sizeof(handle->cursor));
        n = event_read(ctl->volume->tree, &reader, &handle->cursor, buffer, size);
        caller_clear(&caller);
        turns_used(ctl->turns);
        if (n > 0 || size == 0)
                return (ssize_t)n;
        return event_is_at_end(ctl->volume->tree, &handle->cursor) ? -EAGAIN : -EINPROGRESS;
}

static bool ctl_has_event(struct ctl *ctl, struct handle *handle) {
        struct event_reader reader;
        struct caller caller;
        bool has;

        /* A reader must also learn that its directory is gone. */
        if (!ctl_event_reader(ctl, handle, &caller, &reader))
                return true;
        journal_touch(ctl->journal, &handle->cursor, sizeof(handle->cursor));
        has = event_waits(ctl->volume->tree, &reader, &handle->cursor);
        caller_clear(&caller);
        turns_used(ctl->turns);
        return has;
}

bool ctl_poll(struct ctl *ctl, uint32_t id, uint64_t key) {
        struct handle *handle = handles_get(ctl->handles, id);
        bool has_event, queued;

        if (!handle)
                return true;
        has_event = ctl_has_event(ctl, handle);
        queued = !has_event && !event_is_at_end(ctl->volume->tree, &handle->cursor);
        /* Add it even if there is an event now.  An edge-triggered epoll(7) does not poll again
         * after it has read that event, and waits to be woken. */
        if (waiters_add(ctl->waiters, id, handle->dir, queued) < 0)
                return true;
        JOURNAL_SET(ctl->journal, handle->poll, key);
        return has_event;
}

void **ctl_await(struct ctl *ctl, uint32_t id) {
        const struct handle *handle = handles_get(ctl->handles, id);

        if (waiters_add(ctl->waiters, id, handle->dir, false) < 0)
                return NULL;
        return waiters_readers(ctl->waiters, id);
}

void **ctl_readers(struct ctl *ctl, uint32_t id) {
        return waiters_readers(ctl->waiters, id);
}

void ctl_set_wake(struct ctl *ctl, ctl_wake_fn wake, void *userdata) {
        ctl->wake = wake;
        ctl->wake_userdata = userdata;
}

static enum waiter_state ctl_look(void *userdata, uint32_t id) {
        struct ctl *ctl = userdata;
        struct handle *handle = handles_get(ctl->handles, id);
        enum waiter_state state = WAITER_TOLD;

        ctl->work.waiters = waiters_looked(ctl->waiters);
        if (handle && !ctl_has_event(ctl, handle))
                state = event_is_at_end(ctl->volume->tree, &handle->cursor) ? WAITER_WAITS
                                                                            : WAITER_BUSY;
        /* Commit the cursor, so that events that are not for it are not visited again. */
        (void)txn_commit(ctl->volume->txn);
        return state;
}

static void ctl_tell_one(void *userdata, uint32_t id, void *readers) {
        struct ctl *ctl = userdata;
        struct handle *handle = handles_get(ctl->handles, id);
        uint64_t key = handle ? handle->poll : 0;

        if (key != 0) {
                JOURNAL_SET(ctl->journal, handle->poll, 0);
                (void)txn_commit(ctl->volume->txn);
        }
        ctl->wake(ctl->wake_userdata, key, readers);
}

static void ctl_queue_scope(void *userdata, const struct node *dir) {
        struct ctl *ctl = userdata;

        if (dir)
                waiters_queue(ctl->waiters, dir->id);
        else
                waiters_queue_all(ctl->waiters);
}

void ctl_tell(struct ctl *ctl) {
        uint64_t next = event_next(ctl->volume->tree);

        if (ctl->told == next)
                return;
        if (!waiters_are_empty(ctl->waiters)) {
                event_scopes(ctl->volume->tree, ctl->told, ctl_queue_scope, ctl);
                waiters_look(ctl->waiters);
        }
        ctl->told = next;
}

/* Reading */

int ctl_wait_turn(struct ctl *ctl, struct turns_job *job) {
        return turns_wait(ctl->turns, job);
}

void ctl_cancel_turn(struct ctl *ctl, struct turns_job *job) {
        turns_cancel(ctl->turns, job);
}

ssize_t ctl_read(struct ctl *ctl, uint32_t id, char *buffer, size_t size, uint64_t offset,
                 bool again) {
        struct handle *handle = handles_get(ctl->handles, id);

        if (!handle)
                return -EBADF;
        if (handle->kind == CTL_EVENTS)
                return ctl_read_events(ctl, handle, buffer, size);
        if (handle->kind == CTL_ERROR)
                return last_error_read(ctl->errors, handle, buffer, size, offset);
        if (ctl_files[handle->kind].verb >= 0)
                return ctl_read_text(ctl, handle, buffer, size, offset);
        return listing_read(ctl->listings, handle, buffer, size, offset, again);
}
