/* SPDX-License-Identifier: MIT */
#include "control/ctl_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/errno_text.h"
#include "base/fault.h"

enum {
        CTL_LINES_MAX = 1024, /* commands of one write */
};

_Static_assert(COMMAND_ERROR_MAX + sizeof("line 1024: \n") <= LAYOUT_TEXT_BYTES,
               "the last error of a handle is one text record");

/* Keeps the text for reading.  line: 0 if the write had only one line. */
static void ctl_keep_error(struct ctl *ctl, struct handle *handle, unsigned int line,
                           const struct command_error *error) {
        char text[LAYOUT_TEXT_BYTES];
        int length;

        if (line)
                length = snprintf(text, sizeof(text), "line %u: %s\n", line, error->text);
        else
                length = snprintf(text, sizeof(text), "%s\n", error->text);
        journal_touch(ctl->journal, handle, sizeof(*handle));
        handle->base = UINT64_MAX;
        if (handles_store(ctl->handles, handle, &handle->text, text, (size_t)length) == 0)
                handle->text_length = (uint32_t)length;
        last_error_keep(ctl->errors, handle, text, (size_t)length);
}

/* Commands */

static int ctl_error(struct command_error *error, int r, const char *text) {
        snprintf(error->text, sizeof(error->text), "%s", text);
        return r;
}

/* As tmpfs refuses a remount with less than what is in use. */
static int ctl_remount(struct ctl *ctl, const struct command *command,
                       struct command_error *error) {
        const struct volume_limits limits = {
                .set_bytes = command->has_limit_bytes,
                .set_nodes = command->has_limit_nodes,
                .bytes = command->limit_bytes,
                .nodes = command->limit_nodes,
        };
        int r = volume_set_limits(ctl->volume, &limits);

        if (r == -EINVAL && limits.set_nodes && limits.nodes != 0 &&
            limits.nodes < tree_inodes(ctl->volume->tree))
                return ctl_error(error, r, "nr_inodes= is less than what is in use");
        if (r == -EINVAL)
                return ctl_error(error, r, "size= is less than what is in use");
        if (r < 0)
                return ctl_error(error, r, errno_text(-r));
        /* The kernel refuses writes on a read-only mount; for the socket we have to do it. */
        if (command->has_read_only)
                JOURNAL_SET(ctl->journal, ctl->root->settings.read_only, command->read_only);
        return 0;
}

/* `fault off` fails unless the armed fault has struck. */
static int ctl_fault(const struct command *command, struct command_error *error) {
        bool armed = fault_is_armed();

        if (command->fault != FAULT_NONE) {
                fault_plan(command->fault, command->fault_after);
                return 0;
        }
        fault_arm(FAULT_NONE, 0);
        return armed ? ctl_error(error, -ENODATA, "nothing has failed") : 0;
}

static void ctl_arm_crash(struct ctl *ctl, const struct command *command) {
        struct root *root = ctl->root;

        if (command->has_crash_opcode) {
                JOURNAL_SET(ctl->journal, root->crash_opcode, (uint32_t)command->crash_opcode);
                return;
        }
        JOURNAL_SET(ctl->journal, root->crash_wanted, command->crash_after + 1);
        JOURNAL_SET(ctl->journal, root->crash_again, command->crash_again);
}

static int ctl_run_admin(struct ctl *ctl, struct caller *caller, const struct command *command,
                         struct command_error *error) {
        if (!ctl_is_admin(ctl, caller))
                return ctl_error(error, -EPERM, "only the owner of the mount may do that");
        if (command->upgrade) {
                JOURNAL_SET(ctl->journal, ctl->root->upgrade_wanted, 1);
                return 0;
        }
        if ((command->has_crash || command->has_crash_opcode || command->has_fault) &&
            !ctl->testing)
                return ctl_error(error, -EPERM, "crash and fault are for tests");
        if (command->has_fault)
                return ctl_fault(command, error);
        if (command->has_crash || command->has_crash_opcode) {
                ctl_arm_crash(ctl, command);
                return 0;
        }
        return ctl_remount(ctl, command, error);
}

/* One write(2).  Its lines are carried out one after the other, and may have to wait in between. */
struct run {
        struct ctl *ctl;
        uint32_t handle;
        uint64_t unique;
        struct caller *caller;
        const char *text;
        size_t size;
        const char *at; /* the current line */
        unsigned int line, lines;
        bool last; /* it is not tried again if there is no space */

        /* A suspended write is on the heap, with copies of everything. */
        struct caller own_caller;
        char *own_text;
        struct command *command;
        uint32_t node; /* the region that is being populated */
        struct work *work;
        bool signalled; /* the caller got a signal */
        struct invalidation_mark mark;
        struct run *next;
};

static void run_free(struct run *run) {
        caller_clear(&run->own_caller);
        free(run->own_text);
        free(run->command);
        free(run);
}

