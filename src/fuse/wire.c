/* SPDX-License-Identifier: MIT */
#include "fuse/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

/* The sizes that the kernel checks replies against. */
_Static_assert(sizeof(struct wire_in_header) == 40, "fuse_in_header");
_Static_assert(sizeof(struct wire_out_header) == 16, "fuse_out_header");
_Static_assert(sizeof(struct wire_init_in) == 64, "fuse_init_in");
_Static_assert(sizeof(struct wire_init_out) == 64, "fuse_init_out");
_Static_assert(sizeof(struct wire_setattr_in) == 88, "fuse_setattr_in");
_Static_assert(sizeof(struct wire_write_in) == 40, "fuse_write_in");
_Static_assert(sizeof(struct wire_attr) == 88, "fuse_attr");
_Static_assert(sizeof(struct wire_attr_out) == 104, "fuse_attr_out");
_Static_assert(sizeof(struct wire_entry_out) == 128, "fuse_entry_out");
_Static_assert(sizeof(struct wire_open_out) == 16, "fuse_open_out");
_Static_assert(sizeof(struct wire_create_out) == 144, "fuse_entry_out and fuse_open_out");
_Static_assert(sizeof(struct wire_statx_out) == 32 + 256, "fuse_statx_out");
_Static_assert(sizeof(struct wire_statfs_out) == 80, "fuse_statfs_out");
_Static_assert(sizeof(struct wire_dirent) == 24, "fuse_dirent");

enum { WIRE_ALIGN = 8 };

/* The rest of a message, behind the opcode's structure and names. */
enum rest {
        REST_NONE,  /* nothing; without names, further bytes are ignored */
        REST_WRITE, /* as many bytes as the structure says */
        REST_XATTR,
        REST_FORGETS,
        REST_ANY, /* anything: we do not look at it */
};

struct form {
        uint8_t known;
        uint8_t args; /* bytes of the structure */
        uint8_t names;
        uint8_t rest; /* enum rest */
};

#define ARGS(type) .known = 1, .args = sizeof(struct type)

static const struct form forms[WIRE_OPCODES] = {
        [WIRE_LOOKUP] = {.known = 1, .names = 1},
        [WIRE_FORGET] = {ARGS(wire_forget_in)},
        [WIRE_GETATTR] = {ARGS(wire_getattr_in)},
        [WIRE_SETATTR] = {ARGS(wire_setattr_in)},
        [WIRE_READLINK] = {.known = 1},
        [WIRE_SYMLINK] = {.known = 1, .names = 2},
        [WIRE_MKNOD] = {ARGS(wire_mknod_in), .names = 1},
        [WIRE_MKDIR] = {ARGS(wire_mkdir_in), .names = 1},
        [WIRE_UNLINK] = {.known = 1, .names = 1},
        [WIRE_RMDIR] = {.known = 1, .names = 1},
        [WIRE_RENAME] = {ARGS(wire_rename_in), .names = 2},
        [WIRE_LINK] = {ARGS(wire_link_in), .names = 1},
        [WIRE_OPEN] = {ARGS(wire_open_in)},
        [WIRE_READ] = {ARGS(wire_read_in)},
        [WIRE_WRITE] = {ARGS(wire_write_in), .rest = REST_WRITE},
        [WIRE_STATFS] = {.known = 1},
        [WIRE_RELEASE] = {ARGS(wire_release_in)},
        [WIRE_FSYNC] = {.known = 1, .rest = REST_ANY},
        [WIRE_SETXATTR] = {ARGS(wire_setxattr_in), .names = 1, .rest = REST_XATTR},
        [WIRE_GETXATTR] = {ARGS(wire_getxattr_in), .names = 1},
        [WIRE_LISTXATTR] = {ARGS(wire_getxattr_in)},
        [WIRE_REMOVEXATTR] = {.known = 1, .names = 1},
        [WIRE_FLUSH] = {.known = 1, .rest = REST_ANY},
        [WIRE_INIT] = {.known = 1, .args = WIRE_INIT_IN_MIN},
        [WIRE_OPENDIR] = {ARGS(wire_open_in)},
        [WIRE_READDIR] = {ARGS(wire_read_in)},
        [WIRE_RELEASEDIR] = {ARGS(wire_release_in)},
        [WIRE_FSYNCDIR] = {.known = 1, .rest = REST_ANY},
        [WIRE_ACCESS] = {.known = 1, .rest = REST_ANY},
        [WIRE_CREATE] = {ARGS(wire_create_in), .names = 1},
        [WIRE_INTERRUPT] = {ARGS(wire_interrupt_in)},
        [WIRE_DESTROY] = {.known = 1},
        [WIRE_IOCTL] = {.known = 1, .rest = REST_ANY},
        [WIRE_POLL] = {ARGS(wire_poll_in)},
        [WIRE_NOTIFY_REPLY] = {.known = 1, .rest = REST_ANY},
        [WIRE_BATCH_FORGET] = {ARGS(wire_batch_forget_in), .rest = REST_FORGETS},
        [WIRE_FALLOCATE] = {ARGS(wire_fallocate_in)},
        [WIRE_READDIRPLUS] = {ARGS(wire_read_in)},
        [WIRE_RENAME2] = {ARGS(wire_rename2_in), .names = 2},
        [WIRE_LSEEK] = {ARGS(wire_lseek_in)},
        [WIRE_TMPFILE] = {ARGS(wire_create_in), .names = 1},
        [WIRE_STATX] = {ARGS(wire_statx_in)},
};

