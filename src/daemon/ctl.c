/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "event.h"
#include "report.h"
#include "store.h"

enum {
        CTL_LINES_MAX = 1024,   /* commands of one write: what they change is one transaction */
        CTL_LISTINGS_MAX = 256, /* open listings of one user, each of which is a descriptor */
};

_Static_assert(COMMAND_ERROR_MAX + sizeof("line 1024: \n") <= LAYOUT_TEXT_BYTES,
               "the last error of a handle is one text record");

static const struct kind {
        const char *name;
        uint32_t mode;
        int verb; /* enum command_verb of command files, -1 for others */
} kinds[_CTL_N] = {
        [CTL_DIR] = {".ctl", S_IFDIR | 0555, -1},
        [CTL_CREATE] = {"create", S_IFREG | 0666, COMMAND_CREATE},
        [CTL_RESIZE] = {"resize", S_IFREG | 0666, COMMAND_RESIZE},
        [CTL_SEAL] = {"seal", S_IFREG | 0666, COMMAND_SEAL},
        [CTL_REMOVE] = {"remove", S_IFREG | 0666, COMMAND_REMOVE},
        [CTL_DEFAULT] = {"default", S_IFREG | 0666, COMMAND_DEFAULT},
        [CTL_REGIONS] = {"regions", S_IFREG | 0444, -1},
        [CTL_REGIONS_JSON] = {"regions.json", S_IFREG | 0444, -1},
        [CTL_EVENTS] = {"events", S_IFREG | 0444, -1},
        [CTL_STATS] = {"stats", S_IFREG | 0444, -1},
        [CTL_SOCKET] = {"socket", S_IFLNK | 0777, -1},
        [CTL_ADMIN] = {"admin", S_IFREG | 0600, COMMAND_ADMIN},
};

struct ctl {
        struct commander *commander;
        struct arena *arena;
        struct root *root;
        bool testing; /* the test-only command `crash` works */

        char text[64];    /* of a default that is being read */
        struct run *runs; /* suspended writes */
        ctl_answer_fn answer;
        void *answer_userdata;

        /* Of the handle closed last.  Its number may go only when the transaction is committed: by
         * then, and no sooner, no record names it. */
        int closing_fd;
};

int ctl_new(struct ctl **out, struct commander *commander) {
        const char *testing = getenv("IOMEMFS_TESTING");
        struct ctl *ctl;

        ctl = calloc(1, sizeof(*ctl));
        if (!ctl)
                return -ENOMEM;
        ctl->commander = commander;
        ctl->arena = commander->arena;
        ctl->root = arena_root(commander->arena);
        ctl->testing = testing && strcmp(testing, "1") == 0;
        ctl->closing_fd = -1;
        *out = ctl;
        return 0;
}

static void ctl_finish_close(struct ctl *ctl) {
        if (ctl->closing_fd >= 0)
                close(ctl->closing_fd);
        ctl->closing_fd = -1;
}

struct ctl *ctl_free(struct ctl *ctl) {
        if (!ctl)
                return NULL;
        ctl_finish_close(ctl);
        free(ctl);
        return NULL;
}

/* Names and attributes */

const char *ctl_name(enum ctl_kind kind) {
        return kinds[kind].name;
}

const char *ctl_socket_path(const struct ctl *ctl) {
        return ctl->root->settings.socket;
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
                if (strlen(kinds[kind].name) == length &&
                    memcmp(kinds[kind].name, name, length) == 0 &&
                    ctl_has(ctl, (enum ctl_kind)kind, dir))
                        return (enum ctl_kind)kind;
        return CTL_NONE;
}

