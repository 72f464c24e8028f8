/* SPDX-License-Identifier: MIT */
#include "control/command_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "tree/pending.h"

/* A command at work: where its name leads. */
struct work {
        struct commander *commander;
        struct caller *caller;
        const struct command *command;
        struct command_error *error;
        struct node *dir;
        const char *name; /* last component */
        size_t length;
        struct node *node; /* what it names, NULL if nothing */
};

static int work_fail(struct work *work, int r) {
        return command_fail_name(work->error, r, work->command);
}

/* Who wants what, and where it leads below dir. */
static int work_begin(struct work *work, struct commander *commander, struct node *dir,
                      struct caller *caller, const struct command *command,
                      struct command_error *error) {
        const struct tree *tree = commander->tree;
        int r;

        *work = (struct work){
                .commander = commander,
                .caller = caller,
                .command = command,
                .error = error,
        };
        r = access_walk(tree, caller, dir, command->name, &work->dir, &work->name, &work->length);
        if (r == 0)
                r = tree_lookup(tree, work->dir, work->name, work->length, &work->node);
        if (r == -ENOENT && work->dir) {
                work->node = NULL;
                r = 0;
        }
        return r < 0 ? work_fail(work, r) : 0;
}

/* Why a size could not be had: a limit that can be raised, or something else. */
static int fail_space(struct work *work, uint64_t more) {
        struct space space;

        regions_space(work->commander->regions, &space);
        if (space.limit != 0 && space.used + more > space.limit)
                return command_fail(
                        work->error, -ENOSPC,
                        "%s: no space: %llu bytes more, %llu of %llu are reserved (size=)",
                        command_show(work->name, work->length).text, (unsigned long long)more,
                        (unsigned long long)space.used, (unsigned long long)space.limit);
        return command_fail(work->error, -ENOSPC,
                            "%s: no space: nr_inodes= is used up, or descriptors or memory ran out",
                            command_show(work->name, work->length).text);
}

static struct create_attrs attrs_of(const struct work *work) {
        const struct command *command = work->command;
        uint32_t mode =
                command->has_mode ? command->mode : 0666 & ~(uint32_t)caller_umask(work->caller);

        return (struct create_attrs){
                .mode = S_IFREG | mode,
                .uid = work->caller->uid,
                .gid = work->caller->gid,
        };
}

static void work_tell(const struct work *work, enum event_kind kind) {
        event_add(work->commander->tree, kind, work->node, work->dir, work->name, work->length,
                  work->caller);
}

static uint32_t work_flags(const struct work *work) {
        bool huge = tree_root_record(work->commander->tree)->settings.huge;

        return work->command->flags | (huge ? NODE_HUGE : 0);
}

/* Gives a node that has no name yet all that it will have when it gets one. */
static int create_furnish(struct work *work, struct node *node) {
        struct regions *regions = work->commander->regions;
        int r;

        node->creator_uid = work->caller->uid;
        node->creator_pid = work->caller->pid;
        caller_command(work->caller, node->creator_name);
        node->flags |= work_flags(work);
        r = region_create(regions, node, work->command->size);
        if (r == 0)
                r = region_own(regions, node);
        if (r == 0 && (work->command->flags & NODE_FIXED))
                r = region_seal(regions, node, F_SEAL_SHRINK | F_SEAL_GROW);
        if (r == 0)
                r = lifetime_created(work->commander->lifetimes, node);
        return r;
}

/* Whether the name is free and may be made. */
static int create_check(struct work *work) {
        int r;

        if (work->node)
                return work_fail(work, -EEXIST);
        if (!access_allows(work->caller, work->dir, ACCESS_WRITE))
                return work_fail(work, -EACCES);
        r = invalidation_inode(work->commander->invalidations, work->dir->id);
        return r < 0 ? work_fail(work, r) : 0;
}

/* The last step: a region that is whole gets its name. */
static int create_name(struct work *work, struct node *node) {
        int r;

        r = tree_link(work->commander->tree, node, work->dir, work->name, work->length);
        if (r < 0)
                return work_fail(work, r);
        work->node = node;
        work_tell(work, EVENT_CREATE);
        return 0;
}

