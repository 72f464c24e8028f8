/* SPDX-License-Identifier: MIT */
#include "control/command_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/size.h"
#include "memory/descriptor.h"

/* A command that is being carried out, and the place of its name. */
struct command_context {
        struct volume *volume;
        struct change by;
        const struct command *command;
        struct command_error *error;
        struct node *dir;
        const char *name; /* last component */
        size_t length;
        struct node *node; /* the node of the name, NULL if there is none */
};

static int context_fail(struct command_context *context, int r) {
        return command_fail_name(context->error, r, context->command);
}

/* Fills in the context, and walks to its name below dir. */
static int context_begin(struct command_context *context, struct volume *volume, struct node *dir,
                         struct caller *caller, const struct command *command,
                         struct command_error *error) {
        const struct tree *tree = volume->tree;
        int r;

        *context = (struct command_context){
                .volume = volume,
                .by = {.caller = caller, .unasked = true, .waits = true},
                .command = command,
                .error = error,
        };
        r = access_walk(tree, caller, dir, command->name, &context->dir, &context->name,
                        &context->length);
        if (r == 0)
                r = tree_lookup(tree, context->dir, context->name, context->length, &context->node);
        if (r == -ENOENT && context->dir) {
                context->node = NULL;
                r = 0;
        }
        return r < 0 ? context_fail(context, r) : 0;
}

static int fail_descriptors(struct command_context *context) {
        return command_fail(context->error, -ENOSPC,
                            "%s: no space: each region that a command makes takes a descriptor of "
                            "the daemon, and none is left (RLIMIT_NOFILE)",
                            command_show(context->name, context->length).text);
}

static int fail_inodes(struct command_context *context) {
        return command_fail(context->error, -ENOSPC,
                            "%s: no space: nr_inodes= is used up, or memory ran out",
                            command_show(context->name, context->length).text);
}

/* Explains why a size was refused: a limit that can be raised, or another reason. */
static int fail_space(struct command_context *context, uint64_t more) {
        char wanted[SIZE_TEXT_MAX], left[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX];
        struct space space;

        volume_space(context->volume, context->dir, &space);
        if (space.limit == 0 || space.used + more <= space.limit)
                return descriptor_left(context->volume->journal) == 0 ? fail_descriptors(context)
                                                                      : fail_inodes(context);
        size_format(wanted, more);
        size_format(left, space.used < space.limit ? space.limit - space.used : 0);
        size_format(limit, space.limit);
        return command_fail(context->error, -ENOSPC,
                            "%s: no space: %s wanted, %s of %s left (size=)",
                            command_show(context->name, context->length).text, wanted, left, limit);
}

static struct create_attrs attrs_of(const struct command_context *context) {
        const struct command *command = context->command;
        const struct caller *caller = context->by.caller;

        return (struct create_attrs){
                .mode = S_IFREG | (command->has_mode ? command->mode : 0666),
                .umask = command->has_mode ? 0 : caller_umask(caller),
                .uid = caller->uid,
                .gid = caller->gid,
        };
}

/* Whether the name is free, and the caller may create it. */
static int create_check(struct command_context *context) {
        if (context->node)
                return context_fail(context, -EEXIST);
        if (!access_allows(context->volume->tree, context->by.caller, context->dir, ACCESS_WRITE))
                return context_fail(context, -EACCES);
        return 0;
}

/* Explains why the region can have no such owner. */
static int fail_owner(const struct command_context *context) {
        const char *reason = "the process cannot be seen from here";

        if (context->command->flags & NODE_OWNER_SERVICE)
                reason = "the process is in no control group but the root, or it cannot be seen";
        else if (context->command->flags & NODE_OWNER_CONTAINER)
                reason = "the process is in the daemon's own PID namespace, or it cannot be seen";
        return command_fail(context->error, -EINVAL, "%s: no such owner: %s",
                            command_show(context->name, context->length).text, reason);
}

static int run_create(struct command_context *context) {
        struct region_order order = {
                .size = context->command->size,
                .flags = context->command->flags,
        };
        int r;

        r = create_check(context);
        if (r < 0)
                return r;
        order.attrs = attrs_of(context);
        r = volume_create(context->volume, &context->by, context->dir, context->name,
                          context->length, &order, &context->node);
        if (r == -ENOSPC) {
                /* Abort first, so that its reservation does not count in the message. */
                txn_abort(context->volume->txn);
                return fail_space(context, context->command->size);
        }
        if (r == -EINVAL && (context->command->flags & NODE_OWNER))
                return fail_owner(context);
        return r < 0 && r != -EINPROGRESS ? context_fail(context, r) : r;
}

