/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * layout: the structures of the journal's records.
 *
 * Whatever must outlive the worker is in one of them.  Any change of them needs a new
 * LAYOUT_VERSION: a program refuses to take over a journal of another version.  A record of a table
 * is live if its first member, id, equals its own id.  A field that refers to another record has
 * its id, or 0 for none.  Logged fields are changed through journal_touch() only.  Fields marked
 * "unlogged" are single words that are right whenever they are read.
 *
 * Never: has code, except for the table of sizes and two questions about modes.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "records/journal.h"

enum {
#ifdef IOMEMFS_TEST_LAYOUT_VERSION /* a build that must refuse the records of this one */
        LAYOUT_VERSION = IOMEMFS_TEST_LAYOUT_VERSION,
#else
        LAYOUT_VERSION = 10,
#endif
        LAYOUT_ROOT_ID = 1,     /* node id of the root directory, FUSE_ROOT_ID as well */
        LAYOUT_MOUNT_LIMIT = 1, /* id of the mount's own limit */

        LAYOUT_NO_MODE = 07777777,
        LAYOUT_NAME_MAX = 255,
        LAYOUT_TEXT_BYTES = 248,
        LAYOUT_DIR_INODES = 16, /* numbers that a directory has: its own, and those of its .ctl */
        LAYOUT_TARGET_LEAST = 128, /* bytes of a target that takes a page, as on tmpfs */
        LAYOUT_TARGETS_MAX = 1024 * 1024,
        LAYOUT_CLOSING_MAX = 31,
        LAYOUT_BUCKETS_EACH = 16,
        LAYOUT_SUSPECTS = 4,
        LAYOUT_MADE_MAX = 4,    /* files that one transaction makes in the stores */
        LAYOUT_IDLE_MAX = 1024, /* files that nobody has open, with a backing id */
        LAYOUT_OWNER_HEADS = 1024,
        LAYOUT_STALE_MAX = 128, /* limits whose private tmpfs is out of date at one time */
        LAYOUT_LIMITS_MAX = 64 * 1024,
        LAYOUT_NODES_MAX = 4 * 1024 * 1024,
        LAYOUT_REQUEST_MAX = 1024 * 1024 + 64 * 1024, /* bytes of the largest FUSE request */
        LAYOUT_SCRATCH_SIZE =
                LAYOUT_REQUEST_MAX + 2 * 4096, /* a request starts in the first 2 pages */
};

enum layout_table {
        TABLE_NODE,
        TABLE_DENTRY,
        TABLE_TEXT,
        TABLE_HANDLE,
        TABLE_INVALIDATION,
        TABLE_CLIENT,
        TABLE_EVENT,
        TABLE_PENDING,
        TABLE_BUCKETS,
        TABLE_TARGET,
        TABLE_XATTR,
        TABLE_OWNER,
        TABLE_OWNED,
        TABLE_LIMIT,
        TABLE_DESCRIPTOR,
        TABLE_RECLAIM,
        TABLE_WATCHED,
        _TABLE_N,
};

/* A time, as struct timespec, of fixed size. */
struct stamp {
        int64_t sec;
        int64_t nsec;
};

/* The kernel's file handle of a backing file: by it the file can be opened as long as anybody has
 * it. */
struct file_handle_words {
        uint32_t type, words[3];
};

/* Where the memory of a region comes from; see memory/backing.h. */
enum backing_kind {
        BACKING_NONE = 0,
        BACKING_MEMFD, /* a memfd: sized by reservation, can be sealed */
        BACKING_TMPFS, /* a named file of a private tmpfs, whose growth the kernel limits */
};

