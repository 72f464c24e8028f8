/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * wire: the messages of the FUSE protocol.
 *
 * The structures are our own, so that the program builds with any kernel's headers.  They are those
 * of protocol 7.40, as far as we read or write them.  wire_decode() works on a request in place:
 * its results are pointers into the message, all checked against the message's end.  The encoders
 * fill in the structures of replies.
 *
 * Owns nothing.  Never: reads or writes a descriptor, knows what a request means.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum {
        WIRE_MAJOR = 7,
        /* The version that we give at INIT.  Newer structures are enabled by flags, not by this
         * number. */
        WIRE_MINOR = 31,
        WIRE_MINOR_MIN = 23, /* older kernels use shorter structures */
};

enum wire_opcode {
        WIRE_LOOKUP = 1,
        WIRE_FORGET = 2,
        WIRE_GETATTR = 3,
        WIRE_SETATTR = 4,
        WIRE_READLINK = 5,
        WIRE_SYMLINK = 6,
        WIRE_MKNOD = 8,
        WIRE_MKDIR = 9,
        WIRE_UNLINK = 10,
        WIRE_RMDIR = 11,
        WIRE_RENAME = 12,
        WIRE_LINK = 13,
        WIRE_OPEN = 14,
        WIRE_READ = 15,
        WIRE_WRITE = 16,
        WIRE_STATFS = 17,
        WIRE_RELEASE = 18,
        WIRE_FSYNC = 20,
        WIRE_SETXATTR = 21,
        WIRE_GETXATTR = 22,
        WIRE_LISTXATTR = 23,
        WIRE_REMOVEXATTR = 24,
        WIRE_FLUSH = 25,
        WIRE_INIT = 26,
        WIRE_OPENDIR = 27,
        WIRE_READDIR = 28,
        WIRE_RELEASEDIR = 29,
        WIRE_FSYNCDIR = 30,
        WIRE_ACCESS = 34,
        WIRE_CREATE = 35,
        WIRE_INTERRUPT = 36,
        WIRE_DESTROY = 38,
        WIRE_IOCTL = 39,
        WIRE_POLL = 40,
        WIRE_NOTIFY_REPLY = 41,
        WIRE_BATCH_FORGET = 42,
        WIRE_FALLOCATE = 43,
        WIRE_READDIRPLUS = 44,
        WIRE_RENAME2 = 45,
        WIRE_LSEEK = 46,
        WIRE_TMPFILE = 51,
        WIRE_STATX = 52,
        WIRE_OPCODES, /* one more than the largest that we know */
};

/* Bits of a request's number. */
#define WIRE_UNIQUE_RESENT \
        (UINT64_C(1) << 63) /* the kernel sends it again, because of WIRE_NOTIFY_RESEND */
#define WIRE_UNIQUE_INTERRUPT UINT64_C(1) /* set in numbers of INTERRUPTs */

/* Flags of INIT; those from bit 32 on are in flags2. */
enum {
        WIRE_INIT_ASYNC_READ = 1 << 0,
        WIRE_INIT_EXPORT_SUPPORT = 1 << 4, /* LOOKUP of "." and ".." finds nodes by their ids */
        WIRE_INIT_BIG_WRITES = 1 << 5,
        WIRE_INIT_DONT_MASK = 1 << 6, /* the umask is ours to apply */
        WIRE_INIT_AUTO_INVAL_DATA = 1 << 12,
        WIRE_INIT_READDIRPLUS = 1 << 13,
        WIRE_INIT_READDIRPLUS_AUTO = 1 << 14,
        WIRE_INIT_ASYNC_DIO = 1 << 15,
        WIRE_INIT_PARALLEL_DIROPS = 1 << 18,
        WIRE_INIT_POSIX_ACL = 1 << 20,
        WIRE_INIT_MAX_PAGES = 1 << 22,
        WIRE_INIT_CACHE_SYMLINKS = 1 << 23,
        WIRE_INIT_KILLPRIV_V2 = 1 << 28,
        WIRE_INIT_EXT = 1 << 30,         /* flags2 is present */
        WIRE_INIT2_PASSTHROUGH = 1 << 5, /* bit 37 */
        WIRE_INIT2_RESEND = 1 << 7,      /* bit 39 */
};

