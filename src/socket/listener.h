/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * listener: the socket in the file system, and the identity of its clients.
 *
 * Makes the socket's path appear only when it can be connected to, replaces the socket of a dead
 * daemon, and finds out which process is at the other end of a connection.
 *
 * Owns nothing.  Never: reads or writes a connection.
 */

#include <stdbool.h>
#include "volume/access.h"

/*
 * Opens a listening socket at path, non-blocking and close-on-exec.  make_directory: make its
 * directory if there is none.  If another process listens there, waits for some seconds: it may be
 * the daemon of a mount that was taken down a moment ago.  Descriptor, -EADDRINUSE if that process
 * stays, or the errors of bind(2).  *file identifies the socket's file.
 */
int listener_open(const char *path, bool make_directory, struct file_identity *file);
/* Removes the file at path if it is this one.  Call it before the socket is closed: as long as that
 * listens, no other daemon takes the path. */
void listener_remove(const char *path, const struct file_identity *file);

/* Accepts a connection; returns its descriptor.  -EAGAIN if there is none; -EMFILE or -ENFILE if
 * descriptors have run out. */
int listener_accept(int fd);
/* Fills in uid, gid and pid of the process that connected.  0; -EOWNERDEAD if its user does not
 * exist in our user namespace. */
int listener_identify(int fd, struct caller *out);
/* Fills in the supplementary groups of the process that connected.  0, -ENOMEM, … */
int listener_groups(int fd, struct caller *caller);
/* Whether fd is a connection that was accepted from the listening socket. */
bool listener_is_own(int fd, int listen_fd);