/* Takes a name and its NUL off the front of the remaining bytes. */
static bool take_name(struct wire_request *out, int i, const char **at, size_t *left) {
        const char *end = memchr(*at, '\0', *left);

        if (!end)
                return false;
        out->name[i] = *at;
        out->name_length[i] = (size_t)(end - *at);
        *left -= out->name_length[i] + 1;
        *at = end + 1;
        return true;
}

/* Bytes that must remain behind structure and names; SIZE_MAX: any number. */
static size_t rest_size(const struct wire_request *request, const struct form *form) {
        switch ((enum rest)form->rest) {
        case REST_WRITE:
                return ((const struct wire_write_in *)request->args)->size;
        case REST_XATTR:
                return ((const struct wire_setxattr_in *)request->args)->size;
        case REST_FORGETS: /* of 32 bits: cannot overflow */
                return (size_t)((const struct wire_batch_forget_in *)request->args)->count *
                       sizeof(struct wire_forget_one);
        case REST_NONE:
                /* A newer kernel's structure may be longer; but nothing may follow a name. */
                return form->names > 0 ? 0 : SIZE_MAX;
        case REST_ANY:
                break;
        }
        return SIZE_MAX;
}

static int decode_body(struct wire_request *out, const struct form *form, const char *at,
                       size_t left) {
        size_t rest;

        if (left < form->args)
                return -EINVAL;
        out->args = at;
        at += form->args;
        left -= form->args;
        for (int i = 0; i < form->names; i++)
                if (!take_name(out, i, &at, &left))
                        return -EINVAL;
        rest = rest_size(out, form);
        if (rest != SIZE_MAX && rest != left)
                return -EINVAL;
        out->payload = at;
        out->payload_size = left;
        return 0;
}

int wire_decode(struct wire_request *out, const void *message, size_t size) {
        const struct wire_in_header *header = message;
        size_t extensions;

        if (size < sizeof(*header) || header->len != size)
                return -EPROTO;
        out->header = header;
        if (header->opcode >= WIRE_OPCODES || !forms[header->opcode].known)
                return -ENOSYS;
        /* We ask for no extensions and read none. */
        extensions = (size_t)header->extensions * WIRE_ALIGN;
        if (extensions > size - sizeof(*header))
                return -EINVAL;
        return decode_body(out, &forms[header->opcode], (const char *)(header + 1),
                           size - sizeof(*header) - extensions);
}

void wire_init_args(const struct wire_request *request, struct wire_init_in *out) {
        size_t size = WIRE_INIT_IN_MIN + request->payload_size;

        *out = (struct wire_init_in){0};
        memcpy(out, request->args, size < sizeof(*out) ? size : sizeof(*out));
        if (!(out->flags & WIRE_INIT_EXT))
                out->flags2 = 0;
}