/* Bits of a SETATTR's valid. */
enum {
        WIRE_SET_MODE = 1 << 0,
        WIRE_SET_UID = 1 << 1,
        WIRE_SET_GID = 1 << 2,
        WIRE_SET_SIZE = 1 << 3,
        WIRE_SET_ATIME = 1 << 4,
        WIRE_SET_MTIME = 1 << 5,
        WIRE_SET_FH = 1 << 6,
        WIRE_SET_ATIME_NOW = 1 << 7,
        WIRE_SET_MTIME_NOW = 1 << 8,
        WIRE_SET_CTIME = 1 << 10,
        WIRE_SET_KILL_SUIDGID = 1 << 11,
};

enum {
        WIRE_WRITE_CACHE = 1 << 0, /* dirty pages of a mapping, and no write(2) */
        WIRE_WRITE_KILL_SUIDGID = 1 << 2,
        WIRE_POLL_NOTIFY = 1 << 0,
};

/* Flags in the reply to OPEN. */
enum {
        WIRE_OPEN_DIRECT_IO = 1 << 0,
        WIRE_OPEN_KEEP_CACHE = 1 << 1,
        WIRE_OPEN_NONSEEKABLE = 1 << 2,
        WIRE_OPEN_CACHE_DIR = 1 << 3,
        WIRE_OPEN_PASSTHROUGH = 1 << 7,
};

/* Codes in the place of the error, in messages that are no replies. */
enum wire_notification {
        WIRE_NOTIFY_POLL = 1,
        WIRE_NOTIFY_INVAL_INODE = 2,
        WIRE_NOTIFY_INVAL_ENTRY = 3,
        WIRE_NOTIFY_RESEND = 7,    /* Linux 6.9 */
        WIRE_NOTIFY_INC_EPOCH = 8, /* Linux 6.16 */
};

/* Requests. */

struct wire_in_header {
        uint32_t len; /* bytes of the whole message */
        uint32_t opcode;
        uint64_t unique;
        uint64_t node;
        uint32_t uid;
        uint32_t gid;
        uint32_t pid;
        uint16_t extensions; /* in units of 8 bytes, at the end of the message */
        uint16_t pad;
};

struct wire_init_in {
        uint32_t major;
        uint32_t minor;
        uint32_t max_readahead;
        uint32_t flags;
        uint32_t flags2; /* with WIRE_INIT_EXT, like all that follows */
        uint32_t unused[11];
};

enum { WIRE_INIT_IN_MIN = 16 };

struct wire_forget_in {
        uint64_t count;
};

struct wire_batch_forget_in {
        uint32_t count;
        uint32_t pad;
};

struct wire_forget_one {
        uint64_t node;
        uint64_t count;
};

struct wire_getattr_in {
        uint32_t flags;
        uint32_t pad;
        uint64_t fh;
};

struct wire_statx_in {
        uint32_t flags;
        uint32_t pad;
        uint64_t fh;
        uint32_t sx_flags;
        uint32_t sx_mask;
};

struct wire_setattr_in {
        uint32_t valid; /* WIRE_SET_… */
        uint32_t pad;
        uint64_t fh;
        uint64_t size;
        uint64_t lock_owner;
        uint64_t atime;
        uint64_t mtime;
        uint64_t ctime;
        uint32_t atime_nsec;
        uint32_t mtime_nsec;
        uint32_t ctime_nsec;
        uint32_t mode;
        uint32_t pad2;
        uint32_t uid;
        uint32_t gid;
        uint32_t pad3;
};

struct wire_mknod_in {
        uint32_t mode;
        uint32_t rdev;
        uint32_t umask;
        uint32_t pad;
};