/* The region that the command is about. */
static int context_region(struct command_context *context) {
        if (!context->node)
                return context_fail(context, -ENOENT);
        if (node_is_dir(context->node))
                return context_fail(context, -EISDIR);
        if (S_ISLNK(context->node->mode))
                return context_fail(context, -ELOOP);
        return node_is_region(context->node) ? 0 : context_fail(context, -EINVAL);
}

/* Open on the mount, or open or mapped by whoever got a descriptor. */
static bool is_used(const struct command_context *context) {
        return context->node->opens > 0 ||
               region_has_other_users(context->volume->regions, context->node);
}

static int run_resize(struct command_context *context) {
        uint64_t size = context->command->size;
        int r;

        r = context_region(context);
        if (r < 0)
                return r;
        if (!access_allows(context->volume->tree, context->by.caller, context->node, ACCESS_WRITE))
                return context_fail(context, -EACCES);
        if (context->command->unused && size < context->node->size && is_used(context))
                return command_fail(context->error, -EBUSY, "%s: somebody has it open or mapped",
                                    command_show(context->name, context->length).text);
        r = volume_resize(context->volume, &context->by, context->node, size);
        if (r == -EPERM)
                return command_fail(context->error, r, "%s: %s",
                                    command_show(context->name, context->length).text,
                                    context->node->flags & NODE_FIXED ? "its size is fixed for life"
                                                                      : "sealed against that");
        if (r == -ENOSPC)
                return fail_space(context, size - context->node->size);
        return r < 0 ? context_fail(context, r) : 0;
}

static int run_seal(struct command_context *context) {
        struct command_shown shown =
                command_show(context->command->name, strlen(context->command->name));
        int r;

        r = context_region(context);
        if (r < 0)
                return r;
        if (!access_owns(context->by.caller, context->node))
                return command_fail(context->error, -EPERM, "%s: only its owner may seal it",
                                    shown.text);
        r = volume_seal(context->volume, &context->by, context->node, context->command->seals);
        if (r == -EBUSY)
                return command_fail(context->error, r,
                                    "%s: somebody has it open or mapped for writing", shown.text);
        if (r == -EPERM)
                return command_fail(context->error, r,
                                    "%s: was handed out for writing, and takes no more such seals",
                                    shown.text);
        if (r == -EOPNOTSUPP)
                return command_fail(context->error, r,
                                    "%s: cannot be sealed: it was not made by a create command",
                                    shown.text);
        return r < 0 ? context_fail(context, r) : 0;
}

static int run_remove(struct command_context *context) {
        int r;

        if (!context->node)
                return context_fail(context, -ENOENT);
        r = access_unlink(context->volume->tree, context->by.caller, context->dir, context->node);
        if (r == 0)
                r = volume_unlink(context->volume, &context->by, context->dir, context->name,
                                  context->length);
        context->node = NULL;
        return r < 0 ? context_fail(context, r) : 0;
}

static int run_default(struct volume *volume, struct node *dir, struct caller *caller,
                       const struct command *command, struct command_error *error) {
        if (!access_owns(caller, dir))
                return command_fail(error, -EPERM, "only the owner of the directory may do that");
        volume_set_defaults(volume, dir, command->none, command->flags,
                            command->has_mode ? command->mode : (uint32_t)LAYOUT_NO_MODE);
        return 0;
}

/* The administrator, or the owner of the limit above, which is its directory's. */
static bool may_limit(const struct volume *volume, const struct node *dir, struct caller *caller) {
        const struct limit *above = volume_limit_above(volume, dir);
        const struct node *owner = tree_node(volume->tree, above->dir);

        if (access_is_admin(&volume->root->settings, caller))
                return true;
        return above->id != LAYOUT_MOUNT_LIMIT && owner && access_owns(caller, owner);
}

/* Says what the limit above has left. */
static int fail_limit_space(const struct volume *volume, const struct limit *above,
                            struct command_error *error) {
        const struct limit *nodes = limit_of_nodes(volume->journal, above->id);
        char bytes[SIZE_TEXT_MAX], inodes[SIZE_TEXT_MAX] = "all";
        uint64_t left = quota_left(regions_quota(volume->regions), above->id);

        size_format(bytes, left);
        if (nodes->nodes > 0)
                snprintf(inodes, sizeof(inodes), "%llu",
                         (unsigned long long)(nodes->nodes - nodes->used_nodes));
        return command_fail(error, -ENOSPC, "no space: the limit above has %s and %s inodes left",
                            left == UINT64_MAX ? "no limit of size" : bytes, inodes);
}

