/* SPDX-License-Identifier: MIT */
#include "socket/request.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/words.h"
#include "control/report_json.h"

/* A request that is being carried out. */
struct inquiry {
        struct volume *volume;
        struct listings *listings;
        struct caller *caller;
        const struct request *request;
        struct answer *answer;
        struct node *node; /* the node of the name */
};

void answer_clear(struct answer *answer) {
        answer->length = 0;
        answer->fd = answer->text_fd = -1;
        answer->listing = answer->populates = 0;
        answer->failed = answer->waits = answer->invalidations = false;
}

static void answer_say(struct answer *answer, const char *tag, int error, const char *text) {
        answer->length = protocol_answer(answer->text, sizeof(answer->text), tag, error, text);
        answer->failed = error < 0;
}

void answer_fail(struct answer *answer, const char *tag, int error, const char *text) {
        answer_clear(answer);
        answer_say(answer, tag, error, text);
}

static const char *inquiry_reason(int error) {
        switch (-error) {
        case EACCES:
                return "permission denied";
        case EISDIR:
                return "is a directory";
        case ELOOP:
                return "is or leads through a symbolic link";
        case ENFILE:
                return "too many listings and control files of this user are open";
        case ENOENT:
                return "no such region";
        case ENOSPC:
                return "no descriptors or memory left";
        case ENXIO:
                return "is not a region";
        case EPERM:
                return "is sealed against writing";
        default:
                return strerrordesc_np(-error);
        }
}

void answer_fail_name(struct answer *answer, const struct request *request, int error,
                      const char *reason) {
        const char *name = request->command.name;
        size_t length = strnlen(name, 64);
        char shown[4 * 64 + 1], text[COMMAND_ERROR_MAX + sizeof(shown)];

        words_escape(shown, name, length);
        snprintf(text, sizeof(text), "%s%s: %s", shown, name[length] ? "..." : "", reason);
        answer_fail(answer, request->tag, error, text);
}

static void inquiry_fail(struct inquiry *inquiry, int error) {
        answer_fail_name(inquiry->answer, inquiry->request, error, inquiry_reason(error));
}

static void inquiry_say_size(struct inquiry *inquiry) {
        char text[32];

        snprintf(text, sizeof(text), "%" PRIu64, inquiry->node->size);
        answer_say(inquiry->answer, inquiry->request->tag, 0, text);
}

/* Walks to the name as open(2) would, but follows no symbolic link. */
static int inquiry_find(struct inquiry *inquiry) {
        struct tree *tree = inquiry->volume->tree;
        struct node *dir = tree_node(tree, LAYOUT_ROOT_ID);
        const char *name;
        size_t length;
        int r;

        r = access_walk(tree, inquiry->caller, dir, inquiry->request->command.name, &dir, &name,
                        &length);
        return r < 0 ? r : tree_lookup(tree, dir, name, length, &inquiry->node);
}

static int inquiry_find_region(struct inquiry *inquiry) {
        int r = inquiry_find(inquiry);

        if (r < 0)
                return r;
        if (node_is_dir(inquiry->node))
                return -EISDIR;
        if (S_ISLNK(inquiry->node->mode))
                return -ELOOP;
        return node_is_region(inquiry->node) ? 0 : -ENXIO;
}

/* Whether the request would change something on a read-only mount. */
static bool inquiry_is_refused(const struct inquiry *inquiry) {
        const struct command *command = &inquiry->request->command;

        if (!inquiry->volume->root->settings.read_only)
                return false;
        switch (command->verb) {
        case COMMAND_LIST:
        case COMMAND_STAT:
        case COMMAND_WAIT:
                return false;
        case COMMAND_OPEN:
                return command->writable;
        default:
                return true;
        }
}

/* Descriptors */

static int inquiry_lend(struct inquiry *inquiry, bool writable) {
        const struct change by = {.caller = inquiry->caller, .unasked = true};
        int fd = volume_lend(inquiry->volume, &by, inquiry->node, writable);

        if (fd < 0)
                return fd;
        inquiry->answer->fd = fd;
        return 0;
}

