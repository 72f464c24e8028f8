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
#include "base/words.h"
#include "control/report.h"

/* A request at work. */
struct inquiry {
        struct commander *commander;
        struct caller *caller;
        const struct request *request;
        struct answer *answer;
        struct node *node; /* what the name names */
};

void answer_clear(struct answer *answer) {
        if (answer->fd >= 0)
                close(answer->fd);
        if (answer->text_fd >= 0)
                close(answer->text_fd);
        answer->fd = answer->text_fd = -1;
        answer->length = 0;
}

static void answer_say(struct answer *answer, const char *tag, int error, const char *text) {
        answer->length = protocol_answer(answer->text, sizeof(answer->text), tag, error, text);
        answer->failed = error < 0;
}

void answer_fail(struct answer *answer, const char *tag, int error, const char *text) {
        answer_clear(answer);
        answer->waits = false;
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

/* Walks to the name as open(2) would, but through no symbolic link. */
static int inquiry_find(struct inquiry *inquiry) {
        struct tree *tree = inquiry->commander->tree;
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

/* Descriptors */

static int inquiry_export(struct inquiry *inquiry, bool writable) {
        struct commander *commander = inquiry->commander;
        struct node *node = inquiry->node;
        bool first = !(node->flags & NODE_EXPORTED);
        int r;

        r = region_export(commander->regions, node, writable ? O_RDWR : O_RDONLY,
                          access_owns(inquiry->caller, node));
        if (r < 0)
                return r;
        inquiry->answer->fd = r;
        lifetime_opened(commander->lifetimes, node, writable);
        /* The size may change from now on without anybody asking us: no more caching of it. */
        return first ? invalidation_inode(commander->invalidations, node->id) : 0;
}

static int inquiry_may_open(struct inquiry *inquiry, bool writable) {
        struct node *node = inquiry->node;

        if (!access_allows(inquiry->caller, node, ACCESS_READ | (writable ? ACCESS_WRITE : 0)))
                return -EACCES;
        return writable && (node->seals & F_SEAL_WRITE) ? -EPERM : 0;
}

static void inquiry_open(struct inquiry *inquiry) {
        bool writable = inquiry->request->command.writable;
        struct stat st;
        int r;

        r = inquiry_find_region(inquiry);
        if (r == 0)
                r = region_stat(inquiry->commander->regions, inquiry->node, &st);
        if (r == 0)
                r = inquiry_may_open(inquiry, writable);
        if (r == 0)
                r = inquiry_export(inquiry, writable);
        if (r < 0)
                inquiry_fail(inquiry, r);
        else
                inquiry_say_size(inquiry);
}

/* Commands that .ctl has as well. */

static int inquiry_run(struct inquiry *inquiry) {
        const struct command *command = &inquiry->request->command;
        struct node *root = tree_node(inquiry->commander->tree, LAYOUT_ROOT_ID);
        struct command_error error = {0};
        int r;

        r = command_run(inquiry->commander, root, inquiry->caller, command, &inquiry->node, &error);
        if (r == -EINPROGRESS)
                inquiry->answer->populates = inquiry->node->id;
        else if (r < 0)
                answer_fail(inquiry->answer, inquiry->request->tag, r, error.text);
        return r;
}

/* Once the name is made there is no way back: makes sure of the descriptor before. */
static int inquiry_spare(const struct inquiry *inquiry) {
        const struct root *root = tree_root_record(inquiry->commander->tree);

        return fcntl(root->log_fd >= 0 ? root->log_fd : root->fuse_fd, F_DUPFD_CLOEXEC, 0);
}

/* The region has its name: what remains is to open it. */
static void inquiry_created(struct inquiry *inquiry) {
        int r = inquiry_export(inquiry, true);

        if (r < 0)
                inquiry_fail(inquiry, r);
        else
                inquiry_say_size(inquiry);
}

static void inquiry_create(struct inquiry *inquiry) {
        int spare = inquiry_spare(inquiry), r;

        if (spare < 0) {
                inquiry_fail(inquiry, -ENOSPC);
                return;
        }
        r = inquiry_run(inquiry);
        close(spare);
        if (r == 0)
                inquiry_created(inquiry);
}

static void inquiry_populated(struct inquiry *inquiry, int result, uint64_t huge) {
        struct commander *commander = inquiry->commander;
        struct node *root = tree_node(commander->tree, LAYOUT_ROOT_ID);
        int spare = inquiry_spare(inquiry), r;
        struct command_error error = {0};

        if (spare < 0) {
                command_abort(commander, inquiry->node);
                inquiry_fail(inquiry, -ENOSPC);
                return;
        }
        r = command_finish(commander, root, inquiry->caller, &inquiry->request->command,
                           inquiry->node, result, huge, &error);
        close(spare);
        if (r == 0)
                inquiry_created(inquiry);
        else
                answer_fail(inquiry->answer, inquiry->request->tag, r, error.text);
}

static void inquiry_resize(struct inquiry *inquiry) {
        if (inquiry_run(inquiry) == 0)
                inquiry_say_size(inquiry);
}

static void inquiry_change(struct inquiry *inquiry) {
        if (inquiry_run(inquiry) == 0)
                answer_say(inquiry->answer, inquiry->request->tag, 0, "");
}

/* Looking */

static int text_keep(struct answer *answer, const char *text, size_t length) {
        int fd;

        if (length <= sizeof(answer->text)) {
                memcpy(answer->text, text, length);
                return 0;
        }
        fd = memfd_create("iomemfs-answer", MFD_CLOEXEC);
        if (fd < 0)
                return -ENOSPC;
        for (size_t at = 0; at < length;) {
                ssize_t n = write(fd, text + at, length - at);

                if (n < 0) {
                        close(fd);
                        return -ENOSPC;
                }
                at += (size_t)n;
        }
        answer->text_fd = fd;
        return 0;
}

/* Keeps what was written as one line: no newline in JSON is more than a space. */
static int text_finish(struct answer *answer, char *text, size_t length) {
        while (length > 0 && text[length - 1] == '\n')
                length--;
        for (char *p = text; (p = memchr(p, '\n', (size_t)(text + length - p))); p++)
                *p = ' ';
        text[length++] = '\n';
        answer->length = length;
        return text_keep(answer, text, length);
}

static int inquiry_render(struct inquiry *inquiry, FILE *stream) {
        struct commander *commander = inquiry->commander;
        const struct command *command = &inquiry->request->command;

        fprintf(stream, "%sok ", inquiry->request->tag);
        if (command->verb == COMMAND_LIST)
                return report_json(stream, commander->tree, commander->regions, inquiry->caller,
                                   inquiry->node);
        return report_region(stream, commander->regions, inquiry->node, command->name);
}

static void inquiry_report(struct inquiry *inquiry) {
        char *text = NULL;
        size_t length = 0;
        FILE *stream;
        int r = -ENOMEM;

        stream = open_memstream(&text, &length);
        if (stream) {
                r = inquiry_render(inquiry, stream);
                fputc('\n', stream); /* room for the one that ends the answer */
                if (fclose(stream) != 0)
                        r = -ENOMEM;
        }
        if (r == 0)
                r = text_finish(inquiry->answer, text, length);
        free(text);
        if (r < 0)
                inquiry_fail(inquiry, r);
}

static void inquiry_list(struct inquiry *inquiry) {
        int r = 0;

        if (inquiry->request->command.name[0])
                r = inquiry_find(inquiry);
        else
                inquiry->node = tree_node(inquiry->commander->tree, LAYOUT_ROOT_ID);
        if (r == 0 && !node_is_dir(inquiry->node))
                r = -ENOTDIR;
        if (r == 0 && !access_allows(inquiry->caller, inquiry->node, ACCESS_READ | ACCESS_SEARCH))
                r = -EACCES;
        if (r < 0)
                inquiry_fail(inquiry, r);
        else
                inquiry_report(inquiry);
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
                r = region_stat(inquiry->commander->regions, inquiry->node, &st);
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

static void answer_empty(struct answer *answer) {
        answer->length = 0;
        answer->fd = answer->text_fd = -1;
        answer->populates = 0;
        answer->failed = answer->waits = answer->invalidations = false;
}

void answer_request(struct commander *commander, struct caller *caller,
                    const struct request *request, struct answer *out) {
        struct root *root = tree_root_record(commander->tree);
        struct inquiry inquiry = {
                .commander = commander,
                .caller = caller,
                .request = request,
                .answer = out,
        };
        uint64_t invalidations = root->next_invalidation;

        answer_empty(out);
        if (request->error < 0)
                answer_fail(out, request->tag, request->error, request->error_text.text);
        else
                inquiries[request->command.verb](&inquiry);
        out->invalidations = root->next_invalidation != invalidations;
}

int answer_populate(struct commander *commander, const struct request *request,
                    const struct answer *answer, struct population **out, population_fn done,
                    void *userdata) {
        return command_populate(commander, &request->command,
                                tree_node(commander->tree, answer->populates), out, done, userdata);
}

void answer_abort(struct commander *commander, uint32_t node) {
        command_abort(commander, tree_node(commander->tree, node));
}

void answer_populated(struct commander *commander, struct caller *caller,
                      const struct request *request, uint32_t node, int result, uint64_t huge,
                      struct answer *out) {
        const struct root *root = tree_root_record(commander->tree);
        struct inquiry inquiry = {
                .commander = commander,
                .caller = caller,
                .request = request,
                .answer = out,
                .node = tree_node(commander->tree, node),
        };
        uint64_t invalidations = root->next_invalidation;

        answer_empty(out);
        inquiry_populated(&inquiry, result, huge);
        out->invalidations = root->next_invalidation != invalidations;
}
