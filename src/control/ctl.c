/* SPDX-License-Identifier: MIT */
#include "control/ctl_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "volume/event.h"
#include "control/report.h"
#include "memory/backing.h"

enum {
        CTL_HANDLES_USERS = 48 * 1024, /* open files of .ctl of all users but root */
        CTL_LISTINGS_MAX = 256, /* open listings of one user, each of which is a descriptor */
};

const struct ctl_file ctl_files[_CTL_N] = {
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

int ctl_new(struct ctl **out, struct commander *commander) {
        const char *testing = getenv("IOMEMFS_TESTING");
        struct ctl *ctl;

        ctl = calloc(1, sizeof(*ctl));
        if (!ctl)
                return -ENOMEM;
        ctl->commander = commander;
        ctl->journal = commander->journal;
        ctl->root = journal_root(commander->journal);
        ctl->testing = testing && strcmp(testing, "1") == 0;
        ctl->closing_fd = -1;
        *out = ctl;
        return 0;
}

void ctl_finish_close(struct ctl *ctl) {
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
        return ctl_files[kind].name;
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

struct handle *ctl_handle(const struct ctl *ctl, uint32_t id) {
        struct handle *handle = journal_get(ctl->journal, TABLE_HANDLE, id);

        return handle && handle->id == id ? handle : NULL;
}

bool ctl_is_admin(const struct ctl *ctl, const struct caller *caller) {
        return caller->uid == 0 || caller->uid == ctl->root->settings.owner;
}

int ctl_open(struct ctl *ctl, enum ctl_kind kind, const struct node *dir, struct caller *caller,
             uint32_t *out) {
        struct handle *handle;
        uint32_t id;

        ctl_finish_close(ctl);
        if (!S_ISREG(ctl_files[kind].mode) || !ctl_has(ctl, kind, dir))
                return -ENXIO;
        if (kind == CTL_ADMIN && !ctl_is_admin(ctl, caller))
                return -EACCES;
        /* What is left then is for those who have to see to it. */
        if (caller->uid != 0 && journal_used(ctl->journal, TABLE_HANDLE) >= CTL_HANDLES_USERS)
                return -ENFILE;
        id = journal_new(ctl->journal, TABLE_HANDLE);
        handle = journal_get(ctl->journal, TABLE_HANDLE, id);
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
                journal_delete(ctl->journal, TABLE_TEXT, handle->text);
        journal_delete(ctl->journal, TABLE_HANDLE, id);
}

/* Listings */

static bool ctl_may_list(const struct ctl *ctl, uint32_t uid) {
        uint32_t high = journal_high(ctl->journal, TABLE_HANDLE);
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
        if (handle->uid != 0 && backing_leave_spare(fd, BACKING_SPARE / 2) < 0)
                return -EMFILE;
        JOURNAL_SET(ctl->journal, handle->fd, fd);
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
        return command_usage((enum command_verb)ctl_files[handle->kind].verb);
}

static ssize_t ctl_read_text(struct ctl *ctl, struct handle *handle, char *buffer, size_t size,
                             uint64_t offset) {
        const struct text *record = journal_get(ctl->journal, TABLE_TEXT, handle->text);
        const char *text = record ? record->bytes : ctl_usage(ctl, handle);
        size_t length = record ? handle->text_length : strlen(text);
        uint64_t at;

        /* The writes before have moved the file's position; the text begins where that is. */
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

static ssize_t ctl_read_events(struct ctl *ctl, struct handle *handle, char *buffer, size_t size) {
        const struct node *dir = tree_node(ctl->commander->tree, handle->dir);
        size_t n;

        if (!dir)
                return -ESTALE;
        journal_touch(ctl->journal, &handle->cursor, sizeof(handle->cursor));
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

        if (!handle)
                return true;
        /* Also if there is something now: an edge-triggered epoll(7) does not ask again after it has
         * read that, and waits to be woken. */
        JOURNAL_SET(ctl->journal, handle->poll, key);
        return ctl_has_event(ctl, handle);
}

void ctl_wake(struct ctl *ctl, void (*wake)(void *userdata, uint64_t key), void *userdata) {
        uint32_t high = journal_high(ctl->journal, TABLE_HANDLE);

        if (journal_used(ctl->journal, TABLE_HANDLE) == 0)
                return;
        for (uint32_t id = 1; id <= high; id++) {
                struct handle *handle = ctl_handle(ctl, id);

                if (!handle || handle->poll == 0 || !ctl_has_event(ctl, handle))
                        continue;
                wake(userdata, handle->poll);
                JOURNAL_SET(ctl->journal, handle->poll, 0);
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
        if (ctl_files[handle->kind].verb >= 0)
                return ctl_read_text(ctl, handle, buffer, size, offset);
        return ctl_read_listing(ctl, handle, caller, buffer, size, offset);
}
