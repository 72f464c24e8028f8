/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_SYSLOG_PATH "/dev/log"

enum { LOG_LINE_MAX = 1024 };

static struct {
        int fd;
        bool foreground, verbose;
} log_state = {.fd = -1, .foreground = true};

void log_setup(int fd, bool foreground, bool verbose) {
        log_state.fd = fd;
        log_state.foreground = foreground;
        log_state.verbose = verbose;
}

void log_detach(void) {
        if (log_state.foreground)
                return;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0)
                return;
        dup2(null, STDERR_FILENO);
        close(null);
}

/* The address of the socket at path; a leading '@' is the abstract name space.  Its length, or 0. */
static socklen_t log_address(struct sockaddr_un *address, const char *path) {
        size_t length = strlen(path);

        *address = (struct sockaddr_un){.sun_family = AF_UNIX};
        if (length == 0 || length >= sizeof(address->sun_path))
                return 0;
        memcpy(address->sun_path, path, length);
        if (path[0] == '@')
                address->sun_path[0] = '\0';
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

/* Sends a datagram to the socket at path. */
static void log_send(const char *path, const char *text, size_t length) {
        struct sockaddr_un address;
        socklen_t size = log_address(&address, path);

        if (log_state.fd >= 0 && size > 0)
                (void)sendto(log_state.fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL,
                             (struct sockaddr *)&address, size);
}

/* One write(2), so that lines of two processes do not mix.  An error here cannot be reported
 * anywhere. */
static void log_to_stderr(int priority, const char *message) {
        const char *word = priority <= LOG_ERR       ? "error: "
                           : priority == LOG_WARNING ? "warning: "
                                                     : "";
        char line[LOG_LINE_MAX + 32];
        int length = snprintf(line, sizeof(line), "iomemfs: %s%s\n", word, message);
        ssize_t written = write(STDERR_FILENO, line, (size_t)length);

        (void)written;
}

static void log_to_syslog(int priority, const char *message) {
        char line[LOG_LINE_MAX + 64];
        int length = snprintf(line, sizeof(line), "<%d>iomemfs[%d]: %s", LOG_DAEMON | priority,
                              (int)getpid(), message);

        log_send(LOG_SYSLOG_PATH, line, (size_t)length);
}

void log_line(int priority, const char *format, ...) {
        char message[LOG_LINE_MAX];
        int saved_errno = errno;
        va_list arguments;

        if (priority == LOG_DEBUG && !log_state.verbose)
                return;
        va_start(arguments, format);
        vsnprintf(message, sizeof(message), format, arguments);
        va_end(arguments);
        if (log_state.foreground || priority <= LOG_WARNING)
                log_to_stderr(priority, message);
        if (!log_state.foreground)
                log_to_syslog(priority, message);
        errno = saved_errno;
}

void log_notify_service(const char *format, ...) {
        const char *path = getenv("NOTIFY_SOCKET");
        char message[LOG_LINE_MAX];
        va_list arguments;

        if (!path)
                return;
        va_start(arguments, format);
        int length = vsnprintf(message, sizeof(message), format, arguments);
        va_end(arguments);
        if (length > 0 && length < LOG_LINE_MAX)
                log_send(path, message, (size_t)length);
}

int log_notify_fd(int fd, const char *text) {
        const char *path = getenv("NOTIFY_SOCKET");
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
        struct iovec iov = {(char *)text, strlen(text)};
        struct sockaddr_un address;
        struct msghdr message = {
                .msg_name = &address,
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control.space),
        };

        message.msg_namelen = log_address(&address, path ? path : "");
        if (log_state.fd < 0 || message.msg_namelen == 0)
                return -ENOENT;
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        return sendmsg(log_state.fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}