static void inquiry_open(struct inquiry *inquiry) {
        bool writable = inquiry->request->command.writable;
        unsigned int mask = ACCESS_READ | (writable ? ACCESS_WRITE : 0);
        int r;

        r = inquiry_find_region(inquiry);
        if (r == 0 && !access_allows(inquiry->caller, inquiry->node, mask))
                r = -EACCES;
        if (r == 0)
                r = inquiry_lend(inquiry, writable);
        if (r < 0)
                inquiry_fail(inquiry, r);
        else
                inquiry_say_size(inquiry);
}

/* Commands that .ctl has, too. */

static int inquiry_run(struct inquiry *inquiry) {
        const struct command *command = &inquiry->request->command;
        struct node *root = tree_node(inquiry->volume->tree, LAYOUT_ROOT_ID);
        struct command_error error = {0};
        int r;

        r = command_run(inquiry->volume, root, inquiry->caller, command, &inquiry->node, &error);
        if (r == -EINPROGRESS)
                inquiry->answer->populates = inquiry->node->id;
        else if (r < 0)
                answer_fail(inquiry->answer, inquiry->request->tag, r, error.text);
        return r;
}

static void inquiry_create(struct inquiry *inquiry) {
        int r = inquiry_run(inquiry);

        if (r < 0)
                return;
        r = inquiry_lend(inquiry, true);
        if (r < 0)
                inquiry_fail(inquiry, r);
        else
                inquiry_say_size(inquiry);
}

static void inquiry_populated(struct inquiry *inquiry, int result, uint64_t huge) {
        struct volume *volume = inquiry->volume;
        struct node *root = tree_node(volume->tree, LAYOUT_ROOT_ID);
        struct command_error error = {0};
        int r;

        r = command_finish(volume, root, inquiry->caller, &inquiry->request->command, inquiry->node,
                           result, huge, &error);
        if (r < 0) {
                answer_fail(inquiry->answer, inquiry->request->tag, r, error.text);
                return;
        }
        r = inquiry_lend(inquiry, true);
        if (r < 0) {
                txn_abort(volume->txn);
                volume_drop(volume, inquiry->node);
                inquiry_fail(inquiry, r);
                return;
        }
        inquiry_say_size(inquiry);
}

static void inquiry_resize(struct inquiry *inquiry) {
        if (inquiry_run(inquiry) == 0)
                inquiry_say_size(inquiry);
}

static void inquiry_change(struct inquiry *inquiry) {
        if (inquiry_run(inquiry) == 0)
                answer_say(inquiry->answer, inquiry->request->tag, 0, "");
}

/* Reading */

/* Writes the text into a file, whose position stays at the start. */
static int text_store(struct inquiry *inquiry, const char *text, size_t length) {
        int fd = fault_strikes(FAULT_MEMFD) ? -1 : memfd_create("iomemfs-answer", MFD_CLOEXEC);

        if (fd < 0)
                return -ENOSPC;
        fd = txn_own_fd(inquiry->volume->txn, fd);
        if (fd < 0)
                return fd;
        if (pwrite(fd, text, length, 0) != (ssize_t)length)
                return -ENOSPC;
        inquiry->answer->text_fd = fd;
        inquiry->answer->length = length;
        return 0;
}

static int text_keep(struct inquiry *inquiry, const char *text, size_t length) {
        if (length > sizeof(inquiry->answer->text))
                return text_store(inquiry, text, length);
        memcpy(inquiry->answer->text, text, length);
        inquiry->answer->length = length;
        return 0;
}

/* Makes one line of the text: a newline in JSON can be replaced by a space. */
static int text_finish(struct inquiry *inquiry, char *text, size_t length) {
        while (length > 0 && text[length - 1] == '\n')
                length--;
        for (char *p = text; (p = memchr(p, '\n', (size_t)(text + length - p))); p++)
                *p = ' ';
        text[length++] = '\n';
        return text_keep(inquiry, text, length);
}

static int inquiry_render(struct inquiry *inquiry, FILE *stream) {
        fprintf(stream, "%sok ", inquiry->request->tag);
        return report_region(stream, inquiry->volume->regions, inquiry->node,
                             inquiry->request->command.name);
}

static void inquiry_report(struct inquiry *inquiry) {
        char *text = NULL;
        size_t length = 0;
        FILE *stream;
        int r = -ENOMEM;

        stream = open_memstream(&text, &length);
        if (stream) {
                r = inquiry_render(inquiry, stream);
                fputc('\n', stream); /* room for the newline that ends the reply */
                if (fclose(stream) != 0)
                        r = -ENOMEM;
        }
        if (r == 0)
                r = text_finish(inquiry, text, length);
        free(text);
        if (r < 0)
                inquiry_fail(inquiry, r);
}