/* Bits of node.flags. */
enum {
        NODE_WRITTEN = 1 << 0,   /* was open for writing: writes may have filled holes unseen */
        NODE_EXPORTED = 1 << 1,  /* the socket has handed out a descriptor of it */
        NODE_EPHEMERAL = 1 << 2, /* loses its names with its last reference */
        NODE_FIXED = 1 << 3,     /* sealed against shrinking and growing when it was created */
        NODE_POPULATE = 1 << 4,  /* populated when it was created */
        NODE_HUGE = 1 << 5,      /* transparent huge pages were asked for */
        NODE_USED = 1 << 7,      /* ephemeral: opened or handed out since it was created */
        NODE_DEFAULT = 1 << 9,   /* directories: node.defaults apply to files created below */
        NODE_PENDING = 1 << 8,   /* being populated: gets its name when that is done */
        NODE_CACHING = 1 << 10,  /* directories: one of its readers fills the kernel's cache */
        NODE_RESERVED = 1 << 11, /* its whole size counts: it was made by a command */
        NODE_SPARSE = 1 << 12,   /* its size asks for nothing: only its pages count */
        NODE_DETACHED = 1 << 6,  /* region released; only the kernel's lookups keep the node */
        NODE_OWNER_PROCESS =
                1 << 16, /* the name goes after the end of its owner, see struct owner */
        NODE_OWNER_SERVICE = 1 << 17,
        NODE_OWNER_CONTAINER = 1 << 18,
        NODE_OWNER_ENDED = 1 << 19, /* it has ended: the name goes with the last reference */
        NODE_OWNER = NODE_OWNER_PROCESS | NODE_OWNER_SERVICE | NODE_OWNER_CONTAINER,
};

/* A file of any type.  Its id is the FUSE node id. */
struct node {
        uint32_t id;
        uint32_t generation;
        uint64_t ino; /* st_ino: never used twice */

        uint32_t mode; /* type and permissions */
        uint32_t uid, gid;
        uint32_t nlink;
        uint64_t rdev;
        uint32_t flags; /* NODE_… */

        uint32_t opens;   /* open handles: the kernel's OPENs without a RELEASE */
        uint32_t writers; /* those among them that can write */
        uint32_t dentry;  /* its first name, 0 for none; a directory has only one */
        uint32_t owned;   /* regions: record of TABLE_OWNED, 0 if nobody owns it (any more) */
        uint32_t pad;
        uint64_t ctl_lookups; /* directories: the kernel's lookups of its .ctl and files in it */
        uint64_t lookups;     /* the kernel's lookup count */

        struct stamp atime, mtime, ctime; /* regions: see region_stat() */
        struct stamp btime;

        /* extended attributes, see xattr.h */
        uint32_t xattrs;                  /* the first of its list */
        uint32_t access_acl, default_acl; /* those of the list that are access lists, 0: none */
        uint32_t xattr_count;
        uint32_t xattr_bytes;
        uint32_t xattr_pad;

        /* directories */
        uint32_t parent;      /* node id; of the root, itself */
        uint32_t children;    /* entries */
        uint64_t next_cookie; /* cookie of the next entry that is added */
        uint32_t entries;     /* root of the tree of its entries, see dentry_index.h */
        uint32_t limit;       /* any type: the limit that it counts in; 0 once NODE_DETACHED */
        uint32_t defaults; /* NODE_… flags of regions that open(2) creates below, if NODE_DEFAULT */
        uint32_t default_mode; /* their permissions, or LAYOUT_NO_MODE: the program's count */

        /* symbolic links */
        uint32_t text; /* record of the target: of TABLE_TEXT, or a long one of TABLE_TARGET */
        uint32_t text_length; /* bytes */

        /* regions (regular files) */
        int32_t fd;         /* its backing file, -1 for none: a reopened descriptor, see region.h */
        int32_t backing_id; /* backing id of the kernel, 0 for none */
        uint32_t backing;   /* enum backing_kind */
        uint32_t store;     /* the limit whose private tmpfs its file is in, 0 for none */
        uint32_t idle;      /* 1 + its place in root.idle, 0 for none */
        uint32_t watched;   /* its record in TABLE_WATCHED, 0 for none */
        uint32_t seals;     /* F_SEAL_… that the owner asked for */
        uint32_t region_pad;
        uint64_t size;   /* bytes, as last known */
        uint64_t asked;  /* bytes that its size has asked for, unless NODE_RESERVED */
        uint64_t charge; /* bytes that it counts for in the limit, see quota.h; of links, too */
        uint32_t asking_previous, asking_next; /* in the list limit.asking */
        uint64_t blocks;                       /* bytes allocated, as last known */
        uint64_t huge;                         /* bytes in huge pages when it was populated */

