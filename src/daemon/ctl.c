/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "report.h"

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
        case CTL_EVENTS:
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

static ssize_t ctl_read_text(struct ctl *ctl, struct handle *handle, char *buffer, size_t size,
                             uint64_t offset) {
        const struct text *record = arena_get(ctl->arena, TABLE_TEXT, handle->text);
        const char *text =
                record ? record->bytes : command_usage((enum command_verb)kinds[handle->kind].verb);
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

ssize_t ctl_read(struct ctl *ctl, uint32_t id, struct caller *caller, char *buffer, size_t size,
                 uint64_t offset) {
        struct handle *handle = ctl_handle(ctl, id);

        ctl_finish_close(ctl);
        if (!handle)
                return -EBADF;
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
            command->limit_nodes < arena_used(ctl->arena, TABLE_NODE))
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

static int ctl_run_line(struct ctl *ctl, const struct handle *handle, struct node *dir,
                        struct caller *caller, const char *line, size_t length,
                        struct command_error *error) {
        struct command *command;
        int r;

        command = malloc(sizeof(*command)); /* a name of PATH_MAX is too much for the stack */
        if (!command)
                return ctl_error(error, -ENOMEM, "out of memory");
        ctl->root->counters.commands++;
        r = command_parse(command, (enum command_verb)kinds[handle->kind].verb, line, length,
                          error);
        if (r == 0 && command->verb == COMMAND_ADMIN)
                r = ctl_run_admin(ctl, caller, command, error);
        else if (r == 0)
                r = command_run(ctl->commander, dir, caller, command, NULL, error);
        if (r < 0)
                ctl->root->counters.command_errors++;
        free(command);
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

static int ctl_run_lines(struct ctl *ctl, struct handle *handle, struct node *dir,
                         struct caller *caller, const char *buffer, unsigned int lines) {
        struct command_error error = {""};
        int r = 0;

        for (unsigned int line = 1; line <= lines && r == 0; line++) {
                size_t length = strcspn(buffer, "\n");

                r = ctl_run_line(ctl, handle, dir, caller, buffer, length, &error);
                if (r < 0)
                        ctl_keep_error(ctl, handle, lines > 1 ? line : 0, &error);
                buffer += length + 1;
        }
        return r;
}

ssize_t ctl_write(struct ctl *ctl, uint32_t id, struct caller *caller, const char *buffer,
                  size_t size) {
        struct handle *handle = ctl_handle(ctl, id);
        struct command_error error = {""};
        struct node *dir;
        unsigned int lines;
        int r;

        ctl_finish_close(ctl);
        if (!handle || kinds[handle->kind].verb < 0)
                return -EBADF;
        dir = tree_node(ctl->commander->tree, handle->dir);
        if (!dir)
                return -ESTALE;
        /* The write may move the file's position. */
        ARENA_SET(ctl->arena, handle->base, UINT64_MAX);
        r = check_lines(buffer, size, &lines, &error);
        if (r < 0)
                ctl_keep_error(ctl, handle, 0, &error);
        else
                r = ctl_run_lines(ctl, handle, dir, caller, buffer, lines);
        return r < 0 ? r : (ssize_t)size;
}
