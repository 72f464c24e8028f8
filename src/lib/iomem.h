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
struct iomem_connection;

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

/* What is known of a region.  Its name is not in it, so that it fits where others are kept. */
struct iomem_stat {
        uint64_t size;
        uint64_t allocated; /* bytes that have memory */
        uint64_t huge;      /* bytes that were in huge pages when it was populated */
        uint64_t inode;     /* st_ino of the file */
        int64_t created;    /* seconds since 1970 */
        uint32_t created_nsec;
        uint32_t mode; /* permissions */
        uint32_t uid, gid;
        uint32_t links;
        uint32_t refs;    /* open handles of the mount */
        uint32_t writers; /* of these, for writing */
        uint32_t flags;   /* IOMEM_FIXED, ... */
        uint32_t seals;   /* IOMEM_SEAL_... */
        uint32_t creator_uid;
        int32_t creator_pid;
        uint32_t reserved_word;
        char creator_command[16];
        uint64_t reserved[16];
};

/* For each region of a list.  name is relative to the directory that is listed, and as short-lived
 * as the call.  Something else than 0 ends the list. */
typedef int (*iomem_list_fn)(void *userdata, const char *name, const struct iomem_stat *region);

/* What iomem_list() tells beyond regions that have a name. */
#define IOMEM_LIST_POPULATING 1u /* those that are being populated, with IOMEM_POPULATING */

/* What happened. */
enum iomem_event_kind {
        IOMEM_EVENT_OTHER, /* something that this version does not know */
        IOMEM_EVENT_CREATE,
        IOMEM_EVENT_RESIZE,
        IOMEM_EVENT_SEAL,
        IOMEM_EVENT_RENAME,     /* the new name */
        IOMEM_EVENT_REMOVE,     /* by a user, or because an ephemeral region had none any more */
        IOMEM_EVENT_LAST_CLOSE, /* nobody has it open through the mount any more */
        IOMEM_EVENT_RESTART,    /* a new process of the daemon serves; nothing was lost */
        IOMEM_EVENT_OVERFLOW,   /* the reader was too slow: events are missing */
};

struct iomem_event {
        uint64_t sequence;
        enum iomem_event_kind kind;
        uint32_t seals;   /* IOMEM_SEAL_..., of IOMEM_EVENT_SEAL */
        const char *name; /* until the next call; NULL: it is not about a region */
        uint64_t size;
        uint64_t lost; /* of IOMEM_EVENT_OVERFLOW */
        uint32_t uid;  /* who did it; UINT32_MAX and 0 if that is not told */
        int32_t pid;
        uint64_t reserved[8];
};

/* Events that come.  For one thread at a time. */
struct iomem_events;

/* Connections: iomem_connect(3) */

/*
 * Connects.  where: a mount point, a directory in it, or the path of a socket; NULL: $IOMEMFS, or
 * /mnt/mem.  Names are relative to the directory, or to the root of the socket's file system.
 */
IOMEM_API int iomem_connect(struct iomem_connection **out, const char *where);
/* Ends a connection; descriptors that came from it stay.  NULL is allowed. */
IOMEM_API void iomem_disconnect(struct iomem_connection *connection);
/* What went wrong in the last call of this thread that failed; "" if none has. */
IOMEM_API const char *iomem_error(void);
IOMEM_API const char *iomem_version(void);

/* Regions by name: iomem_create(3) */

/* Makes a region and opens it for writing.  mode: permissions, or -1 for what umask(2) leaves. */
IOMEM_API int iomem_create(struct iomem_connection *connection, const char *name, uint64_t size,
                           int mode, unsigned int flags);
IOMEM_API int iomem_open(struct iomem_connection *connection, const char *name, int access);
IOMEM_API int iomem_resize(struct iomem_connection *connection, const char *name, uint64_t size);
IOMEM_API int iomem_seal(struct iomem_connection *connection, const char *name, unsigned int seals);
IOMEM_API int iomem_remove(struct iomem_connection *connection, const char *name);

/* Looking: iomem_stat(3) */

IOMEM_API int iomem_stat(struct iomem_connection *connection, const char *name,
                         struct iomem_stat *out);
/* Calls fn for each region below directory (NULL: all) until it returns something else than 0.
 * flags: 0 or IOMEM_LIST_POPULATING. */
IOMEM_API int iomem_list(struct iomem_connection *connection, const char *directory,
                         unsigned int flags, iomem_list_fn fn, void *userdata);
/* Waits until there is a region of that name.  timeout_ms: -1 for ever.  -ETIMEDOUT. */
IOMEM_API int iomem_wait(struct iomem_connection *connection, const char *name, int timeout_ms);

/* Events: iomem_events_open(3) */

/* What happens below directory (NULL: everywhere), from now on.  Needs the mount in sight. */
IOMEM_API int iomem_events_open(struct iomem_events **out, struct iomem_connection *connection,
                                const char *directory);
/* Ends it.  NULL is allowed. */
IOMEM_API void iomem_events_close(struct iomem_events *events);
/* For poll(2): readable when iomem_events_next() has something to return. */
IOMEM_API int iomem_events_fd(const struct iomem_events *events);
/* The next event.  timeout_ms: -1 for ever, 0 not at all.  -ETIMEDOUT: there is none. */
IOMEM_API int iomem_events_next(struct iomem_events *events, struct iomem_event *out,
                                int timeout_ms);

/* Memory, with or without an iomemfs: iomem_map(3) */

/* A region without a name.  flags: IOMEM_FIXED, IOMEM_POPULATE, IOMEM_HUGE. */
IOMEM_API int iomem_anonymous(uint64_t size, unsigned int flags);
/* Maps all of a region, shared.  One of size 0 gives NULL and 0. */
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