static int run_create(struct work *work) {
        struct commander *commander = work->commander;
        bool populate = work_flags(work) & (NODE_POPULATE | NODE_HUGE);
        struct create_attrs birth;
        struct node *node;
        int r;

        r = create_check(work);
        if (r < 0)
                return r;
        birth = attrs_of(work);
        r = tree_create_unnamed(commander->tree, work->dir, &birth, &node);
        if (r < 0)
                return fail_space(work, 0);
        r = create_furnish(work, node);
        if (r == 0 && populate)
                r = pending_add(commander->tree, node, work->dir, work->name, work->length);
        if (r == -ENOSPC)
                r = fail_space(work, work->command->size);
        else if (r < 0)
                r = work_fail(work, r);
        else if (populate) {
                work->node = node;
                return -EINPROGRESS;
        } else
                r = create_name(work, node);
        if (r < 0)
                tree_reap(commander->tree, node);
        return r;
}

/* The region that the command is about. */
static int work_region(struct work *work) {
        if (!work->node)
                return work_fail(work, -ENOENT);
        if (node_is_dir(work->node))
                return work_fail(work, -EISDIR);
        if (S_ISLNK(work->node->mode))
                return work_fail(work, -ELOOP);
        return node_is_region(work->node) ? 0 : work_fail(work, -EINVAL);
}

/* As the kernel does when somebody without privileges changes a file's content. */
static int drop_setid(struct work *work) {
        struct node *node = work->node;
        uint32_t mode = access_without_setid(node->mode);

        if (mode == node->mode || caller_is_root(work->caller))
                return 0;
        JOURNAL_SET(work->commander->journal, node->mode, mode);
        return region_own(work->commander->regions, node);
}

static int run_resize(struct work *work) {
        uint64_t size = work->command->size;
        int r;

        r = work_region(work);
        if (r < 0)
                return r;
        if (!access_allows(work->caller, work->node, ACCESS_WRITE))
                return work_fail(work, -EACCES);
        r = invalidation_inode(work->commander->invalidations, work->node->id);
        if (r == 0)
                r = region_resize(work->commander->regions, work->node, size);
        if (r == 0)
                r = drop_setid(work);
        if (r == -EPERM)
                return command_fail(work->error, r, "%s: %s",
                                    command_show(work->name, work->length).text,
                                    work->node->flags & NODE_FIXED ? "its size is fixed for life"
                                                                   : "sealed against that");
        if (r == -ENOSPC)
                return fail_space(work, size - work->node->size);
        if (r < 0)
                return work_fail(work, r);
        work_tell(work, EVENT_RESIZE);
        return 0;
}

static int run_seal(struct work *work) {
        const char *name = work->command->name;
        int r;

        r = work_region(work);
        if (r < 0)
                return r;
        if (!access_owns(work->caller, work->node))
                return command_fail(work->error, -EPERM, "%s: only its owner may seal it",
                                    command_show(name, strlen(name)).text);
        r = region_seal(work->commander->regions, work->node, work->command->seals);
        if (r == -EBUSY)
                return command_fail(work->error, r,
                                    "%s: somebody has it open or mapped for writing",
                                    command_show(name, strlen(name)).text);
        if (r == -EOPNOTSUPP || r == -EPERM)
                return command_fail(work->error, r,
                                    "%s: cannot be sealed: it was not made by a create command",
                                    command_show(name, strlen(name)).text);
        if (r < 0)
                return work_fail(work, r);
        work_tell(work, EVENT_SEAL);
        return 0;
}

