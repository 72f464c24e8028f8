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
#include "base/errno_text.h"
#include "base/fault.h"
#include "base/words.h"
#include "control/report_json.h"

/* A request that is being carried out. */
struct request_context {
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
        answer->failed = answer->waits = answer->invalidations = answer->no_space = false;
}

static void answer_say(struct answer *answer, const char *tag, int error, const char *text) {
        answer->length = protocol_answer(answer->text, sizeof(answer->text), tag, error, text);
        answer->failed = error < 0;
}

void answer_fail(struct answer *answer, const char *tag, int error, const char *text) {
        answer_clear(answer);
        answer_say(answer, tag, error, text);
}

static const char *context_reason(int error) {
        switch (-error) {
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
                return "is sealed against writing, or handed out to its owner alone";
        default:
                return errno_text(error);
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

static void context_fail(struct request_context *context, int error) {
        answer_fail_name(context->answer, context->request, error, context_reason(error));
}

static void context_say_size(struct request_context *context) {
        char text[32];

        snprintf(text, sizeof(text), "%" PRIu64, context->node->size);
        answer_say(context->answer, context->request->tag, 0, text);
}

/* Walks to the name as open(2) would, but follows no symbolic link. */
static int context_find(struct request_context *context) {
        struct tree *tree = context->volume->tree;
        struct node *dir = tree_node(tree, LAYOUT_ROOT_ID);
        const char *name;
        size_t length;
        int r;

        r = access_walk(tree, context->caller, dir, context->request->command.name, &dir, &name,
                        &length);
        return r < 0 ? r : tree_lookup(tree, dir, name, length, &context->node);
}

static int context_find_region(struct request_context *context) {
        int r = context_find(context);

        if (r < 0)
                return r;
        if (node_is_dir(context->node))
                return -EISDIR;
        if (S_ISLNK(context->node->mode))
                return -ELOOP;
        return node_is_region(context->node) ? 0 : -ENXIO;
}

/* Whether the request would change something on a read-only mount. */
static bool context_is_refused(const struct request_context *context) {
        const struct command *command = &context->request->command;

        if (!context->volume->root->settings.read_only)
                return false;
        switch (command->verb) {
        case COMMAND_LIST:
        case COMMAND_LIMITS:
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

static int context_lend(struct request_context *context, bool writable) {
        const struct change by = {.caller = context->caller, .unasked = true};
        int fd = volume_lend(context->volume, &by, context->node, writable);

        if (fd < 0)
                return fd;
        context->answer->fd = fd;
        return 0;
}

static void context_open(struct request_context *context) {
        bool writable = context->request->command.writable;
        unsigned int mask = ACCESS_READ | (writable ? ACCESS_WRITE : 0);
        int r;

        r = context_find_region(context);
        if (r == 0 && !access_allows(context->volume->tree, context->caller, context->node, mask))
                r = -EACCES;
        if (r == 0)
                r = context_lend(context, writable);
        if (r < 0)
                context_fail(context, r);
        else
                context_say_size(context);
}

/* Commands that .ctl has, too. */

static int context_run(struct request_context *context) {
        const struct command *command = &context->request->command;
        struct node *root = tree_node(context->volume->tree, LAYOUT_ROOT_ID);
        struct command_error error = {0};
        int r;

        r = command_run(context->volume, root, context->caller, command, &context->node, &error);
        if (r == -EINPROGRESS)
                context->answer->populates = context->node->id;
        else if (r < 0)
                answer_fail(context->answer, context->request->tag, r, error.text);
        context->answer->no_space = r == -ENOSPC;
        return r;
}

static void context_create(struct request_context *context) {
        int r = context_run(context);

        if (r < 0)
                return;
        r = context_lend(context, !context->request->command.read_only_fd);
        if (r < 0)
                context_fail(context, r);
        else
                context_say_size(context);
}

static void context_populated(struct request_context *context, int result, uint64_t huge) {
        struct volume *volume = context->volume;
        struct node *root = tree_node(volume->tree, LAYOUT_ROOT_ID);
        struct command_error error = {0};
        int r;

        r = command_finish(volume, root, context->caller, &context->request->command, context->node,
                           result, huge, &error);
        if (r < 0) {
                answer_fail(context->answer, context->request->tag, r, error.text);
                return;
        }
        r = context_lend(context, !context->request->command.read_only_fd);
        if (r < 0) {
                txn_abort(volume->txn);
                volume_drop(volume, context->node);
                context_fail(context, r);
                return;
        }
        context_say_size(context);
}

static void context_resize(struct request_context *context) {
        if (context_run(context) == 0)
                context_say_size(context);
}

static void context_change(struct request_context *context) {
        if (context_run(context) == 0)
                answer_say(context->answer, context->request->tag, 0, "");
}

/* Reading */

/* Writes the text into a file, whose position stays at the start. */
static int text_store(struct request_context *context, const char *text, size_t length) {
        int fd = fault_strikes(FAULT_MEMFD) ? -1 : memfd_create("iomemfs-answer", MFD_CLOEXEC);

        if (fd < 0)
                return -ENOSPC;
        fd = txn_own_fd(context->volume->txn, fd);
        if (fd < 0)
                return fd;
        if (pwrite(fd, text, length, 0) != (ssize_t)length)
                return -ENOSPC;
        context->answer->text_fd = fd;
        context->answer->length = length;
        return 0;
}

static int text_keep(struct request_context *context, const char *text, size_t length) {
        if (length > sizeof(context->answer->text))
                return text_store(context, text, length);
        memcpy(context->answer->text, text, length);
        context->answer->length = length;
        return 0;
}

/* Makes one line of the text: a newline in JSON can be replaced by a space. */
static int text_finish(struct request_context *context, char *text, size_t length) {
        while (length > 0 && text[length - 1] == '\n')
                length--;
        for (char *p = text; (p = memchr(p, '\n', (size_t)(text + length - p))); p++)
                *p = ' ';
        text[length++] = '\n';
        return text_keep(context, text, length);
}

static int context_render(struct request_context *context, FILE *stream) {
        fprintf(stream, "%sok ", context->request->tag);
        return report_region(stream, context->volume->regions, context->node,
                             context->request->command.name);
}

static void context_report(struct request_context *context) {
        char *text = NULL;
        size_t length = 0;
        FILE *stream;
        int r = -ENOMEM;

        stream = open_memstream(&text, &length);
        if (stream) {
                r = context_render(context, stream);
                fputc('\n', stream); /* room for the newline that ends the reply */
                if (fclose(stream) != 0)
                        r = -ENOMEM;
        }
        if (r == 0)
                r = text_finish(context, text, length);
        free(text);
        if (r < 0)
                context_fail(context, r);
}

/* Opens the listing; its pieces are rendered when they are sent. */
static int context_open_listing(struct request_context *context) {
        char start[sizeof(context->request->tag) + sizeof("ok ")];
        int r;

        r = listing_open(context->listings, context->caller, context->node,
                         context->request->command.verb == COMMAND_LIMITS,
                         &context->answer->listing);
        if (r < 0)
                return r;
        snprintf(start, sizeof(start), "%sok ", context->request->tag);
        return text_store(context, start, strlen(start));
}

static void context_list(struct request_context *context) {
        int r = 0;

        if (context->request->command.name[0])
                r = context_find(context);
        else
                context->node = tree_node(context->volume->tree, LAYOUT_ROOT_ID);
        if (r == 0 && !node_is_dir(context->node))
                r = -ENOTDIR;
        if (r == 0 && !access_allows(context->volume->tree, context->caller, context->node,
                                     ACCESS_READ | ACCESS_SEARCH))
                r = -EACCES;
        if (r == 0)
                r = context_open_listing(context);
        if (r < 0)
                context_fail(context, r);
}

static void context_stat(struct request_context *context) {
        int r = context_find_region(context);

        if (r < 0)
                context_fail(context, r);
        else
                context_report(context);
}

static void context_wait(struct request_context *context) {
        struct stat st;
        int r = context_find_region(context);

        if (r == -ENOENT) {
                context->answer->waits = true;
                return;
        }
        if (r == 0)
                r = region_stat(context->volume->regions, context->node, &st);
        if (r < 0)
                context_fail(context, r);
        else
                context_say_size(context);
}

static void (*const inquiries[])(struct request_context *context) = {
        [COMMAND_CREATE] = context_create,   [COMMAND_RESIZE] = context_resize,
        [COMMAND_SEAL] = context_change,     [COMMAND_REMOVE] = context_change,
        [COMMAND_OPEN] = context_open,       [COMMAND_LIST] = context_list,
        [COMMAND_LIMIT_OF] = context_change, [COMMAND_LIMITS] = context_list,
        [COMMAND_STAT] = context_stat,       [COMMAND_WAIT] = context_wait,
};

static void context_end(struct request_context *context, uint64_t invalidations) {
        struct answer *answer = context->answer;

        answer->invalidations = context->volume->root->next_invalidation != invalidations;
}

void answer_request(struct volume *volume, struct listings *listings, struct caller *caller,
                    const struct request *request, struct answer *out) {
        struct request_context context = {
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
        else if (context_is_refused(&context))
                answer_fail_name(out, request, -EROFS, "the file system is mounted read-only");
        else
                inquiries[request->command.verb](&context);
        if (out->failed)
                txn_abort(volume->txn);
        context_end(&context, invalidations);
}

void answer_populated(struct volume *volume, struct caller *caller, const struct request *request,
                      uint32_t node, int result, uint64_t huge, struct answer *out) {
        struct request_context context = {
                .volume = volume,
                .caller = caller,
                .request = request,
                .answer = out,
                .node = tree_node(volume->tree, node),
        };
        uint64_t invalidations = volume->root->next_invalidation;

        invalidations_begin(volume->invalidations, (struct invalidation_mark){0});
        answer_clear(out);
        context_populated(&context, result, huge);
        context_end(&context, invalidations);
}
