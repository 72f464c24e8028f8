/* SPDX-License-Identifier: MIT */

/*
 * floor: what a request to any FUSE file system costs at least.
 *
 * A server that knows no file says ENOENT to every name, with one read(2) and one writev(2) a
 * request and no thought in between.  It is tried in two places: on the CPU of its client, asleep
 * until it is asked (via "same"), and on another one, where it never sleeps (via "other").
 */

#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { REQUEST_MAX = 1 << 18 };

union answer {
        struct fuse_init_out init;
        struct fuse_attr_out attr;
};

/* The size of the answer; 0 or negative errno if it has none. */
static int answer(const struct fuse_in_header *request, union answer *out) {
        const struct fuse_init_in *init = (const void *)(request + 1);

        memset(out, 0, sizeof(*out));
        switch (request->opcode) {
        case FUSE_INIT:
                out->init.major = FUSE_KERNEL_VERSION;
                out->init.minor = init->minor < FUSE_KERNEL_MINOR_VERSION
                                          ? init->minor
                                          : FUSE_KERNEL_MINOR_VERSION;
                out->init.max_readahead = init->max_readahead;
                out->init.max_write = PAGE;
                return sizeof(out->init);
        case FUSE_GETATTR:
                out->attr.attr_valid = UINT32_MAX;
                out->attr.attr.ino = FUSE_ROOT_ID;
                out->attr.attr.mode = S_IFDIR | 0755;
                out->attr.attr.nlink = 2;
                return sizeof(out->attr);
        case FUSE_LOOKUP:
                return -ENOENT;
        default:
                return -ENOSYS;
        }
}

static _Noreturn void serve(int fuse) {
        static char request[REQUEST_MAX];
        const struct fuse_in_header *header = (const void *)request;
        union answer body;

        for (;;) {
                struct fuse_out_header head = {.len = sizeof(head)};
                struct iovec reply[] = {{&head, sizeof(head)}, {&body, 0}};
                ssize_t n = read(fuse, request, sizeof(request));
                int r;

                if (n < 0) {
                        if (errno == EAGAIN || errno == EINTR || errno == ENOENT)
                                continue;
                        _exit(0); /* unmounted */
                }
                if (header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET)
                        continue;
                r = answer(header, &body);
                head.unique = header->unique;
                if (r < 0)
                        head.error = r;
                else
                        reply[1].iov_len = (size_t)r;
                head.len += (uint32_t)reply[1].iov_len;
                if (writev(fuse, reply, 2) < 0 && errno != ENOENT)
                        _exit(1);
        }
}

/* The n-th of the CPUs that we may use, counted around. */
static void stay_on(int n) {
        cpu_set_t all, one;

        if (sched_getaffinity(0, sizeof(all), &all) < 0)
                fail("sched_getaffinity");
        n %= CPU_COUNT(&all);
        CPU_ZERO(&one);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, &all) && n-- == 0)
                        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof(one), &one) < 0)
                fail("sched_setaffinity");
}

/* Mounts over the peer's directory, in a namespace that ends with this process. */
void floor_prepare(struct run *run) {
        bool other = strcmp(run->request->via, "other") == 0;
        char options[128];
        pid_t server;
        int fuse;

        fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC | (other ? O_NONBLOCK : 0));
        if (fuse < 0)
                fail("/dev/fuse");
        snprintf(options, sizeof(options),
                 "fd=%d,rootmode=40000,user_id=%d,group_id=%d,default_permissions,allow_other",
                 fuse, (int)getuid(), (int)getgid());
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("iomemfs-floor", run->request->dir, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
                fail("mount over %s", run->request->dir);
        server = fork();
        if (server < 0)
                fail("fork");
        if (server == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                stay_on(other ? 1 : 0);
                serve(fuse);
        }
        close(fuse);
        stay_on(0);
}
