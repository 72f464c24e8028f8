/* SPDX-License-Identifier: MIT */
#include "process/reexec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

/* Clears close-on-exec of all descriptors.  reexec() sets it again if execve(2) fails. */
static int keep_descriptors(void) {
        struct dirent *entry;
        DIR *dir;

        dir = opendir("/proc/self/fd");
        if (!dir)
                return -errno;
        while ((entry = readdir(dir))) {
                int fd = atoi(entry->d_name);

                if (fd > STDERR_FILENO && fd != dirfd(dir))
                        fcntl(fd, F_SETFD, 0);
        }
        closedir(dir);
        return 0;
}

int reexec(struct journal *journal, const char *path) {
        char fd[16];
        char *argv[] = {"iomemfs", "--resume", fd, NULL};
        int r;

        snprintf(fd, sizeof(fd), "%d", journal_fd(journal));
        r = keep_descriptors();
        if (r == 0) {
                execve(path, argv, environ);
                r = -errno;
        }
        close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        return r;
}
