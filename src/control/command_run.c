/* SPDX-License-Identifier: MIT */
#include "control/command_private.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* A command that is being carried out, and the place of its name. */
struct errand {
        struct volume *volume;
        struct change by;
        const struct command *command;
        struct command_error *error;
        struct node *dir;
        const char *name; /* last component */
        size_t length;
        struct node *node; /* the node of the name, NULL if there is none */
};

static int errand_fail(struct errand *errand, int r) {
        return command_fail_name(errand->error, r, errand->command);
}

/* Fills in the errand, and walks to its name below dir. */
static int errand_begin(struct errand *errand, struct volume *volume, struct node *dir,
                        struct caller *caller, const struct command *command,
                        struct command_error *error) {
        const struct tree *tree = volume->tree;
        int r;

        *errand = (struct errand){
                .volume = volume,
                .by = {.caller = caller, .unasked = true},
                .command = command,
                .error = error,
        };
        r = access_walk(tree, caller, dir, command->name, &errand->dir, &errand->name,
                        &errand->length);
        if (r == 0)
                r = tree_lookup(tree, errand->dir, errand->name, errand->length, &errand->node);
        if (r == -ENOENT && errand->dir) {
                errand->node = NULL;
                r = 0;
        }
        return r < 0 ? errand_fail(errand, r) : 0;
}

/* Explains why a size was refused: a limit that can be raised, or another reason. */
static int fail_space(struct errand *errand, uint64_t more) {
        struct space space;

        regions_space(errand->volume->regions, &space);
        if (space.limit != 0 && space.used + more > space.limit)
                return command_fail(
                        errand->error, -ENOSPC,
                        "%s: no space: %llu bytes more, %llu of %llu are reserved (size=)",
                        command_show(errand->name, errand->length).text, (unsigned long long)more,
                        (unsigned long long)space.used, (unsigned long long)space.limit);
        return command_fail(errand->error, -ENOSPC,
                            "%s: no space: nr_inodes= is used up, or descriptors or memory ran out",
                            command_show(errand->name, errand->length).text);
}

static struct create_attrs attrs_of(const struct errand *errand) {
        const struct command *command = errand->command;
        const struct caller *caller = errand->by.caller;
        uint32_t mode = command->has_mode ? command->mode : 0666 & ~(uint32_t)caller_umask(caller);

        return (struct create_attrs){
                .mode = S_IFREG | mode,
                .uid = caller->uid,
                .gid = caller->gid,
        };
}

/* Whether the name is free, and the caller may create it. */
static int create_check(struct errand *errand) {
        if (errand->node)
                return errand_fail(errand, -EEXIST);
        if (!access_allows(errand->by.caller, errand->dir, ACCESS_WRITE))
                return errand_fail(errand, -EACCES);
        return 0;
}

static int run_create(struct errand *errand) {
        struct region_order order = {
                .size = errand->command->size,
                .flags = errand->command->flags,
        };
        int r;

        r = create_check(errand);
        if (r < 0)
                return r;
        order.attrs = attrs_of(errand);
        r = volume_create(errand->volume, &errand->by, errand->dir, errand->name, errand->length,
                          &order, &errand->node);
        if (r == -ENOSPC) {
                /* Abort first, so that its reservation does not count in the message. */
                txn_abort(errand->volume->txn);
                return fail_space(errand, errand->command->size);
        }
        return r < 0 && r != -EINPROGRESS ? errand_fail(errand, r) : r;
}

/* The region that the command is about. */
static int errand_region(struct errand *errand) {
        if (!errand->node)
                return errand_fail(errand, -ENOENT);
        if (node_is_dir(errand->node))
                return errand_fail(errand, -EISDIR);
        if (S_ISLNK(errand->node->mode))
                return errand_fail(errand, -ELOOP);
        return node_is_region(errand->node) ? 0 : errand_fail(errand, -EINVAL);
}

static int run_resize(struct errand *errand) {
        uint64_t size = errand->command->size;
        int r;

        r = errand_region(errand);
        if (r < 0)
                return r;
        if (!access_allows(errand->by.caller, errand->node, ACCESS_WRITE))
                return errand_fail(errand, -EACCES);
        r = volume_resize(errand->volume, &errand->by, errand->node, size);
        if (r == -EPERM)
                return command_fail(errand->error, r, "%s: %s",
                                    command_show(errand->name, errand->length).text,
                                    errand->node->flags & NODE_FIXED ? "its size is fixed for life"
                                                                     : "sealed against that");
        if (r == -ENOSPC)
                return fail_space(errand, size - errand->node->size);
        return r < 0 ? errand_fail(errand, r) : 0;
}