void ctl_stat(const struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct stat *st) {
        const struct timespec birth = {dir->btime.sec, dir->btime.nsec};

        *st = (struct stat){
                .st_mode = kinds[kind].mode,
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

static struct handle *ctl_handle(const struct ctl *ctl, uint32_t id) {
        struct handle *handle = arena_get(ctl->arena, TABLE_HANDLE, id);

        return handle && handle->id == id ? handle : NULL;
}

static bool ctl_is_admin(const struct ctl *ctl, const struct caller *caller) {
        return caller->uid == 0 || caller->uid == ctl->root->settings.owner;
}

int ctl_open(struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct caller *caller,
             uint32_t *out) {
        struct handle *handle;
        uint32_t id;

        ctl_finish_close(ctl);
        if (!S_ISREG(kinds[kind].mode) || !ctl_has(ctl, kind, dir))
                return -ENXIO;
        if (kind == CTL_ADMIN && !ctl_is_admin(ctl, caller))
                return -EACCES;
        id = arena_new(ctl->arena, TABLE_HANDLE);
        handle = arena_get(ctl->arena, TABLE_HANDLE, id);
        if (!handle)
                return -ENFILE;
        *handle = (struct handle){
                .id = id,
                .kind = kind,
                .dir = dir->id,
                .fd = -1,
                .uid = caller->uid,
                .base = UINT64_MAX,
        };
        event_seek_end(ctl->commander->tree, &handle->cursor, caller->uid);
        *out = id;
        return 0;
}

void ctl_close(struct ctl *ctl, uint32_t id) {
        struct handle *handle = ctl_handle(ctl, id);

        ctl_finish_close(ctl);
        if (!handle)
                return;
        ctl->closing_fd = handle->fd;
        if (handle->text)
                arena_delete(ctl->arena, TABLE_TEXT, handle->text);
        arena_delete(ctl->arena, TABLE_HANDLE, id);
}

/* Listings */

static bool ctl_may_list(const struct ctl *ctl, uint32_t uid) {
        uint32_t high = arena_high(ctl->arena, TABLE_HANDLE);
        unsigned int listings = 0;

        for (uint32_t id = 1; uid != 0 && id <= high; id++) {
                const struct handle *handle = ctl_handle(ctl, id);

                if (handle && handle->fd >= 0 && handle->uid == uid)
                        listings++;
        }
        return listings < CTL_LISTINGS_MAX;
}

static int ctl_render(struct ctl *ctl, const struct handle *handle, struct caller *caller,
                      FILE *stream) {
        struct commander *commander = ctl->commander;
        struct node *dir = tree_node(commander->tree, handle->dir);

        if (!dir)
                return -ESTALE;
        switch (handle->kind) {
        case CTL_REGIONS:
                return report_table(stream, commander->tree, commander->regions, caller, dir);
        case CTL_REGIONS_JSON:
                return report_json(stream, commander->tree, commander->regions, caller, dir);
        default:
                return report_stats(stream, commander->tree, commander->regions);
        }
}

/* Gives the handle its memfd, which it keeps until it is closed. */
static int ctl_make_fd(struct ctl *ctl, struct handle *handle) {
        int fd;

        if (handle->fd >= 0)
                return 0;
        if (!ctl_may_list(ctl, handle->uid))
                return -EMFILE;
        fd = memfd_create("iomemfs-ctl", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (handle->uid != 0 && store_leave_spare(fd, STORE_SPARE / 2) < 0)
                return -EMFILE;
        ARENA_SET(ctl->arena, handle->fd, fd);
        return 0;
}

static int write_all(int fd, const char *bytes, size_t size) {
        size_t at = 0;

        if (ftruncate(fd, 0) < 0)
                return -errno;
        while (at < size) {
                ssize_t n = pwrite(fd, bytes + at, size - at, (off_t)at);

                if (n < 0)
                        return -errno;
                at += (size_t)n;
        }
        return 0;
}

/* Renders the listing anew into the handle's memfd. */
static int ctl_snapshot(struct ctl *ctl, struct handle *handle, struct caller *caller) {
        char *text = NULL;
        size_t size = 0;
        FILE *stream;
        int r;

        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;
        r = ctl_render(ctl, handle, caller, stream);
        if (fclose(stream) != 0)
                r = -ENOMEM;
        if (r == 0)
                r = ctl_make_fd(ctl, handle);
        if (r == 0)
                r = write_all(handle->fd, text, size);
        free(text);
        return r;
}

static ssize_t ctl_read_listing(struct ctl *ctl, struct handle *handle, struct caller *caller,
                                char *buffer, size_t size, uint64_t offset) {
        ssize_t n;

        if (offset == 0 || handle->fd < 0) {
                int r = ctl_snapshot(ctl, handle, caller);

                if (r < 0)
                        return r;
        }
        n = pread(handle->fd, buffer, size, (off_t)offset);
        return n < 0 ? -errno : n;
}

/* Usage and errors */

/* What holds in the directory, as it would be written. */
static const char *ctl_default(struct ctl *ctl, const struct handle *handle) {
        const struct node *dir = tree_node(ctl->commander->tree, handle->dir);
        char mode[sizeof("mode=7777")] = "";
        uint32_t flags, bits;

        if (!dir)
                return "none\n";
        command_defaults(ctl->commander->tree, dir, &flags, &bits);
        if (bits != LAYOUT_NO_MODE)
                snprintf(mode, sizeof(mode), "mode=%04o", bits & 07777);
        snprintf(ctl->text, sizeof(ctl->text), "%s%s%s%s%s", mode, mode[0] && flags ? " " : "",
                 flags & NODE_EPHEMERAL ? "ephemeral" : "",
                 flags == (NODE_EPHEMERAL | NODE_HUGE) ? " " : "", flags & NODE_HUGE ? "huge" : "");
        if (!ctl->text[0])
                strcpy(ctl->text, "none");
        strcat(ctl->text, "\n");
        return ctl->text;
}

static const char *ctl_usage(struct ctl *ctl, const struct handle *handle) {
        if (handle->kind == CTL_DEFAULT)
                return ctl_default(ctl, handle);
        return command_usage((enum command_verb)kinds[handle->kind].verb);
}

static ssize_t ctl_read_text(struct ctl *ctl, struct handle *handle, char *buffer, size_t size,
                             uint64_t offset) {
        const struct text *record = arena_get(ctl->arena, TABLE_TEXT, handle->text);
        const char *text = record ? record->bytes : ctl_usage(ctl, handle);
        size_t length = record ? handle->text_length : strlen(text);
        uint64_t at;

        /* The writes before have moved the file's position; the text begins where that is. */
        if (offset < handle->base)
                ARENA_SET(ctl->arena, handle->base, offset);
        at = offset - handle->base;
        if (at >= length)
                return 0;
        if (size > length - at)
                size = length - at;
        memcpy(buffer, text + at, size);
        return (ssize_t)size;
}

/* Events */

static ssize_t ctl_read_events(struct ctl *ctl, struct handle *handle, char *buffer, size_t size) {
        const struct node *dir = tree_node(ctl->commander->tree, handle->dir);
        size_t n;

        if (!dir)
                return -ESTALE;
        arena_touch(ctl->arena, &handle->cursor, sizeof(handle->cursor));
        n = event_read(ctl->commander->tree, dir, &handle->cursor, buffer, size);
        return n > 0 || size == 0 ? (ssize_t)n : -EAGAIN;
}

static bool ctl_has_event(const struct ctl *ctl, const struct handle *handle) {
        const struct node *dir = tree_node(ctl->commander->tree, handle->dir);

        /* A directory that is gone is something to be told, too. */
        return !dir || event_waits(ctl->commander->tree, dir, &handle->cursor);
}

bool ctl_poll(struct ctl *ctl, uint32_t id, uint64_t key) {
        struct handle *handle = ctl_handle(ctl, id);

        if (!handle || ctl_has_event(ctl, handle))
                return true;
        ARENA_SET(ctl->arena, handle->poll, key);
        return false;
}

void ctl_wake(struct ctl *ctl, void (*wake)(void *userdata, uint64_t key), void *userdata) {
        uint32_t high = arena_high(ctl->arena, TABLE_HANDLE);

        if (arena_used(ctl->arena, TABLE_HANDLE) == 0)
                return;
        for (uint32_t id = 1; id <= high; id++) {
                struct handle *handle = ctl_handle(ctl, id);

                if (!handle || handle->poll == 0 || !ctl_has_event(ctl, handle))
                        continue;
                wake(userdata, handle->poll);
                ARENA_SET(ctl->arena, handle->poll, 0);
        }
}

ssize_t ctl_read(struct ctl *ctl, uint32_t id, struct caller *caller, char *buffer, size_t size,
                 uint64_t offset) {
        struct handle *handle = ctl_handle(ctl, id);

        ctl_finish_close(ctl);
        if (!handle)
                return -EBADF;
        if (handle->kind == CTL_EVENTS)
                return ctl_read_events(ctl, handle, buffer, size);
        if (kinds[handle->kind].verb >= 0)
                return ctl_read_text(ctl, handle, buffer, size, offset);
        return ctl_read_listing(ctl, handle, caller, buffer, size, offset);
}

/* Keeps the text for reading; line is 0 if there was just one. */
static void ctl_keep_error(struct ctl *ctl, struct handle *handle, unsigned int line,
                           const struct command_error *error) {
        struct text *record;

        arena_touch(ctl->arena, handle, sizeof(*handle));
        if (!handle->text)
                handle->text = arena_new(ctl->arena, TABLE_TEXT);
        record = arena_get(ctl->arena, TABLE_TEXT, handle->text);
        if (!record)
                return;
        arena_touch(ctl->arena, record, sizeof(*record));
        record->id = handle->text;
        if (line)
                snprintf(record->bytes, sizeof(record->bytes), "line %u: %s\n", line, error->text);
        else
                snprintf(record->bytes, sizeof(record->bytes), "%s\n", error->text);
        handle->text_length = (uint32_t)strlen(record->bytes);
}

/* Commands */

static int ctl_error(struct command_error *error, int r, const char *text) {
        snprintf(error->text, sizeof(error->text), "%s", text);
        return r;
}

/* As tmpfs answers a remount below what is in use. */
static int ctl_remount(struct ctl *ctl, const struct command *command,
                       struct command_error *error) {
        struct space space;
        int r;

        if (command->has_limit_nodes && command->limit_nodes != 0 &&
            command->limit_nodes < tree_inodes(ctl->commander->tree))
                return ctl_error(error, -EINVAL, "nr_inodes= is less than what is in use");
        if (command->has_limit_bytes) {
                regions_space(ctl->commander->regions, &space);
                if (command->limit_bytes != 0 && command->limit_bytes < space.used)
                        return ctl_error(error, -EINVAL, "size= is less than what is in use");
                r = regions_set_limit(ctl->commander->regions, command->limit_bytes);
                if (r == -ENOSPC)
                        return ctl_error(error, -EINVAL, "size= is less than what is in use");
                if (r < 0)
                        return ctl_error(error, r, strerrordesc_np(-r));
        }
        if (command->has_limit_nodes)
                ARENA_SET(ctl->arena, ctl->root->limit_nodes, command->limit_nodes);
        return 0;
}

static void ctl_arm_crash(struct ctl *ctl, const struct command *command) {
        struct root *root = ctl->root;

        if (command->has_crash_opcode) {
                ARENA_SET(ctl->arena, root->crash_opcode, (uint32_t)command->crash_opcode);
                return;
        }
        ARENA_SET(ctl->arena, root->crash_wanted, command->crash_after + 1);
        ARENA_SET(ctl->arena, root->crash_again, command->crash_again);
}

static int ctl_run_admin(struct ctl *ctl, struct caller *caller, const struct command *command,
                         struct command_error *error) {
        if (!ctl_is_admin(ctl, caller))
                return ctl_error(error, -EPERM, "only the owner of the mount may do that");
        if (command->upgrade) {
                ARENA_SET(ctl->arena, ctl->root->upgrade_wanted, 1);
                return 0;
        }
        if (command->has_crash || command->has_crash_opcode) {
                if (!ctl->testing)
                        return ctl_error(error, -EPERM, "crash is for tests");
                ctl_arm_crash(ctl, command);
                return 0;
        }
        return ctl_remount(ctl, command, error);
}

/* One write(2): its lines are carried out one after the other, with waits in between. */
struct run {
        struct ctl *ctl;
        uint32_t handle;
        uint64_t unique;
        struct caller *caller;
        const char *text;
        size_t size;
        const char *at; /* the line that is carried out */
        unsigned int line, lines;

        /* A suspended one is on the heap, with copies of all. */
        struct caller own_caller;
        char *own_text;
        struct command *command;
        uint32_t node; /* the region that is being populated */
        struct population *population;
        struct run *next;
};

static void run_free(struct run *run) {
        caller_clear(&run->own_caller);
        free(run->own_text);
        free(run->command);
        free(run);
}

static int ctl_run_line(struct run *run, struct node *dir, struct command_error *error) {
        struct ctl *ctl = run->ctl;
        const struct handle *handle = ctl_handle(ctl, run->handle);
        struct command *command = run->command;
        struct node *node = NULL;
        int r;

        ctl->root->counters.commands++;
        r = command_parse(command, (enum command_verb)kinds[handle->kind].verb, run->at,
                          strcspn(run->at, "\n"), error);
        if (r == 0 && command->verb == COMMAND_ADMIN)
                r = ctl_run_admin(ctl, run->caller, command, error);
        else if (r == 0)
                r = command_run(ctl->commander, dir, run->caller, command, &node, error);
        if (r == -EINPROGRESS)
                run->node = node->id;
        else if (r < 0)
                ctl->root->counters.command_errors++;
        return r;
}

/* Whether a write is made of whole lines; nothing of it is done otherwise. */
static int check_lines(const char *buffer, size_t size, unsigned int *lines,
                       struct command_error *error) {
        if (size > COMMAND_TEXT_MAX)
                return ctl_error(error, -EINVAL, "more than 64 KiB in one write");
        if (size == 0 || buffer[size - 1] != '\n')
                return ctl_error(error, -EINVAL, "the newline at the end is missing");
        if (memchr(buffer, '\0', size))
                return ctl_error(error, -EINVAL, "a NUL byte in the command");
        *lines = 0;
        for (size_t i = 0; i < size; i++) {
                if (buffer[i] != '\n')
                        continue;
                if (i == 0 || buffer[i - 1] == '\n')
                        return ctl_error(error, -EINVAL, "an empty line");
                ++*lines;
        }
        if (*lines > CTL_LINES_MAX)
                return ctl_error(error, -EINVAL, "more than 1024 lines in one write");
        return 0;
}

static void run_fail(struct run *run, const struct command_error *error) {
        ctl_keep_error(run->ctl, ctl_handle(run->ctl, run->handle), run->lines > 1 ? run->line : 0,
                       error);
}

static void run_next(struct run *run) {
        run->at += strcspn(run->at, "\n") + 1;
        run->line++;
}

/* Carries out the lines that are left, up to one that has to wait: -EINPROGRESS. */
static int run_lines(struct run *run, struct node *dir) {
        struct command_error error = {""};
        int r = 0;

        for (; run->line <= run->lines; run_next(run)) {
                r = ctl_run_line(run, dir, &error);
                if (r < 0)
                        break;
        }
        if (r < 0 && r != -EINPROGRESS)
                run_fail(run, &error);
        return r;
}

static void run_on_populated(void *userdata, int result, uint64_t huge);

/* Waits for the population of the line's region; everything before it is done for good. */
static int run_wait(struct run *run) {
        struct ctl *ctl = run->ctl;
        struct handle *handle = ctl_handle(ctl, run->handle);
        const struct node *node = tree_node(ctl->commander->tree, run->node);

        arena_touch(ctl->arena, handle, sizeof(*handle));
        handle->unique = run->unique;
        handle->done = run->line - 1;
        return command_populate(ctl->commander, run->command, node, &run->population,
                                run_on_populated, run);
}

static void run_finish(struct run *run, int r) {
        struct ctl *ctl = run->ctl;
        struct run **at = &ctl->runs;

        while (*at != run)
                at = &(*at)->next;
        *at = run->next;
        if (r == -ECANCELED)
                r = -EINTR;
        ctl->answer(ctl->answer_userdata, run->unique, r < 0 ? r : (int)run->size);
        run_free(run);
}

static void run_on_populated(void *userdata, int result, uint64_t huge) {
        struct run *run = userdata;
        struct ctl *ctl = run->ctl;
        const struct handle *handle = ctl_handle(ctl, run->handle);
        struct node *dir = tree_node(ctl->commander->tree, handle->dir);
        struct node *node = tree_node(ctl->commander->tree, run->node);
        struct command_error error = {""};
        int r;

        run->population = NULL;
        if (dir) {
                r = command_finish(ctl->commander, dir, run->caller, run->command, node, result,
                                   huge, &error);
        } else {
                command_abort(ctl->commander, node);
                r = ctl_error(&error, -ESTALE, "the directory is gone");
        }
        if (r < 0) {
                ctl->root->counters.command_errors++;
                run_fail(run, &error);
        } else {
                run_next(run);
                r = run_lines(run, dir);
        }
        if (r == -EINPROGRESS) {
                r = run_wait(run);
                if (r == 0) {
                        arena_commit(ctl->arena);
                        return;
                }
                command_abort(ctl->commander, tree_node(ctl->commander->tree, run->node));
        }
        run_finish(run, r);
}

/* Puts a write that has to wait on the heap. */
static int run_suspend(const struct run *run) {
        struct run *own = malloc(sizeof(*own));
        int r;

        if (!own)
                return -ENOMEM;
        *own = *run;
        own->own_text = malloc(run->size + 1);
        if (!own->own_text) {
                free(own);
                return -ENOMEM;
        }
        memcpy(own->own_text, run->text, run->size);
        own->own_text[run->size] = '\0';
        own->at = own->own_text + (run->at - run->text);
        own->text = own->own_text;
        own->own_caller = (struct caller){
                .uid = run->caller->uid,
                .gid = run->caller->gid,
                .pid = run->caller->pid,
        };
        own->caller = &own->own_caller;
        r = run_wait(own);
        if (r < 0) {
                own->command = NULL;
                run_free(own);
                return r;
        }
        own->next = run->ctl->runs;
        run->ctl->runs = own;
        return -EINPROGRESS;
}

void ctl_set_answer(struct ctl *ctl, ctl_answer_fn answer, void *userdata) {
        ctl->answer = answer;
        ctl->answer_userdata = userdata;
}

void ctl_cancel(struct ctl *ctl, uint64_t unique) {
        for (struct run *run = ctl->runs; run; run = run->next)
                if (run->unique == unique)
                        population_cancel(run->population);
}

static int ctl_start(struct run *run, struct handle *handle, struct node *dir) {
        int r;

        /* Resent after a crash in the middle: goes on where it was. */
        if (handle->unique == run->unique)
                while (run->line <= handle->done)
                        run_next(run);
        r = run_lines(run, dir);
        if (r != -EINPROGRESS)
                return r;
        r = run_suspend(run);
        if (r == -EINPROGRESS)
                run->command = NULL; /* the suspended one's now */
        else
                command_abort(run->ctl->commander, tree_node(run->ctl->commander->tree, run->node));
        return r;
}

ssize_t ctl_write(struct ctl *ctl, uint32_t id, struct caller *caller, uint64_t unique,
                  const char *buffer, size_t size) {
        struct handle *handle = ctl_handle(ctl, id);
        struct command_error error = {""};
        struct run run = {
                .ctl = ctl,
                .handle = id,
                .unique = unique,
                .caller = caller,
                .text = buffer,
                .size = size,
                .at = buffer,
                .line = 1,
        };
        struct node *dir;
        int r;

        ctl_finish_close(ctl);
        if (!handle || kinds[handle->kind].verb < 0)
                return -EBADF;
        dir = tree_node(ctl->commander->tree, handle->dir);
        if (!dir)
                return -ESTALE;
        /* The write may move the file's position. */
        ARENA_SET(ctl->arena, handle->base, UINT64_MAX);
        r = check_lines(buffer, size, &run.lines, &error);
        if (r < 0) {
                ctl_keep_error(ctl, handle, 0, &error);
                return r;
        }
        run.command = malloc(sizeof(*run.command)); /* with a name of PATH_MAX */
        r = run.command ? ctl_start(&run, handle, dir) : -ENOMEM;
        free(run.command);
        return r < 0 ? r : (ssize_t)size;
}
