/* SPDX-License-Identifier: MIT */
#ifndef IOMEM_H
#define IOMEM_H

/*
 * libiomem: regions of shared memory of an iomemfs, and regions that belong to no file system.
 *
 * A region is given to you as a file descriptor (close-on-exec): map it, send it, close(2) it.
 * Functions return 0 or a descriptor, and on failure a negative errno; iomem_error() then has a
 * line of text.  Sizes are bytes, names are bytes without encoding.  See iomem(3).
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

/* A connection to an iomemfs.  Any thread may use it; requests of several threads run one by
 * one. */
struct iomem_connection;

/* How a region is opened or mapped. */
#define IOMEM_READ 0
#define IOMEM_WRITE 1 /* and read */

/* How a region is made. */
#define IOMEM_FIXED 1u     /* its size never changes */
#define IOMEM_EPHEMERAL 2u /* the name goes when nobody has the region open or mapped */
#define IOMEM_POPULATE 4u  /* all pages have memory from the start */
#define IOMEM_HUGE 8u      /* huge pages, as far as the kernel has them */
/* The descriptor is for reading.  A region that was handed out for writing by the socket cannot be
 * sealed against shrinking or growing alone any more. */
#define IOMEM_READ_ONLY 1024u

/* In the flags of a region that has no name yet. */
#define IOMEM_POPULATING 16u

/* In the flags of a file that open(2) made: its size asks for no memory. */
#define IOMEM_SPARSE 32u

/* Whose end its name waits for: then it goes with the last reference.  One of them at most, and not
 * with IOMEM_EPHEMERAL. */
#define IOMEM_OWNER_PROCESS 64u    /* the process that made it */
#define IOMEM_OWNER_SERVICE 128u   /* that one's control group */
#define IOMEM_OWNER_CONTAINER 256u /* that one's PID namespace */
/* In the flags of a region whose owner has ended. */
#define IOMEM_OWNER_ENDED 512u

/* What nobody can do to a region any more. */
#define IOMEM_SEAL_SHRINK 1u
#define IOMEM_SEAL_GROW 2u
#define IOMEM_SEAL_WRITE 4u

/* The properties of a region.  The name is passed beside it. */
struct iomem_stat {
        uint64_t size;
        uint64_t allocated; /* bytes that have memory */
        uint64_t huge;      /* bytes that were in huge pages when it was populated */
        uint64_t inode;     /* st_ino of the file */
        int64_t created;    /* time of creation, seconds since 1970 */
        uint32_t created_nsec;
        uint32_t mode; /* permissions */
        uint32_t uid, gid;
        uint32_t links;
        uint32_t refs;    /* open handles of the mount */
        uint32_t writers; /* those of them that can write */
        uint32_t flags;   /* IOMEM_FIXED, ... */
        uint32_t seals;   /* IOMEM_SEAL_... */
        uint32_t creator_uid;
        int32_t creator_pid;
        uint32_t reserved_word;
        char creator_command[16];
        uint64_t reserved[16];
};

/* Called for each region of a list.  name is relative to the listed directory; name and region are
 * valid during the call only.  Return 0 to go on, any other value to end the list. */
typedef int (*iomem_list_fn)(void *userdata, const char *name, const struct iomem_stat *region);

/* Regions that iomem_list() reports besides those that have a name. */
#define IOMEM_LIST_POPULATING 1u /* regions that are being populated, with IOMEM_POPULATING */

/* The kind of an event. */
enum iomem_event_kind {
        IOMEM_EVENT_OTHER, /* a kind that this version does not know */
        IOMEM_EVENT_CREATE,
        IOMEM_EVENT_RESIZE,
        IOMEM_EVENT_SEAL,
        IOMEM_EVENT_RENAME,     /* the new name */
        IOMEM_EVENT_REMOVE,     /* by a user, or because an ephemeral region lost its last user */
        IOMEM_EVENT_LAST_CLOSE, /* nobody has the region open through the mount any more */
        IOMEM_EVENT_RESTART,    /* a new process of the daemon serves; no event was lost */
        IOMEM_EVENT_OVERFLOW,   /* the reader was too slow: events are missing */
};