static int run_seal(struct errand *errand) {
        struct command_shown shown =
                command_show(errand->command->name, strlen(errand->command->name));
        int r;

        r = errand_region(errand);
        if (r < 0)
                return r;
        if (!access_owns(errand->by.caller, errand->node))
                return command_fail(errand->error, -EPERM, "%s: only its owner may seal it",
                                    shown.text);
        r = volume_seal(errand->volume, &errand->by, errand->node, errand->command->seals);
        if (r == -EBUSY)
                return command_fail(errand->error, r,
                                    "%s: somebody has it open or mapped for writing", shown.text);
        if (r == -EOPNOTSUPP || r == -EPERM)
                return command_fail(errand->error, r,
                                    "%s: cannot be sealed: it was not made by a create command",
                                    shown.text);
        return r < 0 ? errand_fail(errand, r) : 0;
}

static int run_remove(struct errand *errand) {
        int r;

        if (!errand->node)
                return errand_fail(errand, -ENOENT);
        r = access_unlink(errand->by.caller, errand->dir, errand->node);
        if (r == 0)
                r = volume_unlink(errand->volume, &errand->by, errand->dir, errand->name,
                                  errand->length);
        errand->node = NULL;
        return r < 0 ? errand_fail(errand, r) : 0;
}

static int run_default(struct volume *volume, struct node *dir, struct caller *caller,
                       const struct command *command, struct command_error *error) {
        if (!access_owns(caller, dir))
                return command_fail(error, -EPERM, "only the owner of the directory may do that");
        volume_set_defaults(volume, dir, command->none, command->flags,
                            command->has_mode ? command->mode : (uint32_t)LAYOUT_NO_MODE);
        return 0;
}

static int run_named(struct volume *volume, struct node *dir, struct caller *caller,
                     const struct command *command, struct node **node,
                     struct command_error *error) {
        struct errand errand;
        int r;

        r = errand_begin(&errand, volume, dir, caller, command, error);
        if (r < 0)
                return r;
        switch (command->verb) {
        case COMMAND_CREATE:
                r = run_create(&errand);
                break;
        case COMMAND_RESIZE:
                r = run_resize(&errand);
                break;
        case COMMAND_SEAL:
                r = run_seal(&errand);
                break;
        case COMMAND_REMOVE:
                r = run_remove(&errand);
                break;
        default:
                r = command_fail(error, -EINVAL, "not a command that can be run here");
        }
        if ((r == 0 || r == -EINPROGRESS) && node)
                *node = errand.node;
        return r;
}

int command_run(struct volume *volume, struct node *dir, struct caller *caller,
                const struct command *command, struct node **node, struct command_error *error) {
        int r;

        if (command->verb == COMMAND_DEFAULT)
                r = run_default(volume, dir, caller, command, error);
        else
                r = run_named(volume, dir, caller, command, node, error);
        if (r < 0 && r != -EINPROGRESS)
                txn_abort(volume->txn);
        return r;
}

static int finish_named(struct errand *errand, struct node *node, int result, uint64_t huge) {
        int r;

        if (result == -ENOSPC)
                return command_fail(errand->error, -ENOSPC, "%s: not enough memory to populate it",
                                    command_show(errand->name, errand->length).text);
        if (result < 0)
                return errand_fail(errand, result);
        r = create_check(errand);
        if (r < 0)
                return r;
        r = volume_create_finish(errand->volume, &errand->by, node, errand->dir, errand->name,
                                 errand->length, huge);
        return r < 0 ? errand_fail(errand, r) : 0;
}

int command_finish(struct volume *volume, struct node *dir, struct caller *caller,
                   const struct command *command, struct node *node, int result, uint64_t huge,
                   struct command_error *error) {
        struct errand errand;
        int r;

        /* The directory may have changed in any way meanwhile. */
        r = errand_begin(&errand, volume, dir, caller, command, error);
        if (r == 0)
                r = finish_named(&errand, node, result, huge);
        if (r < 0) {
                txn_abort(volume->txn);
                volume_drop(volume, node);
        }
        return r;
}