        struct file_handle_words handle; /* of the backing file, if root.settings.keep */

        /* its creator */
        uint32_t creator_uid;
        int32_t creator_pid;
        char creator_name[16]; /* the command's name, as in /proc/PID/comm */
};

static inline bool node_is_dir(const struct node *node) {
        return S_ISDIR(node->mode);
}

static inline bool node_is_region(const struct node *node) {
        return S_ISREG(node->mode);
}

/* Whether it is a region that has its memory: not released, and not lost (process/store.h). */
static inline bool node_has_memory(const struct node *node) {
        return node->backing != BACKING_NONE && (node->fd >= 0 || node->store != 0);
}

/*
 * A descriptor of a region.  Its number is root.descriptors_from + id - 1, so that the descriptors
 * that must outlive the worker are known without a look at the nodes.
 */
struct descriptor {
        uint32_t id;
        uint32_t node;
};

/* A file of a region that is gone, and whose memory is yet to be freed; see volume/reclaim.h. */
struct reclaim {
        uint32_t id;
        int32_t fd;     /* to be closed, -1 for none */
        uint32_t store; /* whose file is to be removed, 0 for none */
        uint32_t node;  /* with ino, the name of that file */
        uint64_t ino;
        uint64_t blocks; /* bytes allocated, as last known */
        uint32_t next;   /* in the queue from root.reclaim_first on */
        uint32_t pad;
};

/* A region that lifetime.h looks at when somebody closes it, and in a new worker. */
struct watched {
        uint32_t id;
        uint32_t node;
};

/* A file that the current transaction makes in a store. */
struct made {
        uint32_t store;
        uint32_t node;
        uint64_t ino;
};

/* A backing id that was opened last, and for which node. */
struct opened_id {
        uint32_t node;
        int32_t id; /* 0: it is being opened */
};

/* Bits of limit.flags. */
enum {
        LIMIT_HAS_BYTES = 1 << 0, /* it limits bytes; else its files count in the one above */
        LIMIT_HAS_NODES = 1 << 1, /* the same for inodes */
};

/*
 * A limit of bytes and inodes: the mount's own, and those of directories.  A limit of a directory
 * is reserved in full in the limit above it.  See limit.h.
 */
struct limit {
        uint32_t id;
        uint32_t dir;    /* node id of its directory, 0 once that was removed */
        uint32_t above;  /* the limit that this one is reserved in, 0 for the mount's */
        uint32_t inside; /* number of limits that are reserved in this one */
        uint32_t flags;  /* LIMIT_… */
        uint32_t depth;  /* 0 for the mount's */
        /* The limits in which bytes and inodes count: this one, or one above. */
        uint32_t bytes_at, nodes_at;
        uint64_t bytes, nodes; /* 0: no limit, which only the mount's may have */
        uint64_t members;      /* nodes whose limit this is, except NODE_DETACHED */
        /* Only of those that count: */
        uint64_t charged;     /* bytes of memfds, and of limits that are reserved here */
        uint64_t asked;       /* sum of node.charge over files of the private tmpfs */
        uint64_t used_nodes;  /* inodes, those of limits that are reserved here, and: */
        uint64_t xattr_bytes; /* of extended attributes; each KiB is an inode */
        uint32_t asking;      /* a circular list of the files whose node.charge is in `asked` */
        int32_t tmpfs_fd;     /* the private tmpfs, a detached mount; -1 for none */
        uint32_t watched;     /* unlogged: 1 if the closing of its tmpfs's files is reported */
        uint32_t watched_pad;
};

