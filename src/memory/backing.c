/* SPDX-License-Identifier: MIT */
#include "memory/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/fault.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum { PAGE = 4096 };
/* A tmpfs that was made without a limit cannot get one later. */
#define BACKING_NO_LIMIT (UINT64_C(1) << 60)

/* A caller that asks for a file gets ENOSPC when descriptors run out. */
static int backing_error(int error) {
        return error == EMFILE || error == ENFILE ? -ENOSPC : -error;
}

int backing_reopen(int fd, int flags) {
        char path[32];
        int r;

        if (fault_strikes(FAULT_REOPEN))
                return -ENOSPC;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = open(path, flags | O_CLOEXEC);
        return r < 0 ? backing_error(errno) : r;
}

int backing_leave_spare(int fd, unsigned int spare) {
        struct rlimit limit;

        /* The kernel gives out the lowest number that is free. */
        if (fd < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0 || fd + (rlim_t)spare < limit.rlim_cur)
                return fd;
        close(fd);
        return -ENOSPC;
}

static int backing_memfd_create(void) {
        unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        int fd;

        if (fault_strikes(FAULT_MEMFD))
                return -ENOSPC;
        /* MFD_EXEC exists since Linux 6.3.  It overrides the sysctl vm.memfd_noexec, where that
         * permits it. */
        fd = memfd_create("iomemfs", flags | MFD_EXEC);
        if (fd < 0 && (errno == EINVAL || errno == EACCES))
                fd = memfd_create("iomemfs", flags);
        return fd < 0 ? backing_error(errno) : fd;
}

/* Replaces a descriptor that the lease probe does not count by a fresh open of its file. */
static int backing_replace(int fd) {
        int fresh = backing_reopen(fd, O_RDWR), r = fresh;

        if (fresh >= 0) {
                /* Keep the number, so that a region never takes one of the spare descriptors. */
                r = dup3(fresh, fd, O_CLOEXEC) < 0 ? -errno : 0;
                close(fresh);
        }
        return r;
}

static unsigned int backing_region_spare(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return BACKING_SPARE;
        return BACKING_SPARE + (unsigned int)(limit.rlim_cur / BACKING_SHARE);
}

int backing_memfd(uint64_t size) {
        int fd, r;

        fd = backing_leave_spare(backing_memfd_create(), backing_region_spare());
        if (fd < 0)
                return fd;
        r = backing_replace(fd);
        if (r == 0 && fault_strikes(FAULT_TRUNCATE))
                r = -EIO;
        else if (r == 0 && ftruncate(fd, (off_t)size) < 0)
                r = -errno;
        if (r < 0)
                close(fd);
        return r < 0 ? r : fd;
}

static int backing_set_size(int context, uint64_t limit) {
        char text[32];

        /* One page more, for the file that tmpfs_ballast() made. */
        limit = (limit > BACKING_NO_LIMIT ? BACKING_NO_LIMIT : limit) + PAGE;
        snprintf(text, sizeof(text), "%" PRIu64, limit);
        return fsconfig(context, FSCONFIG_SET_STRING, "size", text, 0) < 0 ? -errno : 0;
}

static int tmpfs_ballast(int tmpfs) {
        int fd = openat(tmpfs, "ballast", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        int r = 0;

        if (fd < 0)
                return -errno;
        if (fallocate(fd, 0, 0, PAGE) < 0)
                r = -errno;
        close(fd);
        return r;
}

int backing_tmpfs(uint64_t limit) {
        int context, tmpfs, r;

        context = fsopen("tmpfs", FSOPEN_CLOEXEC);
        if (context < 0)
                return -errno;
        r = backing_set_size(context, limit);
        if (r == 0 && (fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
                       fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", "0", 0) < 0 ||
                       fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0))
                r = -errno;
        tmpfs = r < 0 ? r : fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_STRICTATIME);
        if (r == 0 && tmpfs < 0)
                tmpfs = -errno;
        close(context);
        if (tmpfs < 0)
                return tmpfs;

        r = tmpfs_ballast(tmpfs);
        if (r < 0) {
                close(tmpfs);
                return r;
        }
        return tmpfs;
}

int backing_tmpfs_limit(int tmpfs, uint64_t limit) {
        int context, r;

        context = fspick(tmpfs, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);
        if (context < 0)
                return backing_error(errno);
        r = backing_set_size(context, limit);
        if (r == 0 && fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
                r = errno == EINVAL ? -ENOSPC : -errno;
        close(context);
        return r;
}

uint64_t backing_tmpfs_used(int tmpfs) {
        struct statfs st;
        uint64_t used;

        if (fstatfs(tmpfs, &st) < 0)
                return 0;
        used = (st.f_blocks - st.f_bfree) * (uint64_t)st.f_bsize;
        return used > PAGE ? used - PAGE : 0;
}

int backing_tmpfs_file(int tmpfs) {
        /* Unlike that of memfd_create(2), this descriptor is an open like any other. */
        int fd;

        if (fault_strikes(FAULT_MEMFD))
                return -ENOSPC;
        fd = openat(tmpfs, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return fd < 0 ? backing_error(errno) : backing_leave_spare(fd, backing_region_spare());
}

bool backing_has_other_users(int fd) {
        /* The kernel grants a write lease only if nobody else has the file open. */
        if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
                return true;
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
}

struct handle_buffer {
        struct file_handle head;
        uint32_t words[sizeof(((struct file_handle_words *)0)->words) / sizeof(uint32_t)];
};

int backing_handle(int fd, struct file_handle_words *out) {
        struct handle_buffer buffer = {.head = {.handle_bytes = sizeof(buffer.words)}};
        int mount_id;

        if (name_to_handle_at(fd, "", &buffer.head, &mount_id, AT_EMPTY_PATH) < 0)
                return errno == EOVERFLOW ? -EOPNOTSUPP : -errno;
        if (buffer.head.handle_bytes != sizeof(buffer.words))
                return -EOPNOTSUPP;
        out->type = (uint32_t)buffer.head.handle_type;
        memcpy(out->words, buffer.head.f_handle, sizeof(out->words));
        return 0;
}

int backing_open_handle(int mount_fd, const struct file_handle_words *handle) {
        struct handle_buffer buffer = {.head = {sizeof(buffer.words), (int)handle->type}};
        /* All memfds are on one mount. */
        int memfd = mount_fd < 0 ? memfd_create("iomemfs-mount", MFD_CLOEXEC) : -1, fd;

        if (mount_fd < 0 && memfd < 0)
                return backing_error(errno);
        memcpy(buffer.head.f_handle, handle->words, sizeof(handle->words));
        fd = open_by_handle_at(mount_fd < 0 ? memfd : mount_fd, &buffer.head, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                fd = backing_error(errno);
        if (memfd >= 0)
                close(memfd);
        return fd;
}

bool backing_handles_work(void) {
        int fd = memfd_create("iomemfs-trial", MFD_CLOEXEC), again = -1;
        struct file_handle_words handle;

        if (fd >= 0 && backing_handle(fd, &handle) == 0)
                again = backing_open_handle(-1, &handle);
        if (again >= 0)
                close(again);
        if (fd >= 0)
                close(fd);
        return again >= 0;
}
