/* SPDX-License-Identifier: MIT */
#include "memory/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/fault.h"
#include "memory/descriptor.h"

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
        int fresh = backing_reopen(fd, O_RDWR);

        close(fd);
        return fresh;
}

int backing_memfd(int number, uint64_t size) {
        int fd = backing_memfd_create(), r = 0;

        if (fd >= 0)
                fd = backing_replace(fd);
        if (fd < 0)
                return fd;
        if (fault_strikes(FAULT_TRUNCATE))
                r = -EIO;
        else if (ftruncate(fd, (off_t)size) < 0)
                r = -errno;
        if (r == 0)
                return descriptor_move(fd, number);
        close(fd);
        return r;
}

bool backing_tmpfs_works(void) {
        int context = fsopen("tmpfs", FSOPEN_CLOEXEC);

        if (context >= 0)
                close(context);
        return context >= 0;
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

int backing_open_handle(const struct file_handle_words *handle) {
        struct handle_buffer buffer = {.head = {sizeof(buffer.words), (int)handle->type}};
        /* All memfds are on one mount. */
        int memfd = memfd_create("iomemfs-mount", MFD_CLOEXEC), fd;

        if (memfd < 0)
                return backing_error(errno);
        memcpy(buffer.head.f_handle, handle->words, sizeof(handle->words));
        fd = open_by_handle_at(memfd, &buffer.head, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                fd = backing_error(errno);
        close(memfd);
        return fd;
}

bool backing_handles_work(void) {
        int fd = memfd_create("iomemfs-trial", MFD_CLOEXEC), again = -1;
        struct file_handle_words handle;

        if (fd >= 0 && backing_handle(fd, &handle) == 0)
                again = backing_open_handle(&handle);
        if (again >= 0)
                close(again);
        if (fd >= 0)
                close(fd);
        return again >= 0;
}