/* A name.  dentry_index.h owns the links; hash is of (parent, name), keyed with root.name_key. */
struct dentry {
        uint32_t id;
        uint32_t node;
        uint64_t cookie; /* position in the directory: grows, never used twice */
        uint32_t hash;
        uint32_t hash_next;                /* next in the bucket */
        uint32_t order_left, order_right;  /* in the order of the directory's entries */
        uint32_t name_previous, name_next; /* further names of the node */
        uint32_t parent;
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1]; /* terminated */
};

/* Buckets of the hash of names: bucket b is head b % LAYOUT_BUCKETS_EACH of record b /
 * LAYOUT_BUCKETS_EACH + 1.  They are never freed. */
struct buckets {
        uint32_t heads[LAYOUT_BUCKETS_EACH];
};

/* The name that a region will get when it has been populated, see pending.h. */
struct pending {
        uint32_t id;
        uint32_t node;
        uint32_t dir; /* node id of the directory */
        uint32_t length;
        uint64_t dir_ino;               /* ids are reused, inode numbers are not */
        char name[LAYOUT_NAME_MAX + 1]; /* terminated */
};

/* A process, a control group or a PID namespace that owns regions, until it has ended; see
 * volume/owner.h. */
struct owner {
        uint32_t id;
        uint32_t kind;      /* NODE_OWNER_PROCESS, _SERVICE or _CONTAINER */
        uint32_t uid;       /* the user who made its first region */
        uint32_t hash_next; /* next in the bucket; once it has ended, the next that has ended */
        uint32_t first;     /* of its regions: record of TABLE_OWNED */
        uint32_t ended;     /* 1: its regions are being taken from it */
        int32_t pid;        /* the process, or the first process of the namespace; 0: a group */
        uint32_t version;   /* of the group's hierarchy */
        uint64_t start;     /* of the process, see process_start_time() */
        uint64_t inode;     /* of the namespace, or of the group's directory */
        uint32_t path;      /* text records with the group's path in its hierarchy */
        uint32_t path_length;
};

/* A region that has an owner. */
struct owned {
        uint32_t id;
        uint32_t node;
        uint32_t owner;
        uint32_t previous, next; /* in the owner's list */
        uint32_t pad;
};

/* A text, or a piece of one that is longer than one record. */
struct text {
        uint32_t id;
        uint32_t next;
        char bytes[LAYOUT_TEXT_BYTES];
};

/* The target of a symbolic link, at least LAYOUT_TARGET_LEAST bytes.  It has no id. */
struct target {
        char bytes[PATH_MAX];
};

/* An extended attribute: its name, and behind it the value, are in text records. */
struct xattr {
        uint32_t id;
        uint32_t next; /* in the list of the node, which begins with the last name */
        uint32_t text; /* first text record */
        uint32_t name_length;
        uint32_t value_length;
        uint32_t pad;
};

/* The position of a reader of events. */
struct event_cursor {
        uint64_t next;    /* sequence number of the next event for it */
        uint64_t lost;    /* lost events, to be reported before that one */
        uint64_t partial; /* bytes of the next line that were read already */
        uint64_t told;    /* lines sent so far; the next one has this number plus 1 */
};

/* A directory that a listing is in, and the last entry of it that was visited. */
struct walk_level {
        uint32_t dir; /* node id */
        uint32_t generation;
        uint64_t after; /* cookie */
};

/* The position of a listing that is being read; see listing.h. */
struct listing_state {
        uint32_t phase; /* enum listing_phase */
        uint32_t items; /* written in this phase, where the first one differs from the others */
        uint32_t depth;
        uint32_t levels;       /* text records with so many walk_levels, outermost first */
        uint32_t carry;        /* text records with bytes that are rendered but not read yet */
        uint32_t carry_length; /* their number of bytes */
        uint32_t carry_at;     /* those among them that were read */
        uint32_t position;     /* the last record visited, where a table is walked */
        uint64_t at;           /* offset of the next byte */
        uint64_t sums[4];
};

