/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * cli: functions that the commands of iomem share.
 *
 * Messages go to stderr as "iomem: ...".  The exit status says which kind of failure it was, so
 * that a script need not read the message.
 */

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include "iomem.h"

/* Exit statuses besides 0. */
enum {
        CLI_FAILED = 1,  /* anything else */
        CLI_USAGE = 2,   /* wrong arguments */
        CLI_ABSENT = 3,  /* no such region or directory, or no iomemfs there */
        CLI_DENIED = 4,  /* permissions, seals, or read-only */
        CLI_NO_ROOM = 5, /* a limit, or memory, or the largest size */
        CLI_TIMED_OUT = 6,
        CLI_IN_THE_WAY = 7, /* the name exists already, or somebody uses the region */
        EXIT_CANNOT_RUN = 126,
        EXIT_NOT_FOUND = 127,
};

/* A command: its own options and arguments, argv[0] its name. */
typedef int (*cli_fn)(int argc, char **argv);

/* The commands; see cli_fn. */
int cli_ls(int argc, char **argv);
int cli_stat(int argc, char **argv);
int cli_who(int argc, char **argv);
int cli_create(int argc, char **argv);
int cli_resize(int argc, char **argv);
int cli_seal(int argc, char **argv);
int cli_rm(int argc, char **argv);
int cli_df(int argc, char **argv);
int cli_limit(int argc, char **argv);
int cli_wait(int argc, char **argv);
int cli_events(int argc, char **argv);
int cli_exec(int argc, char **argv);
int cli_umount(int argc, char **argv);
int cli_top(int argc, char **argv);

/* Shows on stderr who has a region open or mapped, or with NULL who uses the mount; nothing if
 * nobody can be seen. */
void cli_who_complain(const char *argument);

/* Messages */

/* Prints "iomem: " and the message; returns CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints libiomem's last error; returns the exit status for that (negative) errno. */
int cli_fail_iomem(int error);
/* Prints "iomem: WHAT: " and the errno's text; returns its exit status. */
int cli_fail_errno(int error, const char *what);
/* For wrong arguments: prints the message and a hint at --help; returns CLI_USAGE. */
int cli_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the hint after getopt_long(3) has printed an error. */
int cli_try_help(void);
/* Of the names, which end in NULL, the one that the word was probably meant to be; or NULL. */
const char *cli_suggest(const char *word, const char *const *names);

/* Options */

/*
 * As getopt_long(3), but handles the options that all commands have: -m.  The options end in an
 * element without name.
 */
int cli_getopt(int argc, char **argv, const char *short_options, const struct option *options);

/* The place: place.c */

/* The argument of -m: a mount point or a socket; NULL if it was not given. */
extern const char *cli_where;
/* Where names are: -m, $IOMEMFS, the working directory if it is in an iomemfs, or /mnt/mem. */
const char *cli_place(void);
/* Where the mount of that is visible; if it is not, the same as cli_place().  out: PATH_MAX. */
void cli_find_mount(char *out);
/* Whether an iomemfs is mounted there; asks the mount table, not the file system. */
bool cli_is_mount(const char *path);
/* Whether the argument is the path of a file, /mnt/mem/frames or ./frames, and not a name. */
bool cli_is_path(const char *argument);
/*
 * Connects to the iomemfs of a region, which is given as a name or a path; *name is then relative
 * to the connection, and valid until the next call.  0, or an exit status after a message.
 */
int cli_connect(struct iomem_connection **out, const char *argument, const char **name);
/* The same for a directory, whose *name is NULL if it is that of the connection. */
int cli_connect_directory(struct iomem_connection **out, const char *argument, const char **name);
/* cli_connect() without a message.  0 or negative errno. */
int cli_try_connect(struct iomem_connection **out, const char *argument, const char **name);

/* Words */

/* Parses a size, see base/size.h.  0, or an exit status after a message. */
int cli_parse_size(const char *text, uint64_t *out);
/* Writes bits as words with commas; "" for none. */
void cli_format_flags(char *buffer, size_t size, uint32_t flags);
void cli_format_seals(char *buffer, size_t size, uint32_t seals);
/* False if one of the words is no seal. */
bool cli_parse_seals(const char *text, uint32_t *out);
/* Writes a name, or the number if there is no name. */
void cli_format_user(char *buffer, size_t size, uid_t uid);
void cli_format_group(char *buffer, size_t size, gid_t gid);
