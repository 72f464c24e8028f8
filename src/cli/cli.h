/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * cli: what the commands of iomem share.
 *
 * Messages go to stderr as "iomem: ..."; exit statuses are those of util-linux: 0, or 1 for any
 * failure; `exec` has 126 and 127 for a command that cannot be run or is not there.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include "iomem.h"

enum { EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/* A command: its own options and arguments, argv[0] its name. */
typedef int (*cli_fn)(int argc, char **argv);

int cli_ls(int argc, char **argv);
int cli_stat(int argc, char **argv);
int cli_who(int argc, char **argv);
int cli_create(int argc, char **argv);
int cli_resize(int argc, char **argv);
int cli_seal(int argc, char **argv);
int cli_rm(int argc, char **argv);
int cli_wait(int argc, char **argv);
int cli_events(int argc, char **argv);
int cli_exec(int argc, char **argv);

/* What -m said: a mount point or a socket; NULL for the default. */
extern const char *cli_where;

/* "iomem: " and the message; returns EXIT_FAILURE. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for libiomem's last error. */
int cli_fail_iomem(void);
/* For a wrong call: the message, and where there is help. */
int cli_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* After getopt_long(3) has complained. */
int cli_try_help(void);

/*
 * Connects for a region that is given as NAME, or as a path like /mnt/mem/NAME; then *name is what
 * is relative to the connection.  NULL after a message.
 */
struct iomem_connection *cli_connect(const char *argument, const char **name);
/* The same without a word.  0, negative errno. */
int cli_try_connect(struct iomem_connection **out, const char *argument, const char **name);

/* A size with K, M, G or T (and then perhaps iB).  False if it is none. */
bool cli_parse_size(const char *text, uint64_t *out);
/* 1536 as 1.5K. */
void cli_format_size(char *buffer, size_t size, uint64_t bytes);
/* Bits as words with commas; "" for none. */
void cli_format_flags(char *buffer, size_t size, uint32_t flags);
void cli_format_seals(char *buffer, size_t size, uint32_t seals);
/* False if one of the words is no seal. */
bool cli_parse_seals(const char *text, uint32_t *out);
/* Names, or numbers if they have none. */
void cli_format_user(char *buffer, size_t size, uid_t uid);
void cli_format_group(char *buffer, size_t size, gid_t gid);