/* Bits of handle.flags. */
enum {
        HANDLE_POWERLESS = 1 << 0, /* see struct caller */
        HANDLE_ONE_LINE = 1 << 1,  /* a listing for the socket, whose replies are lines */
        HANDLE_KEPT = 1 << 2,      /* a last error, which is kept although nobody has it open */
};

/*
 * An open file of .ctl, a listing that the socket sends, or the last error of a user.  It has the
 * identity of the user who opened it.
 */
struct handle {
        uint32_t id;
        uint32_t kind; /* enum ctl_kind */
        uint32_t dir;  /* node id of the directory whose .ctl it is */
        uint32_t dir_generation;
        uint32_t uid, gid;
        uint32_t groups; /* text records with supplementary groups */
        uint32_t n_groups;
        uint32_t flags; /* HANDLE_… */
        uint32_t text;  /* text record with the last error, 0 if none */
        uint32_t text_length;
        uint32_t done;              /* lines carried out before the suspended write's next one */
        uint64_t unique;            /* of the write that was suspended last */
        uint64_t base;              /* offset at which reading the error or the usage began */
        uint64_t poll;              /* events: the kernel's poll handle, 0 for none */
        uint64_t order;             /* last errors: grows */
        struct event_cursor cursor; /* events */
        struct listing_state listing;
};

/* A change that the kernel did not ask for and must be told of.  A reply may wait for it. */
struct invalidation {
        uint32_t id;
        uint32_t kind;   /* enum invalidation_kind */
        uint64_t node;   /* FUSE node id: of the directory for an entry, else of the file */
        uint64_t unique; /* of the request whose reply waits for the kernel, 0: none */
        uint64_t order;  /* the kernel is told in this order */
        int32_t result;  /* of the reply: negative errno, or the count that write(2) returns */
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1];
};

enum {
        LAYOUT_LINE_MAX = 8192,  /* bytes of a line of the socket's protocol */
        LAYOUT_REPLY_MAX = 1024, /* bytes of a reply that is kept in the record */
};

/*
 * A connection to the socket.  Received bytes go straight into `in`, whose tail is kept zeroed.  No
 * valid line has a NUL byte; so a new worker finds the end of bytes that its predecessor received
 * but did not count.
 */
struct client {
        uint32_t id;
        int32_t fd;
        uint32_t uid, gid;
        int32_t pid;
        uint32_t in_length;  /* unlogged while it grows */
        uint64_t deadline;   /* wait: milliseconds of CLOCK_MONOTONIC, 0 for none */
        uint32_t waiting;    /* 1: the first line of `in` is a wait that has begun */
        int32_t reply_fd;    /* sent with the first byte of the reply, -1 for none */
        int32_t text_fd;     /* memfd with a reply too long for `out`, else -1 */
        uint32_t closing;    /* 1: the connection ends after the reply */
        uint32_t powerless;  /* 1: see struct caller */
        uint32_t listing;    /* handle of the listing whose pieces follow the reply, 0 for none */
        uint64_t out_length; /* bytes of the reply, 0 for none */
        uint64_t out_sent;
        char out[LAYOUT_REPLY_MAX];
        char in[LAYOUT_LINE_MAX];
};

enum {
        EVENT_RING = 4096,    /* events that are stored */
        EVENT_PATH_MAX = 440, /* bytes; longer paths are cut, and end in "..." */
        EVENT_GUARDS = 4,     /* directories above an event that not everybody may list */
};

/* A directory above the place of an event that some users may not list. */
struct event_guard {
        uint32_t end; /* bytes of the event's path up to the directory's end; 0: the root */
        uint32_t uid, gid, mode;
        uint32_t acl_dir; /* node id of the directory if it has an access list, else 0 */
        uint32_t acl_generation;
};

/* An event of a region; see event.h. */
struct event {
        uint64_t sequence;
        uint32_t kind; /* enum event_kind */
        uint32_t uid;
        int32_t pid;
        uint32_t seals;
        uint64_t size;
        uint64_t ino;
        uint32_t dir;      /* node id of the directory, 0 for none */
        uint32_t n_guards; /* above EVENT_GUARDS: only root is told */
        struct event_guard guards[EVENT_GUARDS];
        uint32_t length; /* of path */
        uint32_t pad;
        char path[EVENT_PATH_MAX]; /* from the root of the file system, without a slash in front */
};