static void put_attr(struct wire_attr *out, const struct stat *st) {
        *out = (struct wire_attr){
                .ino = st->st_ino,
                .size = (uint64_t)st->st_size,
                .blocks = (uint64_t)st->st_blocks,
                .atime = (uint64_t)st->st_atim.tv_sec,
                .mtime = (uint64_t)st->st_mtim.tv_sec,
                .ctime = (uint64_t)st->st_ctim.tv_sec,
                .atime_nsec = (uint32_t)st->st_atim.tv_nsec,
                .mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
                .ctime_nsec = (uint32_t)st->st_ctim.tv_nsec,
                .mode = st->st_mode,
                .nlink = (uint32_t)st->st_nlink,
                .uid = st->st_uid,
                .gid = st->st_gid,
                .rdev = (uint32_t)st->st_rdev,
                .blksize = (uint32_t)st->st_blksize,
        };
}

void wire_put_attr(struct wire_attr_out *out, const struct wire_attributes *attributes) {
        out->valid = attributes->valid;
        out->valid_nsec = 0;
        out->pad = 0;
        put_attr(&out->attr, &attributes->st);
}

static struct wire_statx_time statx_time(struct timespec time) {
        return (struct wire_statx_time){.sec = time.tv_sec, .nsec = (uint32_t)time.tv_nsec};
}

void wire_put_statx(struct wire_statx_out *out, const struct wire_attributes *attributes) {
        const struct stat *st = &attributes->st;

        *out = (struct wire_statx_out){
                .valid = attributes->valid,
                .mask = STATX_BASIC_STATS | STATX_BTIME,
                .blksize = (uint32_t)st->st_blksize,
                .nlink = (uint32_t)st->st_nlink,
                .uid = st->st_uid,
                .gid = st->st_gid,
                .mode = (uint16_t)st->st_mode,
                .ino = st->st_ino,
                .size = (uint64_t)st->st_size,
                .blocks = (uint64_t)st->st_blocks,
                .atime = statx_time(st->st_atim),
                .mtime = statx_time(st->st_mtim),
                .ctime = statx_time(st->st_ctim),
                .btime = statx_time(attributes->btime),
                .rdev_major = major(st->st_rdev),
                .rdev_minor = minor(st->st_rdev),
        };
}

void wire_put_entry(struct wire_entry_out *out, const struct wire_entry *entry) {
        out->node = entry->node;
        out->generation = entry->generation;
        out->entry_valid = entry->valid;
        out->attr_valid = entry->attributes.valid;
        out->entry_valid_nsec = 0;
        out->attr_valid_nsec = 0;
        put_attr(&out->attr, &entry->attributes.st);
}

void wire_put_statfs(struct wire_statfs_out *out, const struct statvfs *st) {
        *out = (struct wire_statfs_out){
                .blocks = st->f_blocks,
                .bfree = st->f_bfree,
                .bavail = st->f_bavail,
                .files = st->f_files,
                .ffree = st->f_ffree,
                .bsize = (uint32_t)st->f_bsize,
                .namelen = (uint32_t)st->f_namemax,
                .frsize = (uint32_t)st->f_frsize,
        };
}

static size_t align(size_t size) {
        return (size + WIRE_ALIGN - 1) & ~(size_t)(WIRE_ALIGN - 1);
}

size_t wire_dirent_size(size_t name_length, bool plus) {
        return (plus ? sizeof(struct wire_entry_out) : 0) +
               align(sizeof(struct wire_dirent) + name_length);
}

size_t wire_put_dirent(void *at, const char *name, size_t name_length, uint64_t cookie,
                       const struct wire_entry *entry, bool plus) {
        size_t size = wire_dirent_size(name_length, false);
        struct wire_entry_out *before = at;
        struct wire_dirent *dirent = plus ? (void *)(before + 1) : at;

        if (plus)
                wire_put_entry(before, entry);
        dirent->ino = entry->attributes.st.st_ino;
        dirent->cookie = cookie;
        dirent->name_length = (uint32_t)name_length;
        dirent->type = (entry->attributes.st.st_mode & S_IFMT) >> 12;
        memcpy(dirent->name, name, name_length);
        memset(dirent->name + name_length, 0, size - sizeof(*dirent) - name_length);
        return size + (plus ? sizeof(*before) : 0);
}