struct wire_mkdir_in {
        uint32_t mode;
        uint32_t umask;
};

struct wire_rename_in {
        uint64_t new_dir;
};

struct wire_rename2_in {
        uint64_t new_dir;
        uint32_t flags;
        uint32_t pad;
};

struct wire_link_in {
        uint64_t node;
};

struct wire_open_in {
        uint32_t flags;
        uint32_t open_flags;
};

struct wire_create_in {
        uint32_t flags;
        uint32_t mode;
        uint32_t umask;
        uint32_t open_flags;
};

struct wire_read_in {
        uint64_t fh;
        uint64_t offset;
        uint32_t size;
        uint32_t read_flags;
        uint64_t lock_owner;
        uint32_t flags; /* of the open file, like those of WRITE and RELEASE */
        uint32_t pad;
};

struct wire_write_in {
        uint64_t fh;
        uint64_t offset;
        uint32_t size;
        uint32_t write_flags;
        uint64_t lock_owner;
        uint32_t flags;
        uint32_t pad;
};

struct wire_release_in {
        uint64_t fh;
        uint32_t flags;
        uint32_t release_flags;
        uint64_t lock_owner;
};

struct wire_setxattr_in {
        uint32_t size;
        uint32_t flags;
};

struct wire_getxattr_in {
        uint32_t size;
        uint32_t pad;
};

struct wire_interrupt_in {
        uint64_t unique;
};

struct wire_poll_in {
        uint64_t fh;
        uint64_t kh; /* the poll handle, for WIRE_NOTIFY_POLL */
        uint32_t flags;
        uint32_t events;
};

struct wire_fallocate_in {
        uint64_t fh;
        uint64_t offset;
        uint64_t length;
        uint32_t mode;
        uint32_t pad;
};

struct wire_lseek_in {
        uint64_t fh;
        uint64_t offset;
        uint32_t whence;
        uint32_t pad;
};

/* A decoded request; the pointers lead into the message. */
struct wire_request {
        const struct wire_in_header *header;
        const void *args;      /* the opcode's structure above */
        const char *name[2];   /* terminated; LOOKUP and the like have one, renames two */
        size_t name_length[2]; /* without the NUL */
        const void *payload;   /* the data of WRITE and SETXATTR, the list of BATCH_FORGET */
        size_t payload_size;   /* bytes */
};

/*
 * Decodes a message, which must be aligned to 8 bytes.  -EPROTO: it is no message, because its
 * length is not size; out is not valid.  Otherwise out->header is valid.  0: out->args and the rest
 * are valid, too.  -EINVAL: parts that the opcode needs are missing, or there is more; -ENOSYS: an
 * unknown opcode.
 */
int wire_decode(struct wire_request *out, const void *message, size_t size);

/* An INIT's structure; members that an older kernel has not sent are 0. */
void wire_init_args(const struct wire_request *request, struct wire_init_in *out);

/* Replies. */

struct wire_out_header {
        uint32_t len;
        int32_t error; /* 0 or negative errno */
        uint64_t unique;
};

struct wire_init_out {
        uint32_t major;
        uint32_t minor;
        uint32_t max_readahead;
        uint32_t flags;
        uint16_t max_background;
        uint16_t congestion_threshold;
        uint32_t max_write;
        uint32_t time_gran;
        uint16_t max_pages;
        uint16_t map_alignment;
        uint32_t flags2;
        uint32_t max_stack_depth;
        uint32_t unused[6];
};

struct wire_attr {
        uint64_t ino;
        uint64_t size;
        uint64_t blocks;
        uint64_t atime;
        uint64_t mtime;
        uint64_t ctime;
        uint32_t atime_nsec;
        uint32_t mtime_nsec;
        uint32_t ctime_nsec;
        uint32_t mode;
        uint32_t nlink;
        uint32_t uid;
        uint32_t gid;
        uint32_t rdev;
        uint32_t blksize;
        uint32_t flags;
};

