/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * command: the command language of .ctl and the socket.
 *
 * One line, one command.  Words are separated by spaces or tabs.  In names a space, tab, newline
 * or backslash is written as a backslash and three octal digits, as in /proc/self/mounts, and any
 * other byte but NUL and slash may be; the listings write these four so, and what words.h says.
 * Sizes are bytes with an optional k, m, g or t (1024 and so on,
 * either case).  A name is a path below the directory that the command is relative to.
 *
 * Parsing yields a struct command, which is run as a given caller: rights are what open, truncate
 * or unlink of the name would have needed.  An error is an errno and a text of one line that says
 * what was wrong.
 *
 * Owns nothing that outlives a command.  Never: knows whether a file or a socket called it, or
 * commits: the caller does, with the reply.
 */

#include <limits.h>
#include "base/fault.h"
#include "volume/volume.h"

enum command_verb {
        COMMAND_CREATE,
        COMMAND_RESIZE,
        COMMAND_SEAL,
        COMMAND_REMOVE,
        COMMAND_DEFAULT, /* of a directory: takes no name */
        COMMAND_OPEN,    /* this and the next three: by the socket only */
        COMMAND_LIST,
        COMMAND_STAT,
        COMMAND_WAIT,
        COMMAND_ADMIN, /* remount and upgrade: owner of the mount only */
        _COMMAND_N,
};

enum { COMMAND_ERROR_MAX = 224, COMMAND_TEXT_MAX = 64 * 1024 };

struct command {
        enum command_verb verb;
        char name[PATH_MAX]; /* unescaped */
        uint64_t size;       /* create, resize: bytes */
        bool has_mode;
        uint32_t mode;       /* create, default: permissions */
        uint32_t flags;      /* create, default: NODE_EPHEMERAL, NODE_FIXED, … */
        bool none;           /* default: none any more */
        uint32_t seals;      /* seal: F_SEAL_… */
        bool writable;       /* open rw */
        uint64_t timeout_ms; /* wait: 0 for none */
        /* admin */
        bool has_limit_bytes, has_limit_nodes, upgrade;
        bool has_read_only, read_only;
        uint64_t limit_bytes, limit_nodes;
        /* admin, for tests: see root.crash_…; crash_opcode 0 unless has_crash_opcode */
        bool has_crash, has_crash_opcode;
        uint64_t crash_after, crash_again, crash_opcode;
        bool has_fault;
        enum fault fault; /* FAULT_NONE: `fault off` */
        uint64_t fault_after;
};

/* The outcome for people: one line, no newline. */
struct command_error {
        char text[COMMAND_ERROR_MAX];
};

/* One line of usage for the verb, with newline: what reading the control file gives. */
const char *command_usage(enum command_verb verb);

/* The verb of the first word of a line of the socket, and the rest.  -EINVAL if there is none. */
int command_verb_of(const char *line, size_t length, enum command_verb *verb, const char **rest,
                    size_t *rest_length);

/* Parses the line (without verb and newline).  0, -EINVAL, -ENAMETOOLONG, -EFBIG, with text. */
int command_parse(struct command *out, enum command_verb verb, const char *line, size_t length,
                  struct command_error *error);

/* Sizes with a suffix, as in `64M`; 0, -EINVAL, -EFBIG (more than INT64_MAX). */
int command_parse_size(const char *text, size_t length, uint64_t *out);

/*
 * Runs create, resize, seal, remove or default relative to dir.  *node is the region it was about
 * (NULL after remove).  0, or the errno that open, truncate or unlink would have given, with text;
 * the transaction has been aborted then.
 *
 * -EINPROGRESS: a region that is to be populated is there, but has no name yet.  The caller has it
 * populated with volume_populate(), and then calls command_finish(), in another transaction.
 */
int command_run(struct volume *volume, struct node *dir, struct caller *caller,
                const struct command *command, struct node **node, struct command_error *error);
/* result and huge: of the population; node: the region without a name, which is given up if that
 * or this failed. */
int command_finish(struct volume *volume, struct node *dir, struct caller *caller,
                   const struct command *command, struct node *node, int result, uint64_t huge,
                   struct command_error *error);