/* Counters of .ctl/stats, unlogged. */
/* Upper bounds of the buckets: 1 µs, 4 µs, 16 µs, … 262 ms, and one for all others. */
enum { LATENCY_BUCKETS = 11 };

struct counters {
        uint64_t requests[64]; /* by FUSE opcode; 0: all larger opcodes */
        uint64_t restarts;     /* of the worker */
        uint64_t takeovers;    /* of the keeper's place */
        uint64_t replayed;     /* requests answered from an outcome */
        uint64_t poisoned;     /* requests that got EIO because two workers had died in them */
        uint64_t commands, command_errors;
        uint64_t cut_back; /* regions cut back to the limit */
        uint64_t upgrades; /* replacements of the program */
        uint64_t upgrades_refused;
        uint64_t given_up;                 /* notifications that the kernel did not take in time */
        uint64_t revivals;                 /* starts with what the service manager had kept */
        uint64_t latency[LATENCY_BUCKETS]; /* requests by the time until their reply */
        uint64_t latency_ns;               /* the sum of these times */
};

/* The most that one user can make the socket store. */
struct socket_limits {
        uint32_t clients;    /* connections */
        uint32_t waits;      /* pending waits */
        uint64_t unfinished; /* bytes of lines whose end has not come yet */
        uint64_t unread;     /* bytes of replies that were not read */
};

enum passthrough { PASSTHROUGH_AUTO, PASSTHROUGH_ON, PASSTHROUGH_OFF };

/* Whether reading moves the time of access: as mount(8)'s options of these names. */
enum atime { ATIME_RELATIVE, ATIME_NONE, ATIME_STRICT };

enum latency { LATENCY_AUTO, LATENCY_LOW, LATENCY_NORMAL };

/* Identifies a file, as in struct stat. */
struct file_identity {
        uint64_t dev, ino;
};

/* The options of the mount that are needed after a change of process. */
struct settings {
        char mountpoint[PATH_MAX]; /* absolute */
        char source[256];
        char socket[108];       /* path of the socket, "" for none */
        char program[PATH_MAX]; /* absolute path that --upgrade runs */
        uint32_t foreground;
        uint32_t verbose;
        uint32_t owner;            /* uid of the user who mounted */
        uint32_t spin_us;          /* the longest time that the loop spins, microseconds */
        uint32_t want_passthrough; /* enum passthrough */
        uint32_t root_mode, root_uid, root_gid;
        uint64_t size, nr_inodes; /* when it was made, 0 for no limit; then see struct limit */
        uint32_t atime;           /* enum atime */
        uint32_t grace_s;   /* seconds an ephemeral region waits for its first use; 0: no limit */
        uint32_t huge;      /* 1: regions get huge pages unless the request says otherwise */
        uint32_t xattr;     /* 1: there are extended attributes, if the kernel makes that cheap */
        uint32_t acl;       /* 1: there are access lists, if there are extended attributes */
        uint32_t read_only; /* 1: mounted ro */
        uint32_t keep; /* 1: descriptors are kept by the service manager, see process/store.h */
        char ctl_name[LAYOUT_NAME_MAX + 1]; /* name of .ctl, "" for none (ctl=) */
        struct socket_limits limits;
};

/* The request for short wake-ups and its bounds (process/wakeup.h); unlogged.  Times in
 * nanoseconds. */
struct wakeup {
        int32_t fd;        /* of the kernel's PM QoS interface, -1: never used */
        uint32_t held;     /* 1: the request is in force */
        uint64_t at;       /* CLOCK_MONOTONIC: when the fields below were brought up to date */
        uint64_t saved_ns; /* how long the request may be in force */
        uint64_t turns_ns; /* how often it may be made, as the time that earns this */
        uint64_t held_ns;  /* how long it was in force, in all */
        uint64_t turns;    /* how often it was made, in all */
};

