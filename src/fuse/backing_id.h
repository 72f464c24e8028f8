/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * backing_id: the kernel's numbers for files that passthrough goes to.
 *
 * Owns nothing: the ids are recorded with their regions.  Never: knows what a file is.
 */

#include <stdbool.h>

/* A backing id for the file, above 0; or negative errno. */
int backing_id_open(int fuse_fd, int fd);
/* Ids that the kernel does not know are passed over. */
void backing_id_close(int fuse_fd, int id);
/* Whether files can really be backed: the flag of INIT alone does not say. */
bool backing_id_works(int fuse_fd);
