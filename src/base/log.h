/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * log: one line for each event that an administrator should know of.
 *
 * In the foreground, lines go to stderr as "iomemfs: …"; otherwise to the socket of syslog(3), as
 * LOG_DAEMON.  We use an unconnected datagram socket of our own, whose number is kept in the root
 * record.  glibc's syslog() and sd_notify() would open descriptors that we do not know of; in a
 * descriptor table that several processes share, such a number could become a region's.  The same
 * socket tells systemd.
 *
 * Never: allocates, blocks (a line is lost when the socket is full), exits.
 */

#include <stdbool.h>
#include <syslog.h>

/* fd: an unconnected AF_UNIX datagram socket (non-blocking), or -1. */
void log_setup(int fd, bool foreground, bool verbose);
/* In the background, warnings and errors go to stderr as well until log_detach(), so that the user
 * who mounts sees why it failed.  After it, stderr is /dev/null in every process that shares the
 * descriptor table.  In the foreground it does nothing. */
void log_detach(void);
/* priority: LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG (shown with -v only). */
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Sends sd_notify(3)'s datagram, e.g. "READY=1"; does nothing if $NOTIFY_SOCKET is not set. */
void log_notify_service(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with a descriptor, as sd_pid_notify_with_fds(3).  0 or negative errno; -ENOENT if
 * $NOTIFY_SOCKET is not set. */
int log_notify_fd(int fd, const char *text);