/* A request during which workers died; unlogged. */
struct suspect {
        uint64_t key; /* see records/blame.h; 0 for none */
        uint32_t opcode;
        uint32_t deaths;
};

struct root {
        struct settings settings;

        /* Descriptor numbers, -1 for none; valid in every process that shares the table. */
        int32_t fuse_fd;
        int32_t listen_fd; /* the socket */
        int32_t closes_fd; /* fanotify group of the private tmpfs, see lifetime.h; unlogged */
        int32_t log_fd;    /* unconnected datagram socket, for syslog and sd_notify */

        /* channel */
        uint32_t init_length; /* of the saved INIT request; 0: it has not been answered */
        uint32_t passthrough; /* 1 if the kernel granted it */
        uint8_t init[512];
        uint32_t request_at;    /* unlogged: where in the scratch area a request is, or goes */
        uint32_t in_background; /* unlogged: 1 during work that no request waits for */
        uint64_t forget_done;   /* entries of the FORGET in the scratch area that are done */
        uint32_t n_closing;     /* backing ids to be closed after the commit */
        int32_t closing[LAYOUT_CLOSING_MAX];
        struct opened_id opened_ids[2]; /* unlogged: the newest two backing ids */
        uint32_t newest_id;             /* unlogged: the newest of these */
        uint32_t current_opcode;        /* unlogged, with current */
        uint64_t current; /* unlogged: unique of the request being handled, 0 for none */
        struct suspect suspects[LAYOUT_SUSPECTS];
        uint64_t next_suspect;   /* unlogged */
        uint64_t crash_wanted;   /* for tests: 1 + crash count, set from the next request on */
        uint64_t crash_again;    /* for tests: the same, for the worker after that */
        uint32_t crash_opcode;   /* for tests: requests with this opcode kill the worker */
        uint32_t upgrade_wanted; /* by .ctl/admin: after the reply, end with WORKER_UPGRADE */

        /* keeper and worker, unlogged */
        uint32_t started; /* a worker has been started before */
        uint32_t ready;   /* the process that waited for the mount has been told */
        uint32_t serving; /* this worker has begun to serve */

        /* tree and regions */
        uint8_t name_key[16]; /* key of the hash of names, drawn when the records are made */
        uint32_t n_buckets;
        uint32_t buckets_pad;
        uint64_t next_ino;
        uint64_t next_generation;
        uint32_t owner_heads[LAYOUT_OWNER_HEADS]; /* buckets of the hash of owners */
        uint32_t ended_owners;                    /* the first of those that have ended */
        uint32_t owners_pad;
        /* Limits whose private tmpfs may not have its limit yet, unlogged.  More of them than
         * LAYOUT_STALE_MAX: all may be. */
        uint32_t n_stale;
        uint32_t stale[LAYOUT_STALE_MAX];
        int32_t descriptors_from; /* number of the first descriptor in TABLE_DESCRIPTOR; 0: not set */
        uint32_t reclaim_first;   /* queue of what is to be freed, 0: empty */
        uint32_t reclaim_last;
        uint32_t n_made;    /* unlogged, with made */
        uint32_t next_idle; /* the place in idle that is taken next */
        struct made made[LAYOUT_MADE_MAX];
        uint32_t idle[LAYOUT_IDLE_MAX]; /* node ids: files that were closed, with a backing id */

        uint64_t next_invalidation;
        uint64_t next_event;
        uint32_t accepting;         /* unlogged: 1 while a new connection has no record yet */
        uint32_t mount_device;      /* of our mount, see mount.h; 0: not known */
        uint32_t background_deaths; /* unlogged: deaths of workers in a row in background work */
        uint32_t root_pad;
        uint64_t home;                    /* see process/mount_namespace.h */
        struct file_identity socket_file; /* of the file at settings.socket */
        struct wakeup wakeup;
        struct counters counters;
};

/* The tables in the order of enum layout_table, and the sizes of the root and the scratch area. */
const struct journal_spec *layout_spec(void);
