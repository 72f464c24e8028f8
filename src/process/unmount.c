/* SPDX-License-Identifier: MIT */
#include "process/unmount.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
#include "base/errno_text.h"
#include "process/mount.h"

struct unmount {
        const char *directory;
        int flags;   /* MNT_… */
        bool nested; /* in another mount namespace, by -N */
};

bool unmount_is_helper(const char *argv0) {
        const char *base = argv0 ? strrchr(argv0, '/') : NULL;

        base = base ? base + 1 : argv0;
        return base && strcmp(base, "umount.fuse.iomemfs") == 0;
}

/* Arguments as mount(8) says in "External helpers": DIR [-flnrv] [-N NAMESPACE] [-t TYPE]. */
static bool unmount_parse(struct unmount *out, int argc, char **argv) {
        int option;

        *out = (struct unmount){0};
        while ((option = getopt(argc, argv, "flnrvN:t:")) != -1) {
                if (option == 'f')
                        out->flags |= MNT_FORCE;
                else if (option == 'l')
                        out->flags |= MNT_DETACH;
                else if (option == '?')
                        return false;
                else if (option == 'N')
                        out->nested = true;
        }
        out->directory = argv[optind];
        return argc - optind == 1;
}

int unmount_run(int argc, char **argv) {
        struct unmount unmount;
        int r;

        if (!unmount_parse(&unmount, argc, argv)) {
                fputs("iomemfs: usage: umount.fuse.iomemfs DIR [-flnrv] [-t TYPE]\n", stderr);
                return MOUNT_USAGE;
        }
        if (unmount.nested) {
                fputs("iomemfs: umount -N is not supported: enter the namespace by nsenter(1)\n",
                      stderr);
                return MOUNT_USAGE;
        }
        r = umount2(unmount.directory, unmount.flags) < 0 ? -errno : 0;
        if (r == -EPERM)
                r = mount_detach_by_fusermount(unmount.directory, unmount.flags & MNT_DETACH);
        if (r == -EBUSY)
                fprintf(stderr,
                        "iomemfs: %s: target is busy; 'iomem -m %s who' shows who uses it\n",
                        unmount.directory, unmount.directory);
        else if (r < 0 && r != -ECHILD)
                fprintf(stderr, "iomemfs: %s: %s\n", unmount.directory, errno_text(r));
        return r < 0 ? MOUNT_FAILED : MOUNT_OK;
}