struct iomem_event {
        uint64_t sequence;
        enum iomem_event_kind kind;
        uint32_t seals;   /* IOMEM_SEAL_..., in IOMEM_EVENT_SEAL */
        const char *name; /* valid until the next call; NULL: the event concerns no region */
        uint64_t size;
        uint64_t lost; /* number of missing events, in IOMEM_EVENT_OVERFLOW */
        uint32_t uid;  /* user and process that did it; UINT32_MAX and 0 if not known */
        int32_t pid;
        uint64_t reserved[8];
};

/* A reader of events.  Only one thread at a time may use it. */
struct iomem_events;

/* Connections: iomem_connect(3) */

/*
 * Connects to an iomemfs.  where: a mount point, a directory in it, or the path of a socket; NULL:
 * $IOMEMFS, or /mnt/mem.  Names are relative to the directory, or to the root of the socket's file
 * system.  *out is the caller's, to be freed with iomem_disconnect().  0, -ENODEV (a directory, but
 * not of an iomemfs), -ENOTSOCK, -ECONNREFUSED (there is no daemon), -EACCES, -ENOENT.
 */
IOMEM_API int iomem_connect(struct iomem_connection **out, const char *where);
/* Ends a connection and frees it; no thread may be using it.  Descriptors that it returned stay
 * open.  NULL is allowed. */
IOMEM_API void iomem_disconnect(struct iomem_connection *connection);
/* The text of the last failure in this thread; "" if there was none.  Valid until the next
 * failure. */
IOMEM_API const char *iomem_error(void);
/* The version of the library, such as "1.2.3"; static. */
IOMEM_API const char *iomem_version(void);

/* Regions by name: iomem_create(3) */

/* Makes a region of size bytes, which may be 0, and opens it for reading and writing, or with
 * IOMEM_READ_ONLY for reading.  mode: permissions, or -1 for 0666 without the umask.  flags:
 * IOMEM_FIXED, ...  Returns a descriptor,
 * the caller's; -EEXIST, -ENOENT (no such directory), -ENOSPC (the limit, or memory), -EFBIG,
 * -EINVAL, -EACCES. */
IOMEM_API int iomem_create(struct iomem_connection *connection, const char *name, uint64_t size,
                           int mode, unsigned int flags);
/* Opens a region.  access: IOMEM_READ or IOMEM_WRITE, with the rights that open(2) needs.  Returns
 * a descriptor, the caller's; -ENOENT, -EACCES, -EPERM (IOMEM_WRITE, but sealed). */
IOMEM_API int iomem_open(struct iomem_connection *connection, const char *name, int access);
/* Changes the size, in bytes.  0, -EACCES, -EPERM (sealed), -ENOSPC, -EFBIG. */
IOMEM_API int iomem_resize(struct iomem_connection *connection, const char *name, uint64_t size);
/* The same, but does not shrink a region that somebody has open or mapped, who would get SIGBUS
 * beyond the new size.  Also -EBUSY. */
IOMEM_API int iomem_resize_unused(struct iomem_connection *connection, const char *name,
                                  uint64_t size);
/* Adds seals, for good; for the owner only.  seals: IOMEM_SEAL_...  0, -EPERM, -EBUSY
 * (IOMEM_SEAL_WRITE, but somebody has the region open or mapped for writing). */
IOMEM_API int iomem_seal(struct iomem_connection *connection, const char *name, unsigned int seals);
/* Removes the name.  Processes that have the region open or mapped keep its memory.  0, -ENOENT,
 * -EACCES, -EPERM. */
IOMEM_API int iomem_remove(struct iomem_connection *connection, const char *name);

/* Looking: iomem_stat(3) */

/* Fills in *out.  0, -ENOENT, -EACCES. */
IOMEM_API int iomem_stat(struct iomem_connection *connection, const char *name,
                         struct iomem_stat *out);