static bool run_is_tried_again(const struct run *run, int r) {
        return r == -ENOSPC && !run->last;
}

static int ctl_run_line(struct run *run, struct node *dir, struct command_error *error) {
        struct ctl *ctl = run->ctl;
        const struct handle *handle = handles_get(ctl->handles, run->handle);
        struct command *command = run->command;
        struct node *node = NULL;
        int r;

        ctl->root->counters.commands++;
        r = command_parse(command, (enum command_verb)ctl_files[handle->kind].verb, run->at,
                          strcspn(run->at, "\n"), error);
        if (r == 0 && command->read_only_fd)
                r = ctl_error(error, -EINVAL, "ro: only the socket answers with a descriptor");
        else if (r == 0 && command->verb == COMMAND_ADMIN)
                r = ctl_run_admin(ctl, run->caller, command, error);
        else if (r == 0)
                r = command_run(ctl->volume, dir, run->caller, command, &node, error);
        if (r == -EINPROGRESS)
                run->node = node->id;
        else if (r < 0 && !run_is_tried_again(run, r))
                ctl->root->counters.command_errors++;
        return r;
}

/* Checks that a write has only whole lines; otherwise none of it is carried out. */
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
        ctl_keep_error(run->ctl, handles_get(run->ctl->handles, run->handle),
                       run->lines > 1 ? run->line : 0, error);
}

static void run_next(struct run *run) {
        run->at += strcspn(run->at, "\n") + 1;
        run->line++;
}

/* The commit makes so many lines permanent; a resent write continues after them. */
static void run_mark_done(struct run *run, unsigned int lines) {
        struct ctl *ctl = run->ctl;
        struct handle *handle = handles_get(ctl->handles, run->handle);

        journal_touch(ctl->journal, handle, sizeof(*handle));
        handle->unique = run->unique;
        handle->done = lines;
        /* The write may move the file's position. */
        handle->base = UINT64_MAX;
}

/* Carries out the remaining lines, up to one that has to wait: -EINPROGRESS. */
static int run_lines(struct run *run, struct node *dir) {
        struct txn *txn = run->ctl->volume->txn;
        struct command_error error = {""};
        int r = 0;

        for (; run->line <= run->lines; run_next(run)) {
                r = ctl_run_line(run, dir, &error);
                if (r < 0)
                        break;
                run_mark_done(run, run->line);
                /* The last one is committed with the reply. */
                if (run->line < run->lines)
                        r = txn_commit(txn);
                if (r < 0) {
                        ctl_error(&error, r, errno_text(-r));
                        break;
                }
        }
        if (r < 0 && r != -EINPROGRESS) {
                txn_abort(txn);
                if (run_is_tried_again(run, r))
                        return r;
                run_fail(run, &error);
                r = txn_commit(txn) < 0 ? -ENOMEM : r;
        }
        return r;
}

static void run_on_populated(void *userdata, int result, uint64_t huge);

/* Begins the population of the line's region; commits everything before it. */
static int run_wait(struct run *run) {
        struct volume *volume = run->ctl->volume;
        const struct node *node = tree_node(volume->tree, run->node);
        int r;

        run_mark_done(run, run->line - 1);
        r = volume_populate(volume, node, run_on_populated, run, &run->work);
        if (r == 0)
                r = txn_commit(volume->txn);
        else
                txn_abort(volume->txn);
        run->mark = invalidations_mark(volume->invalidations);
        /* The kernel has told of a signal during an earlier line, and tells of no other. */
        if (r == 0 && run->signalled)
                work_signalled(run->work);
        return r;
}

/* Reports the result, and ends the run. */
static void run_finish(struct run *run, int r) {
        struct ctl *ctl = run->ctl;
        struct run **at = &ctl->runs;

        while (*at != run)
                at = &(*at)->next;
        *at = run->next;
        if (r == -ECANCELED)
                r = -EINTR;
        ctl->reply(ctl->reply_userdata, run->unique, r < 0 ? r : (int)run->size);
        run_free(run);
}

/* The population has ended: completes the line, or makes it fail. */
static int run_end_line(struct run *run, struct node *dir, int result, uint64_t huge) {
        struct volume *volume = run->ctl->volume;
        struct node *node = tree_node(volume->tree, run->node);
        struct command_error error = {""};
        int r;

        if (dir) {
                r = command_finish(volume, dir, run->caller, run->command, node, result, huge,
                                   &error);
        } else {
                volume_drop(volume, node);
                r = ctl_error(&error, -ESTALE, "the directory is gone");
        }
        if (r == 0) {
                run_mark_done(run, run->line);
                r = txn_commit(volume->txn);
                if (r == 0)
                        return 0;
                ctl_error(&error, r, errno_text(-r));
                volume_drop(volume, node);
        }
        run->ctl->root->counters.command_errors++;
        run_fail(run, &error);
        return r;
}