/* Opens the listing; its pieces are rendered when they are sent. */
static int inquiry_open_listing(struct inquiry *inquiry) {
        char start[sizeof(inquiry->request->tag) + sizeof("ok ")];
        int r;

        r = listing_open(inquiry->listings, inquiry->caller, inquiry->node,
                         &inquiry->answer->listing);
        if (r < 0)
                return r;
        snprintf(start, sizeof(start), "%sok ", inquiry->request->tag);
        return text_store(inquiry, start, strlen(start));
}

static void inquiry_list(struct inquiry *inquiry) {
        int r = 0;

        if (inquiry->request->command.name[0])
                r = inquiry_find(inquiry);
        else
                inquiry->node = tree_node(inquiry->volume->tree, LAYOUT_ROOT_ID);
        if (r == 0 && !node_is_dir(inquiry->node))
                r = -ENOTDIR;
        if (r == 0 && !access_allows(inquiry->caller, inquiry->node, ACCESS_READ | ACCESS_SEARCH))
                r = -EACCES;
        if (r == 0)
                r = inquiry_open_listing(inquiry);
        if (r < 0)
                inquiry_fail(inquiry, r);
}

static void inquiry_stat(struct inquiry *inquiry) {
        int r = inquiry_find_region(inquiry);

        if (r < 0)
                inquiry_fail(inquiry, r);
        else
                inquiry_report(inquiry);
}

static void inquiry_wait(struct inquiry *inquiry) {
        struct stat st;
        int r = inquiry_find_region(inquiry);

        if (r == -ENOENT) {
                inquiry->answer->waits = true;
                return;
        }
        if (r == 0)
                r = region_stat(inquiry->volume->regions, inquiry->node, &st);
        if (r < 0)
                inquiry_fail(inquiry, r);
        else
                inquiry_say_size(inquiry);
}

static void (*const inquiries[])(struct inquiry *inquiry) = {
        [COMMAND_CREATE] = inquiry_create, [COMMAND_RESIZE] = inquiry_resize,
        [COMMAND_SEAL] = inquiry_change,   [COMMAND_REMOVE] = inquiry_change,
        [COMMAND_OPEN] = inquiry_open,     [COMMAND_LIST] = inquiry_list,
        [COMMAND_STAT] = inquiry_stat,     [COMMAND_WAIT] = inquiry_wait,
};

static void inquiry_end(struct inquiry *inquiry, uint64_t invalidations) {
        struct answer *answer = inquiry->answer;

        answer->invalidations = inquiry->volume->root->next_invalidation != invalidations;
}

void answer_request(struct volume *volume, struct listings *listings, struct caller *caller,
                    const struct request *request, struct answer *out) {
        struct inquiry inquiry = {
                .volume = volume,
                .listings = listings,
                .caller = caller,
                .request = request,
                .answer = out,
        };
        uint64_t invalidations = volume->root->next_invalidation;

        invalidations_begin(volume->invalidations, (struct invalidation_mark){0});
        answer_clear(out);
        if (request->error < 0)
                answer_fail(out, request->tag, request->error, request->error_text.text);
        else if (inquiry_is_refused(&inquiry))
                answer_fail_name(out, request, -EROFS, "the file system is mounted read-only");
        else
                inquiries[request->command.verb](&inquiry);
        if (out->failed)
                txn_abort(volume->txn);
        inquiry_end(&inquiry, invalidations);
}

void answer_populated(struct volume *volume, struct caller *caller, const struct request *request,
                      uint32_t node, int result, uint64_t huge, struct answer *out) {
        struct inquiry inquiry = {
                .volume = volume,
                .caller = caller,
                .request = request,
                .answer = out,
                .node = tree_node(volume->tree, node),
        };
        uint64_t invalidations = volume->root->next_invalidation;

        invalidations_begin(volume->invalidations, (struct invalidation_mark){0});
        answer_clear(out);
        inquiry_populated(&inquiry, result, huge);
        inquiry_end(&inquiry, invalidations);
}
