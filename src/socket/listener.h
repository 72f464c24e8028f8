/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * listener: the socket in the file system, and who calls.
 *
 * Makes the socket's path appear only when it can be connected to, replaces what a dead daemon
 * left, and tells who is at the other end of a connection.
 *
 * Owns nothing.  Never: reads or writes a connection.
 */

#include <stdbool.h>
#include "volume/access.h"

/*
 * A listening socket at path, non-blocking and close-on-exec; make_directory: its directory may be
 * made.  -EADDRINUSE if somebody else listens there, and the errors of bind(2).
 */
int listener_open(const char *path, bool make_directory);
void listener_remove(const char *path);

/* Takes a connection: its descriptor.  -EAGAIN if there is none; -EMFILE, -ENFILE if there is no
 * descriptor for it. */
int listener_accept(int fd);
/* Fills in uid, gid and pid of who connected.  0; -EOWNERDEAD if it is nobody in our user
 * namespace. */
int listener_identify(int fd, struct caller *out);
/* Fills in the supplementary groups of the one who connected. 0, -ENOMEM, … */
int listener_groups(int fd, struct caller *caller);
/* Whether fd is a connection that was accepted from the listening socket. */
bool listener_is_own(int fd, int listen_fd);