static int fail_limit(const struct volume *volume, const struct node *dir, int r,
                      const struct command *command, struct command_error *error) {
        switch (-r) {
        case ENOTEMPTY:
                return command_fail(error, r, "the directory is not empty");
        case EBUSY:
                return command_fail(error, r,
                                    command->none
                                            ? "files that were removed from it are still in use"
                                            : "more than that is in use");
        case ENODATA:
                return command_fail(error, r, "the directory has no limit");
        case EMLINK:
                return command_fail(error, r, "limits can be nested %d deep", LIMIT_DEPTH_MAX);
        case EINVAL:
                return command_fail(error, r,
                                    dir->id == LAYOUT_ROOT_ID
                                            ? "the mount's own limits are changed by a remount"
                                            : "what the limit does not limit so far can be "
                                              "limited only after none");
        case ENOSPC:
                return fail_limit_space(volume, volume_limit_above(volume, dir), error);
        default:
                return command_fail(error, r, "%s", strerrordesc_np(-r));
        }
}

static int run_limit(struct volume *volume, struct node *dir, struct caller *caller,
                     const struct command *command, struct command_error *error) {
        const struct limit_order order = {
                .none = command->none,
                .set_bytes = command->has_limit_bytes,
                .set_nodes = command->has_limit_nodes,
                .bytes = command->limit_bytes,
                .nodes = command->limit_nodes,
        };
        int r;

        if (!may_limit(volume, dir, caller))
                return command_fail(error, -EPERM,
                                    "only the administrator and the owner of the limit above may "
                                    "do that");
        r = volume_limit_dir(volume, dir, &order);
        if (r == 0)
                return 0;
        txn_abort(volume->txn);
        return fail_limit(volume, dir, r, command, error);
}

static int run_limit_of(struct command_context *context) {
        if (!context->node)
                return context_fail(context, -ENOENT);
        if (!node_is_dir(context->node))
                return context_fail(context, -ENOTDIR);
        return run_limit(context->volume, context->node, context->by.caller, context->command,
                         context->error);
}

static int run_named(struct volume *volume, struct node *dir, struct caller *caller,
                     const struct command *command, struct node **node,
                     struct command_error *error) {
        struct command_context context;
        int r;

        r = context_begin(&context, volume, dir, caller, command, error);
        if (r < 0)
                return r;
        switch (command->verb) {
        case COMMAND_CREATE:
                r = run_create(&context);
                break;
        case COMMAND_RESIZE:
                r = run_resize(&context);
                break;
        case COMMAND_SEAL:
                r = run_seal(&context);
                break;
        case COMMAND_REMOVE:
                r = run_remove(&context);
                break;
        case COMMAND_LIMIT_OF:
                r = run_limit_of(&context);
                break;
        default:
                r = command_fail(error, -EINVAL, "not a command that can be run here");
        }
        if ((r == 0 || r == -EINPROGRESS) && node)
                *node = context.node;
        return r;
}

int command_run(struct volume *volume, struct node *dir, struct caller *caller,
                const struct command *command, struct node **node, struct command_error *error) {
        int r;

        if (command->verb == COMMAND_DEFAULT)
                r = run_default(volume, dir, caller, command, error);
        else if (command->verb == COMMAND_LIMIT)
                r = run_limit(volume, dir, caller, command, error);
        else
                r = run_named(volume, dir, caller, command, node, error);
        if (r < 0 && r != -EINPROGRESS)
                txn_abort(volume->txn);
        return r;
}

static int finish_named(struct command_context *context, struct node *node, int result,
                        uint64_t huge) {
        int r;

        if (result == -ENOSPC)
                return command_fail(context->error, -ENOSPC, "%s: not enough memory to populate it",
                                    command_show(context->name, context->length).text);
        if (result < 0)
                return context_fail(context, result);
        r = create_check(context);
        if (r < 0)
                return r;
        r = volume_create_finish(context->volume, &context->by, node, context->dir, context->name,
                                 context->length, huge);
        return r < 0 ? context_fail(context, r) : 0;
}

int command_finish(struct volume *volume, struct node *dir, struct caller *caller,
                   const struct command *command, struct node *node, int result, uint64_t huge,
                   struct command_error *error) {
        struct command_context context;
        int r;

        /* The directory may have changed in any way meanwhile. */
        r = context_begin(&context, volume, dir, caller, command, error);
        if (r == 0)
                r = finish_named(&context, node, result, huge);
        if (r < 0) {
                txn_abort(volume->txn);
                volume_drop(volume, node);
        }
        return r;
}
