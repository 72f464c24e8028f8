/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * command: the command language of .ctl and the socket.
 *
 * One line is one command.  Words are separated by spaces or tabs.  In names a space, tab, newline
 * or backslash is written as a backslash and three octal digits, as in /proc/self/mounts.  Any
 * other byte except NUL and slash may be written so; listings escape these four and the bytes that
 * words.h lists.  Sizes are as size.h has them.  A name is a path below the directory that the command is relative to.
 *
 * Parsing yields a struct command, which is run on behalf of a caller.  It needs the rights that
 * open, truncate or unlink of the name would have needed.  An error is an errno and a text of one
 * line that says what was wrong.
 *
 * Owns nothing that outlives a command.  Never: knows whether a file or the socket called it,
 * commits: the caller does, together with the reply.
 */

#include <limits.h>
#include "base/fault.h"
#include "volume/volume.h"

enum command_verb {
        COMMAND_CREATE,
        COMMAND_RESIZE,
        COMMAND_SEAL,
        COMMAND_REMOVE,
        COMMAND_DEFAULT,  /* of a directory: takes no name */
        COMMAND_LIMIT_OF, /* this and all up to COMMAND_WAIT: only by the socket */
        COMMAND_OPEN,
        COMMAND_LIST,
        COMMAND_LIMITS,
        COMMAND_STAT,
        COMMAND_WAIT,
        COMMAND_ADMIN, /* remount and upgrade: only for the owner of the mount */
        COMMAND_LIMIT, /* as COMMAND_LIMIT_OF, of a directory: takes no name */
        _COMMAND_N,
};

enum { COMMAND_ERROR_MAX = 224, COMMAND_TEXT_MAX = 64 * 1024 };

struct command {
        enum command_verb verb;
        char name[PATH_MAX]; /* unescaped */
        uint64_t size;       /* create, resize: bytes */
        bool unused;         /* resize: do not shrink a region that somebody uses */
        bool has_mode;
        uint32_t mode;       /* create, default: permissions */
        uint32_t flags;      /* create, default: NODE_EPHEMERAL, NODE_FIXED, NODE_OWNER_… */
        bool none;           /* default, limit: take it away */
        uint32_t seals;      /* seal: F_SEAL_… */
        bool writable;       /* open rw */
        bool read_only_fd;   /* create: the descriptor of the answer is for reading */
        uint64_t timeout_ms; /* wait: milliseconds, 0 for no limit */
        /* limit, admin */
        bool has_limit_bytes, has_limit_nodes;
        uint64_t limit_bytes, limit_nodes;
        /* admin */
        bool upgrade;
        bool has_read_only, read_only;
        /* admin, for tests: see root.crash_…; crash_opcode 0 unless has_crash_opcode */
        bool has_crash, has_crash_opcode;
        uint64_t crash_after, crash_again, crash_opcode;
        bool has_fault;
        enum fault fault; /* FAULT_NONE: `fault off` */
        uint64_t fault_after;
};

/* The error for people: one line without newline. */
struct command_error {
        char text[COMMAND_ERROR_MAX];
};

/* The usage of the verb as one line with newline, which reading the control file returns. */
const char *command_usage(enum command_verb verb);

/* The kind of owner that the flags name, as a word; NULL for none. */
const char *command_owner(uint32_t flags);

/* The verb at the start of a line of the socket, and the rest.  0, -EINVAL if there is none. */
int command_verb_of(const char *line, size_t length, enum command_verb *verb, const char **rest,
                    size_t *rest_length);

/* Parses the line (without verb and newline).  0, or -EINVAL, -ENAMETOOLONG, -EFBIG and the
 * text. */
int command_parse(struct command *out, enum command_verb verb, const char *line, size_t length,
                  struct command_error *error);

/*
 * Runs create, resize, seal, remove, default or limit relative to dir.  *node is the file concerned
 * (NULL after remove).  0; or the errno that open, truncate or unlink would have returned, and the
 * text: then the transaction has been aborted.
 *
 * -EINPROGRESS: the region was made, but must be populated before it gets its name.  The caller
 * calls volume_populate(), and then command_finish() in another transaction.
 */
int command_run(struct volume *volume, struct node *dir, struct caller *caller,
                const struct command *command, struct node **node, struct command_error *error);
/* result and huge: of the population.  node: the region without a name; it is dropped if the
 * population or this function failed. */
int command_finish(struct volume *volume, struct node *dir, struct caller *caller,
                   const struct command *command, struct node *node, int result, uint64_t huge,
                   struct command_error *error);
