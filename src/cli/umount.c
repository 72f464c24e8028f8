/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cli.h"

/*
 * umount: unmounts as umount(8) does, and shows who is in the way if the mount is in use.
 *
 * umount(8) itself cannot be made to say that: for root it asks no helper of this file system.
 */

extern char **environ;

/* For ordinary users.  0, or an exit status; fusermount3 has printed a message then. */
static int by_fusermount(const char *directory, bool lazy) {
        char *argv[] = {"fusermount3", lazy ? "-uz" : "-u", "--", (char *)directory, NULL};
        int status, r;
        pid_t pid;

        r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
        if (r != 0)
                return cli_fail("fusermount3 is missing: install the package fuse3");
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return cli_fail_errno(-errno, directory);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : CLI_IN_THE_WAY;
}

static int unmount(const char *directory, bool lazy) {
        if (umount2(directory, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
                return 0;
        if (errno == EPERM)
                return by_fusermount(directory, lazy);
        if (errno == EINVAL)
                return cli_fail("%s: not a mount point", directory);
        return cli_fail_errno(-errno, directory);
}

int cli_umount(int argc, char **argv) {
        static const struct option options[] = {
                {"lazy", no_argument, NULL, 'l'},
                {NULL, 0, NULL, 0},
        };
        char mount[PATH_MAX];
        bool lazy = false;
        int option, status;

        while ((option = cli_getopt(argc, argv, "l", options)) != -1) {
                if (option != 'l')
                        return cli_try_help();
                lazy = true;
        }
        if (argc - optind > 1)
                return cli_misuse("umount takes one directory at most");
        if (optind < argc)
                cli_where = argv[optind];
        cli_find_mount(mount);
        if (!cli_is_mount(mount)) {
                cli_fail("%s: no iomemfs is mounted there", mount);
                return CLI_ABSENT;
        }
        status = unmount(mount, lazy);
        if (status == CLI_IN_THE_WAY) {
                cli_fail("'iomem -m %s who' shows who uses it:", mount);
                cli_who_complain(NULL);
        }
        return status;
}
