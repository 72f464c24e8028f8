/* SPDX-License-Identifier: MIT */
#ifndef IOMEM_H
#define IOMEM_H

/*
 * libiomem: regions of shared memory of an iomemfs, and such that belong to no file system.
 *
 * A region in your hands is a file descriptor: map it, pass it on, close(2) it.  Functions return
 * 0 or a descriptor, and on failure a negative errno; iomem_error() then has a line of text.  See
 * iomem(3).
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define IOMEM_API __attribute__((visibility("default")))
#else
#define IOMEM_API
#endif

#define IOMEM_VERSION "0.1.0"

/* A connection to an iomemfs.  Any thread may use it; one request is under way at a time. */
struct iomem;

/* How a region is opened or mapped. */
#define IOMEM_READ 0
#define IOMEM_WRITE 1 /* and read */

/* How a region is made. */
#define IOMEM_FIXED 1u     /* its size never changes */
#define IOMEM_EPHEMERAL 2u /* the name goes with the last reference */
#define IOMEM_POPULATE 4u  /* all pages are there from the start */
#define IOMEM_HUGE 8u      /* huge pages, if there are any */

/* Among the flags of a region that has no name yet. */
#define IOMEM_POPULATING 16u

/* What cannot be done to a region any more. */
#define IOMEM_SEAL_SHRINK 1u
#define IOMEM_SEAL_GROW 2u
#define IOMEM_SEAL_WRITE 4u

struct iomem_stat {
        char name[4096]; /* relative to where the connection leads */
        uint64_t size;
        uint64_t allocated; /* bytes that have memory */
        uint64_t inode;     /* st_ino of the file */
        uint32_t mode;      /* permissions */
        uint32_t uid, gid;
        uint32_t links;
        uint32_t refs;  /* open handles of the mount */
        uint32_t flags; /* IOMEM_FIXED, ... */
        uint32_t seals; /* IOMEM_SEAL_... */
        uint32_t creator_uid;
        int32_t creator_pid;
        uint32_t created_nsec;
        int64_t created; /* seconds since 1970 */
        char creator_command[16];
        uint64_t reserved[16];
};

/* Connections: iomem_connect(3) */

/*
 * Connects.  where: a mount point, a directory in it, or the path of a socket; NULL: $IOMEMFS, or
 * /mnt/mem.  Names are relative to the directory, or to the root of the socket's file system.
 */
IOMEM_API int iomem_connect(struct iomem **out, const char *where);
/* Ends a connection; descriptors that came from it stay.  NULL is allowed. */
IOMEM_API void iomem_disconnect(struct iomem *connection);
/* What went wrong in the last call of this thread that failed; "" if none has. */
IOMEM_API const char *iomem_error(void);
IOMEM_API const char *iomem_version(void);

/* Regions by name: iomem_create(3) */

/* Makes a region and opens it for writing.  mode: permissions, or -1 for what umask(2) leaves. */
IOMEM_API int iomem_create(struct iomem *connection, const char *name, uint64_t size, int mode,
                           unsigned int flags);
IOMEM_API int iomem_open(struct iomem *connection, const char *name, int access);
IOMEM_API int iomem_resize(struct iomem *connection, const char *name, uint64_t size);
IOMEM_API int iomem_seal(struct iomem *connection, const char *name, unsigned int seals);
IOMEM_API int iomem_remove(struct iomem *connection, const char *name);

/* Looking: iomem_stat(3) */

IOMEM_API int iomem_stat(struct iomem *connection, const char *name, struct iomem_stat *out);
/* Calls fn for each region below directory (NULL: all) until it returns something else than 0. */
IOMEM_API int iomem_list(struct iomem *connection, const char *directory,
                         int (*fn)(void *userdata, const struct iomem_stat *region),
                         void *userdata);
/* The same, and then for each region that is being populated: such a one has no name yet and cannot
 * be opened, flags has IOMEM_POPULATING, and allocated tells how far it is. */
IOMEM_API int iomem_list_all(struct iomem *connection, const char *directory,
                             int (*fn)(void *userdata, const struct iomem_stat *region),
                             void *userdata);
/* Waits until there is a region of that name.  timeout_ms: -1 for ever.  -ETIMEDOUT. */
IOMEM_API int iomem_wait(struct iomem *connection, const char *name, int timeout_ms);

/* Memory, with or without an iomemfs: iomem_map(3) */

/* A region without a name.  flags: IOMEM_FIXED, IOMEM_POPULATE, IOMEM_HUGE. */
IOMEM_API int iomem_anonymous(uint64_t size, unsigned int flags);
/* Maps all of a region, shared. */
IOMEM_API int iomem_map(void **out, size_t *size, int fd, int access);
IOMEM_API int iomem_unmap(void *address, size_t size);

/* Passing on: iomem_send_fd(3) */

/* Sends a descriptor with one byte, as Ruby's send_io does, over a Unix socket. */
IOMEM_API int iomem_send_fd(int socket, int fd);
/* Receives one (close-on-exec).  -EPIPE: the other end was closed; -EBADMSG: no descriptor. */
IOMEM_API int iomem_recv_fd(int socket);

#ifdef __cplusplus
}
#endif

#endif