static void run_on_populated(void *userdata, int result, uint64_t huge) {
        struct run *run = userdata;
        struct ctl *ctl = run->ctl;
        const struct handle *handle = handles_get(ctl->handles, run->handle);
        struct node *dir = tree_node(ctl->volume->tree, handle->dir);
        int r;

        run->work = NULL;
        invalidations_begin(ctl->volume->invalidations, run->mark);
        r = run_end_line(run, dir, result, huge);
        if (r == 0) {
                run_next(run);
                r = run_lines(run, dir);
        }
        if (r == -EINPROGRESS) {
                r = run_wait(run);
                if (r == 0)
                        return;
        }
        run_finish(run, r);
}

/* Moves a write that has to wait to the heap. */
static int run_suspend(const struct run *run) {
        struct run *own = fault_strikes(FAULT_MEMORY) ? NULL : malloc(sizeof(*own));
        int r;

        if (!own)
                return -ENOMEM;
        *own = *run;
        own->last = true; /* nobody would try it again */
        own->own_text = malloc(run->size + 1);
        if (!own->own_text) {
                free(own);
                return -ENOMEM;
        }
        memcpy(own->own_text, run->text, run->size);
        own->own_text[run->size] = '\0';
        own->at = own->own_text + (run->at - run->text);
        own->text = own->own_text;
        own->own_caller = handles_opener(
                run->ctl->handles, handles_get(run->ctl->handles, run->handle), run->caller->pid);
        own->caller = &own->own_caller;
        own->next = run->ctl->runs;
        run->ctl->runs = own;
        r = run_wait(own);
        if (r < 0) {
                run->ctl->runs = own->next;
                own->command = NULL;
                run_free(own);
                return r;
        }
        return -EINPROGRESS;
}

void ctl_set_reply(struct ctl *ctl, ctl_reply_fn reply, void *userdata) {
        ctl->reply = reply;
        ctl->reply_userdata = userdata;
}

void ctl_signalled(struct ctl *ctl, uint64_t unique) {
        for (struct run *run = ctl->runs; run; run = run->next)
                if (run->unique == unique) {
                        run->signalled = true;
                        if (run->work)
                                work_signalled(run->work);
                }
}

static int ctl_start(struct run *run, struct handle *handle, struct node *dir) {
        int r;

        /* Resent after a crash in the middle: continue after the lines that are done. */
        if (handle->unique == run->unique)
                while (run->line <= handle->done)
                        run_next(run);
        r = run_lines(run, dir);
        if (r != -EINPROGRESS)
                return r;
        r = run_suspend(run);
        if (r == -EINPROGRESS) {
                run->command = NULL; /* it belongs to the suspended one now */
                return r;
        }
        txn_abort(run->ctl->volume->txn);
        run_fail(run, &(struct command_error){"out of memory or descriptors"});
        return txn_commit(run->ctl->volume->txn) < 0 ? -ENOMEM : r;
}

/* Runs the write after the check that the writer is the opener; the opener's rights apply. */
static int ctl_write_as(struct ctl *ctl, struct handle *handle, struct caller *opener,
                        uint64_t unique, const char *buffer, size_t size, bool last) {
        struct command_error error = {""};
        struct run run = {
                .ctl = ctl,
                .handle = handle->id,
                .unique = unique,
                .caller = opener,
                .text = buffer,
                .size = size,
                .at = buffer,
                .line = 1,
                .last = last,
        };
        struct node *dir = tree_node(ctl->volume->tree, handle->dir);
        int r;

        if (!dir)
                return -ESTALE;
        invalidations_begin(ctl->volume->invalidations, (struct invalidation_mark){0});
        r = check_lines(buffer, size, &run.lines, &error);
        if (r < 0) {
                ctl_keep_error(ctl, handle, 0, &error);
                return txn_commit(ctl->volume->txn) < 0 ? -ENOMEM : r;
        }
        run.command = malloc(sizeof(*run.command)); /* has a name of PATH_MAX bytes */
        r = run.command ? ctl_start(&run, handle, dir) : -ENOMEM;
        free(run.command);
        return r;
}

ssize_t ctl_write(struct ctl *ctl, uint32_t id, struct caller *caller, uint64_t unique,
                  const char *buffer, size_t size, bool last) {
        struct handle *handle = handles_get(ctl->handles, id);
        struct caller opener;
        int r;

        if (!handle || ctl_files[handle->kind].verb < 0)
                return -EBADF;
        if (!handle_is_of(handle, caller))
                return -EPERM;
        opener = handles_opener(ctl->handles, handle, caller->pid);
        r = ctl_write_as(ctl, handle, &opener, unique, buffer, size, last);
        caller_clear(&opener);
        return r < 0 ? r : (ssize_t)size;
}
