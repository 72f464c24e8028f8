/* SPDX-License-Identifier: MIT */
#include "volume/reclaim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        AT_ONCE = 64 * 1024 * 1024, /* bytes that a close on the loop may free */
        STEP = 64 * 1024 * 1024,    /* bytes that are freed in one step otherwise */
};

/* Frees the memory of a large region, unless somebody else still has it. */
struct reclaim {
        struct job job;
        int fd;
};

static void reclaim_run(struct job *job) {
        struct reclaim *reclaim = (struct reclaim *)job;
        struct stat st;

        /* In steps: a worker that is killed here ends only when the system call is over. */
        if (fcntl(reclaim->fd, F_SETLEASE, F_WRLCK) == 0 && fstat(reclaim->fd, &st) == 0) {
                off_t size = st.st_size;

                while (size > 0) {
                        size = size > STEP ? size - STEP : 0;
                        if (ftruncate(reclaim->fd, size) < 0)
                                break; /* sealed: close(2) frees it all the same */
                }
        }
        close(reclaim->fd);
}

static void reclaim_done(struct job *job) {
        free(job);
}

void reclaim_close(void *userdata, int fd, uint64_t blocks) {
        struct reclaim *reclaim = NULL;

        if (blocks > AT_ONCE && userdata)
                reclaim = calloc(1, sizeof(*reclaim));
        if (!reclaim) {
                close(fd);
                return;
        }
        reclaim->job.run = reclaim_run;
        reclaim->job.done = reclaim_done;
        reclaim->fd = fd;
        job_queue_submit(userdata, &reclaim->job);
}