/* Calls fn for each region below directory (NULL: all), until it returns a value other than 0,
 * which is then returned.  flags: 0 or IOMEM_LIST_POPULATING. */
IOMEM_API int iomem_list(struct iomem_connection *connection, const char *directory,
                         unsigned int flags, iomem_list_fn fn, void *userdata);
/* Waits until a region with this name exists.  timeout_ms: milliseconds, -1 for no limit.  0,
 * -ETIMEDOUT. */
IOMEM_API int iomem_wait(struct iomem_connection *connection, const char *name, int timeout_ms);

/* Limits of directories: iomem_limit(3) */

/* Sets, or changes, the limit of a directory: bytes, and files of any type.  0: not limited there;
 * both 0: takes the limit away.  A limit is set on an empty directory only.  0, -ENOTEMPTY, -EBUSY
 * (more is in use), -ENOSPC (the limit above), -EPERM, -ENODATA (there is no limit to take away). */
IOMEM_API int iomem_limit(struct iomem_connection *connection, const char *directory, uint64_t size,
                          uint64_t inodes);

/* The space that files of a directory have, as df(1) shows it.  A limit is 0 if there is none. */
struct iomem_space {
        uint64_t size, used;
        uint64_t overcommitted; /* asked for, but taken by others */
        uint64_t inodes, inodes_used;
        uint64_t reserved[8];
};
/* directory: "." for the one that was asked about, others relative to that. */
typedef int (*iomem_space_fn)(void *userdata, const char *directory,
                              const struct iomem_space *space);
/* Calls fn for the directory (NULL: the connection's), and then for each directory below that has a
 * limit of its own, until it returns a value other than 0, which is then returned. */
IOMEM_API int iomem_space(struct iomem_connection *connection, const char *directory,
                          iomem_space_fn fn, void *userdata);

/* Events: iomem_events_open(3) */

/* Begins to follow events below directory (NULL: everywhere), from now on.  The mount must be
 * visible to this process.  *out is the caller's, to be freed with iomem_events_close(). */
IOMEM_API int iomem_events_open(struct iomem_events **out, struct iomem_connection *connection,
                                const char *directory);
/* Stops following, and frees events.  NULL is allowed. */
IOMEM_API void iomem_events_close(struct iomem_events *events);
/* A descriptor for poll(2), which stays owned by events.  Readable: call iomem_events_next(). */
IOMEM_API int iomem_events_fd(const struct iomem_events *events);
/* Takes the next event.  timeout_ms: milliseconds to wait for it, -1 for no limit, 0 does not wait.
 * 0, -ETIMEDOUT: there is none. */
IOMEM_API int iomem_events_next(struct iomem_events *events, struct iomem_event *out,
                                int timeout_ms);

/* Memory, with or without an iomemfs: iomem_map(3) */

/* Makes a region without a name, of size bytes.  flags: IOMEM_FIXED, IOMEM_POPULATE, IOMEM_HUGE.
 * Returns a descriptor, the caller's. */
IOMEM_API int iomem_anonymous(uint64_t size, unsigned int flags);
/* Maps the whole region, shared.  fd may be closed afterwards.  size: its length, or NULL.  A
 * region of size 0 gives NULL and length 0.  End the mapping with iomem_unmap(). */
IOMEM_API int iomem_map(void **out, size_t *size, int fd, int access);
/* Ends a mapping of iomem_map().  address: NULL is allowed. */
IOMEM_API int iomem_unmap(void *address, size_t size);

/* Passing on: iomem_send_fd(3) */

/* Sends a descriptor with one byte over a Unix socket, as Ruby's send_io does.  fd stays the
 * caller's. */
IOMEM_API int iomem_send_fd(int socket, int fd);
/* Receives a descriptor (close-on-exec), the caller's.  -EPIPE: the other end was closed; -EBADMSG:
 * a message without descriptor. */
IOMEM_API int iomem_recv_fd(int socket);

#ifdef __cplusplus
}
#endif

#endif
