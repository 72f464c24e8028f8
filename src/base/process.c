/* SPDX-License-Identifier: MIT */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        STAT_MAX = 1024, /* bytes of /proc/PID/stat that are read; its start time is within them */
        FIELD_PPID = 4,
        FIELD_STARTTIME = 22, /* see proc(5) */
};

int process_open(pid_t pid) {
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);

        if (fd >= 0)
                return fd;
        /* A thread that is no leader is EINVAL in older kernels, ENOENT in newer ones. */
        return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
}

/* Fields of /proc/PID/status */

static FILE *status_open(pid_t pid) {
        char path[32];

        if (pid <= 0)
                return NULL;
        snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        return fopen(path, "re");
}

/* The next value of one of these keys; *key: its index.  False: there is none. */
static bool status_next(FILE *file, const char *const *keys, int base, unsigned int *key,
                        uint64_t *value) {
        char line[128];

        while (fgets(line, sizeof(line), file))
                for (unsigned int i = 0; keys[i]; i++) {
                        size_t length = strlen(keys[i]);

                        if (strncmp(line, keys[i], length) != 0)
                                continue;
                        *key = i;
                        *value = strtoull(line + length, NULL, base);
                        return true;
                }
        return false;
}

pid_t process_of(pid_t thread) {
        static const char *const keys[] = {"Tgid:", NULL};
        uint64_t value = 0;
        unsigned int key;
        FILE *file;
        int fd;

        /* Most callers are leaders, and for those this is much faster. */
        fd = thread > 0 ? process_open(thread) : -ESRCH;
        if (fd >= 0) {
                close(fd);
                return thread;
        }
        file = status_open(thread);
        if (!file)
                return 0;
        if (!status_next(file, keys, 10, &key, &value))
                value = 0;
        fclose(file);
        return (pid_t)value;
}

bool process_is_first(pid_t pid) {
        FILE *file = status_open(pid);
        char line[256] = "";
        const char *last;

        /* Its ids in all namespaces; the one of its own comes last. */
        while (file && strncmp(line, "NSpid:", 6) != 0)
                if (!fgets(line, sizeof(line), file))
                        break;
        if (file)
                fclose(file);
        last = strncmp(line, "NSpid:", 6) == 0 ? strrchr(line, '\t') : NULL;
        return last && strtol(last, NULL, 10) == 1;
}

/* Signals whose default action does not end a process. */
static uint64_t harmless(void) {
        static const int signals[] = {SIGCHLD, SIGCONT, SIGURG,  SIGWINCH,
                                      SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
        uint64_t set = 0;

        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                set |= UINT64_C(1) << (signals[i] - 1);
        return set;
}

bool process_is_dying(pid_t thread) {
        static const char *const keys[] = {
                "SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:", NULL};
        FILE *file = status_open(thread);
        uint64_t sets[sizeof(keys) / sizeof(keys[0])] = {0}, value, pending;
        unsigned int key;

        while (file && status_next(file, keys, 16, &key, &value))
                sets[key] = value;
        if (file)
                fclose(file);
        /* A signal that would kill the process without a core dump is turned into SIGKILL when it is
         * sent. */
        pending = sets[0] | sets[1];
        return (pending & UINT64_C(1) << (SIGKILL - 1)) ||
               (pending & ~(sets[2] | sets[3] | sets[4] | harmless()));
}

/* Fields of /proc/PID/stat */

/* A field of numbers; fields count from 1, and the second one may have spaces and parentheses. */
static bool stat_field(pid_t pid, int field, uint64_t *value) {
        char path[32], text[STAT_MAX];
        const char *at;
        ssize_t n;
        int fd;

        if (pid <= 0)
                return false;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[n > 0 ? n : 0] = '\0';
        at = strrchr(text, ')');
        for (int i = 2; at && i < field; i++)
                at = strchr(at + 1, ' ');
        return at && sscanf(at, " %" SCNu64, value) == 1;
}

uint64_t process_start_time(pid_t pid) {
        uint64_t start;

        return stat_field(pid, FIELD_STARTTIME, &start) ? start + 1 : 0;
}

pid_t process_parent(pid_t pid) {
        uint64_t parent;

        return stat_field(pid, FIELD_PPID, &parent) ? (pid_t)parent : 0;
}
