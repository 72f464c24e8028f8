/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * backing_id: the kernel's ids for the files that passthrough uses.
 *
 * Owns nothing: the ids are recorded with their regions.  Never: knows what a file is.
 */

#include <stdbool.h>

/* A backing id for the file, above 0; or negative errno. */
int backing_id_open(int fuse_fd, int fd);
/* Ids that the kernel does not know are ignored. */
void backing_id_close(int fuse_fd, int id);
/* Whether the kernel really accepts backing files; the flag of INIT alone does not tell. */
bool backing_id_works(int fuse_fd);