struct wire_attr_out {
        uint64_t valid; /* seconds, like all valid below */
        uint32_t valid_nsec;
        uint32_t pad;
        struct wire_attr attr;
};

struct wire_statx_time {
        int64_t sec;
        uint32_t nsec;
        int32_t pad;
};

struct wire_statx_out {
        uint64_t valid;
        uint32_t valid_nsec;
        uint32_t flags;
        uint64_t spare[2];
        uint32_t mask;
        uint32_t blksize;
        uint64_t attributes;
        uint32_t nlink;
        uint32_t uid;
        uint32_t gid;
        uint16_t mode;
        uint16_t pad;
        uint64_t ino;
        uint64_t size;
        uint64_t blocks;
        uint64_t attributes_mask;
        struct wire_statx_time atime, btime, ctime, mtime;
        uint32_t rdev_major, rdev_minor;
        uint32_t dev_major, dev_minor;
        uint64_t spare2[14];
};

struct wire_entry_out {
        uint64_t node;
        uint64_t generation;
        uint64_t entry_valid;
        uint64_t attr_valid;
        uint32_t entry_valid_nsec;
        uint32_t attr_valid_nsec;
        struct wire_attr attr;
};

struct wire_open_out {
        uint64_t fh;
        uint32_t open_flags; /* WIRE_OPEN_… */
        int32_t backing_id;  /* with WIRE_OPEN_PASSTHROUGH; padding before Linux 6.9 */
};

struct wire_create_out {
        struct wire_entry_out entry;
        struct wire_open_out open;
};

struct wire_write_out {
        uint32_t size;
        uint32_t pad;
};

struct wire_statfs_out {
        uint64_t blocks;
        uint64_t bfree;
        uint64_t bavail;
        uint64_t files;
        uint64_t ffree;
        uint32_t bsize;
        uint32_t namelen;
        uint32_t frsize;
        uint32_t pad;
        uint32_t spare[6];
};

struct wire_xattr_out {
        uint32_t size;
        uint32_t pad;
};

struct wire_lseek_out {
        uint64_t offset;
};

struct wire_poll_out {
        uint32_t revents;
        uint32_t pad;
};

struct wire_dirent {
        uint64_t ino;
        uint64_t cookie;
        uint32_t name_length;
        uint32_t type; /* the format bits of the mode, shifted down by 12 */
        char name[];   /* padded with NULs to a multiple of 8 bytes */
};

/* Notifications. */

struct wire_inval_inode {
        uint64_t node;
        int64_t offset;
        int64_t length;
};

struct wire_inval_entry {
        uint64_t dir;
        uint32_t name_length;
        uint32_t flags;
};

struct wire_poll_wakeup {
        uint64_t kh;
};

/* The attributes of a file, for replies to GETATTR, STATX, LOOKUP and READDIRPLUS. */
struct wire_attributes {
        struct stat st;
        struct timespec btime;
        uint64_t valid; /* how long the kernel may keep them, seconds */
};

/* A name and its node. */
struct wire_entry {
        uint64_t node; /* 0: the kernel cannot look it up */
        uint64_t generation;
        uint64_t valid; /* how long the kernel may keep the name, seconds */
        struct wire_attributes attributes;
};

/* Fill in the structures of replies. */
void wire_put_attr(struct wire_attr_out *out, const struct wire_attributes *attributes);
void wire_put_statx(struct wire_statx_out *out, const struct wire_attributes *attributes);
void wire_put_entry(struct wire_entry_out *out, const struct wire_entry *entry);
void wire_put_statfs(struct wire_statfs_out *out, const struct statvfs *st);

/* Bytes of an entry of READDIR, or with plus of READDIRPLUS, with a name of that length. */
size_t wire_dirent_size(size_t name_length, bool plus);
/*
 * Writes an entry to `at`, where there must be room for it; returns its size.  Without plus, only
 * inode number and mode of entry are used.
 */
size_t wire_put_dirent(void *at, const char *name, size_t name_length, uint64_t cookie,
                       const struct wire_entry *entry, bool plus);
