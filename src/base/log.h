/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * log: one line for each thing that an administrator should know.
 *
 * In the foreground lines go to stderr as "iomemfs: …", else to syslog(3)'s socket as LOG_DAEMON.
 * The socket is an unconnected datagram socket whose descriptor number is kept in the root record:
 * glibc's syslog() and sd_notify() keep descriptors of their own, which, in a descriptor table that
 * several processes share, would one day be somebody's region.  The same socket tells systemd.
 *
 * Never: allocates, blocks (a full socket loses the line), exits.
 */

#include <stdbool.h>
#include <syslog.h>

/* fd: an unconnected AF_UNIX datagram socket (non-blocking), or -1. */
void log_setup(int fd, bool foreground, bool verbose);
/* In the background warnings and errors go to stderr as well until log_detach(), so that whoever
 * mounts reads why it failed; after it stderr is /dev/null in every process that shares the table
 * of descriptors.  Nothing happens in the foreground. */
void log_detach(void);
/* priority: LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG (shown with -v only). */
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* sd_notify(3)'s datagram, e.g. "READY=1"; nothing without $NOTIFY_SOCKET. */
void log_notify_service(const char *format, ...) __attribute__((format(printf, 1, 2)));