static int run_remove(struct work *work) {
        struct invalidations *invalidations = work->commander->invalidations;
        int r;

        if (!work->node)
                return work_fail(work, -ENOENT);
        r = access_unlink(work->caller, work->dir, work->node);
        if (r == 0 && node_is_dir(work->node))
                r = -EISDIR;
        if (r == 0)
                r = invalidation_entry(invalidations, work->dir->id, work->name, work->length);
        if (r == 0)
                r = invalidation_inode(invalidations, work->dir->id);
        if (r == 0)
                r = invalidation_inode(invalidations, work->node->id);
        if (r < 0)
                return work_fail(work, r);
        if (node_is_region(work->node))
                work_tell(work, EVENT_REMOVE);
        r = tree_unlink(work->commander->tree, work->dir, work->name, work->length);
        work->node = NULL;
        return r < 0 ? work_fail(work, r) : 0;
}

void command_defaults(const struct tree *tree, const struct node *dir, uint32_t *flags,
                      uint32_t *mode) {
        const struct root *root = tree_root_record(tree);

        while (!(dir->flags & NODE_DEFAULT) && dir->id != LAYOUT_ROOT_ID)
                dir = tree_node(tree, dir->parent);
        *flags = root->settings.huge ? NODE_HUGE : 0;
        *mode = LAYOUT_NO_MODE;
        if (dir->flags & NODE_DEFAULT) {
                *flags = dir->defaults;
                *mode = dir->default_mode;
        }
}

static int run_default(struct commander *commander, struct node *dir, struct caller *caller,
                       const struct command *command, struct command_error *error) {
        if (!access_owns(caller, dir))
                return command_fail(error, -EPERM, "only the owner of the directory may do that");
        journal_touch(commander->journal, dir, sizeof(*dir));
        dir->flags &= ~(uint32_t)NODE_DEFAULT;
        if (!command->none)
                dir->flags |= NODE_DEFAULT;
        dir->defaults = command->flags;
        dir->default_mode = command->has_mode ? command->mode : (uint32_t)LAYOUT_NO_MODE;
        return 0;
}

int command_run(struct commander *commander, struct node *dir, struct caller *caller,
                const struct command *command, struct node **node, struct command_error *error) {
        struct work work;
        int r;

        if (command->verb == COMMAND_DEFAULT)
                return run_default(commander, dir, caller, command, error);
        r = work_begin(&work, commander, dir, caller, command, error);
        if (r < 0)
                return r;
        switch (command->verb) {
        case COMMAND_CREATE:
                r = run_create(&work);
                break;
        case COMMAND_RESIZE:
                r = run_resize(&work);
                break;
        case COMMAND_SEAL:
                r = run_seal(&work);
                break;
        case COMMAND_REMOVE:
                r = run_remove(&work);
                break;
        default:
                r = command_fail(error, -EINVAL, "not a command that can be run here");
        }
        if ((r == 0 || r == -EINPROGRESS) && node)
                *node = work.node;
        return r;
}

int command_populate(struct commander *commander, const struct command *command,
                     const struct node *node, struct population **out, population_fn done,
                     void *userdata) {
        return population_start(out, commander->memory_jobs, node->fd, command->size,
                                node->flags & NODE_HUGE, done, userdata);
}

void command_abort(struct commander *commander, struct node *node) {
        pending_end(commander->tree, node);
        tree_reap(commander->tree, node);
}

int command_finish(struct commander *commander, struct node *dir, struct caller *caller,
                   const struct command *command, struct node *node, int result, uint64_t huge,
                   struct command_error *error) {
        struct work work;
        int r;

        /* Anything may have happened to the directory meanwhile. */
        r = work_begin(&work, commander, dir, caller, command, error);
        if (r == 0 && result < 0)
                r = result == -ENOSPC
                            ? command_fail(error, -ENOSPC, "%s: not enough memory to populate it",
                                           command_show(work.name, work.length).text)
                            : work_fail(&work, result);
        if (r == 0)
                r = create_check(&work);
        if (r == 0) {
                pending_end(commander->tree, node);
                JOURNAL_SET(commander->journal, node->btime, stamp_now());
                JOURNAL_SET(commander->journal, node->huge, huge);
                r = create_name(&work, node);
        }
        if (r < 0)
                command_abort(commander, node);
        return r;
}
