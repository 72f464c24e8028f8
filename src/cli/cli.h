/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * cli: functions that the commands of iomem share.
 *
 * Messages go to stderr as "iomem: ...".  Exit statuses are those of util-linux: 0, or 1 for any
 * failure; `exec` returns 126 or 127 if its command cannot be run or does not exist.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include "iomem.h"

enum { EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

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

/* The argument of -m: a mount point or a socket; NULL for the default. */
extern const char *cli_where;

/* Prints "iomem: " and the message; returns EXIT_FAILURE. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with libiomem's last error. */
int cli_fail_iomem(void);
/* For wrong arguments: prints the message and a hint at --help. */
int cli_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the hint after getopt_long(3) has printed an error. */
int cli_try_help(void);

/*
 * Connects to the iomemfs of a region, which is given as NAME or as a path like /mnt/mem/NAME;
 * *name is then relative to the connection.  NULL after a message.
 */
struct iomem_connection *cli_connect(const char *argument, const char **name);
/* The same for a directory: connects to an absolute one; any other is relative to the connection. */
struct iomem_connection *cli_connect_directory(const char *argument, const char **directory);
/* The same without a message.  0 or negative errno. */
int cli_try_connect(struct iomem_connection **out, const char *argument, const char **name);

/* Parses a size with K, M, G or T (optionally followed by iB).  False if it is none. */
bool cli_parse_size(const char *text, uint64_t *out);
/* Writes 1536 as 1.5K. */
void cli_format_size(char *buffer, size_t size, uint64_t bytes);
/* Writes bits as words with commas; "" for none. */
void cli_format_flags(char *buffer, size_t size, uint32_t flags);
void cli_format_seals(char *buffer, size_t size, uint32_t seals);
/* False if one of the words is no seal. */
bool cli_parse_seals(const char *text, uint32_t *out);
/* Writes a name, or the number if there is no name. */
void cli_format_user(char *buffer, size_t size, uid_t uid);
void cli_format_group(char *buffer, size_t size, gid_t gid);
