/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * layout: what the records of the journal look like.
 *
 * Everything that must outlive the worker is in one of these structures.  A change of any of them
 * is a new LAYOUT_VERSION: a program refuses to take over an journal of another version.  A record
 * of a table is live if its first member, id, is its own id; fields of other tables' ids are 0
 * for none.  Logged fields are changed through journal_touch() only; fields marked "unlogged" are
 * single words that are right whenever they are read.
 *
 * Never: code, but for the table of sizes and the two questions that everybody asks of a mode.
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
        LAYOUT_VERSION = 6,
#endif
        LAYOUT_ROOT_ID = 1, /* node id of the root directory, FUSE_ROOT_ID as well */

        LAYOUT_NO_MODE = 07777777,
        LAYOUT_NAME_MAX = 255,
        LAYOUT_TEXT_BYTES = 248,
        LAYOUT_CLOSING_MAX = 31,
        LAYOUT_BUCKETS_EACH = 16,
        LAYOUT_SUSPECTS = 4,
        LAYOUT_NODES_MAX = 4 * 1024 * 1024,
        LAYOUT_REQUEST_MAX = 1024 * 1024 + 64 * 1024, /* bytes of the largest FUSE request */
        LAYOUT_SCRATCH_SIZE =
                LAYOUT_REQUEST_MAX + 2 * 4096, /* a request starts in the first two pages */
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
        _TABLE_N,
};

/* A time, as struct timespec, of fixed size. */
struct stamp {
        int64_t sec;
        int64_t nsec;
};

/* Where the memory of a region comes from; see store.h. */
enum backing_kind {
        BACKING_NONE = 0,
        BACKING_MEMFD, /* a memfd: sized by reservation, can be sealed */
        BACKING_TMPFS, /* an unnamed file of the private tmpfs: the kernel limits its growth */
};

/* Bits of node.flags. */
enum {
        NODE_WRITTEN = 1 << 0,   /* was open for writing: holes may fill without our knowing */
        NODE_EXPORTED = 1 << 1,  /* a descriptor of it was handed out by the socket */
        NODE_EPHEMERAL = 1 << 2, /* the name goes with the last reference */
        NODE_FIXED = 1 << 3,     /* sealed against shrinking and growing at birth */
        NODE_POPULATE = 1 << 4,  /* populated at birth */
        NODE_HUGE = 1 << 5,      /* transparent huge pages were asked for */
        NODE_USED = 1 << 7,      /* ephemeral: was opened or handed out since it was made */
        NODE_DEFAULT = 1 << 9,   /* directories: node.defaults holds for files made below */
        NODE_PENDING = 1 << 8,   /* being populated: gets its name when that is done */
        NODE_CACHING = 1 << 10, /* directories: somebody has it open who fills the kernel's cache */
        NODE_DETACHED = 1 << 6, /* the region was given up; only the kernel's lookups remain */
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

        uint32_t opens;       /* open handles, by the kernel's count of OPEN and RELEASE */
        uint32_t writers;     /* of these, writable ones */
        uint32_t dentry;      /* the first of its names, 0 for none; of directories the only one */
        uint32_t ctl_lookups; /* directories: the kernel's lookups of its .ctl and files in it */
        uint64_t lookups;     /* the kernel's lookup count */

        struct stamp atime, mtime, ctime; /* regions: see region_stat() */
        struct stamp btime;

        /* directories */
        uint32_t parent;      /* node id; of the root, itself */
        uint32_t children;    /* entries */
        uint64_t next_cookie; /* of the next entry made here */
        uint32_t entries;     /* dentry on top of the order of its entries, see dentry_index.h */
        uint32_t entries_pad;
        uint32_t defaults; /* NODE_… flags of regions that open(2) makes below, if NODE_DEFAULT */
        uint32_t default_mode; /* and their permissions, LAYOUT_NO_MODE for the program's */

        /* symbolic links */
        uint32_t text;        /* first text record of the target */
        uint32_t text_length; /* bytes */

        /* regions (regular files) */
        int32_t fd;         /* of the store, -1 for none: a reopened descriptor, see region.h */
        int32_t backing_id; /* backing id of the kernel, 0 for none */
        uint32_t backing;   /* enum backing_kind */
        uint32_t seals;     /* F_SEAL_… that the owner asked for */
        uint64_t size;      /* bytes, as last known */
        uint64_t charge;    /* bytes this region counts for in the limit (page-rounded size) */
        uint64_t blocks;    /* bytes allocated, as last known */
        uint64_t huge;      /* of these, bytes in huge pages when it was populated */

        /* birth */
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

/* A name.  The links are dentry_index's; hash is that of (parent, name) with root.name_key. */
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

/* Buckets of the hash of names: bucket b is head b % LAYOUT_BUCKETS_EACH of record
 * b / LAYOUT_BUCKETS_EACH + 1.  They are never given back. */
struct buckets {
        uint32_t heads[LAYOUT_BUCKETS_EACH];
};

/* The name that a node will have: of a region that is being populated, see pending.h. */
struct pending {
        uint32_t id;
        uint32_t node;
        uint32_t dir; /* node id of the directory */
        uint32_t length;
        uint64_t dir_ino;               /* ids are used again, inode numbers are not */
        char name[LAYOUT_NAME_MAX + 1]; /* terminated */
};

/* A piece of a text that is longer than a record: targets of symbolic links. */
struct text {
        uint32_t id;
        uint32_t next;
        char bytes[LAYOUT_TEXT_BYTES];
};

/* Where a reader of events is. */
struct event_cursor {
        uint64_t next;    /* sequence number of the event to be told */
        uint64_t lost;    /* events before it that are to be told as lost first */
        uint64_t partial; /* bytes of the line to be told that were read already */
        uint64_t told;    /* lines told; the next one has this number, plus 1 */
};

/* A directory that a listing is in, and the last entry of it that was looked at. */
struct walk_level {
        uint32_t dir; /* node id */
        uint32_t generation;
        uint64_t after; /* cookie */
};

/* Where a listing that is being read is; see listing.h. */
struct listing_state {
        uint32_t phase; /* enum listing_phase */
        uint32_t items; /* items written in this phase, so far as the first one is different */
        uint32_t depth;
        uint32_t levels;       /* text records with that many walk_levels, outermost first */
        uint32_t carry;        /* text records with bytes that are rendered and not yet read */
        uint32_t carry_length; /* bytes in there */
        uint32_t carry_at;     /* of these, the ones that have been read */
        uint32_t position;     /* the last record looked at, where a table is gone through */
        uint64_t at;           /* offset of the next byte */
        uint64_t sums[4];
};

/* Bits of handle.flags. */
enum {
        HANDLE_POWERLESS = 1 << 0, /* see struct caller */
        HANDLE_ONE_LINE = 1 << 1,  /* a listing for the socket, whose answers are lines */
        HANDLE_KEPT = 1 << 2,      /* nobody has it open: a last error */
};

/*
 * An open file of .ctl, a listing that the socket sends, or the last error of a user.  It has the
 * identity of whoever opened it.
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
        uint32_t done;   /* lines of the suspended write that were carried out before that */
        uint64_t unique; /* of the write that was suspended last */
        uint64_t base;   /* offset at which reading of the error or the usage began */
        uint64_t poll;   /* events: what wakes poll(2), 0 for nobody */
        uint64_t order;  /* last errors: grows */
        struct event_cursor cursor; /* events */
        struct listing_state listing;
};

/* The kernel must be told of a change it did not ask for, and perhaps a reply waits for that. */
struct invalidation {
        uint32_t id;
        uint32_t kind;   /* enum invalidation_kind */
        uint64_t node;   /* FUSE node id: of the directory for an entry, else of the file */
        uint64_t unique; /* of the request that is answered when the kernel has been told; 0 none */
        uint64_t order;  /* invalidations are told in this order */
        int32_t result;  /* the answer: negative errno, or the count that write(2) returns */
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1];
};

enum {
        LAYOUT_LINE_MAX = 8192,  /* bytes of a line of the socket's protocol */
        LAYOUT_REPLY_MAX = 1024, /* bytes of an answer that is kept in the record */
};

/*
 * A connection to the socket.  What is received goes straight into `in`, whose tail is kept
 * zeroed: no valid line has a NUL byte, so that a worker that takes over finds the end of what its
 * predecessor received and did not count.
 */
struct client {
        uint32_t id;
        int32_t fd;
        uint32_t uid, gid;
        int32_t pid;
        uint32_t in_length;  /* unlogged while it grows */
        uint64_t deadline;   /* wait: milliseconds of CLOCK_MONOTONIC, 0 for none */
        uint32_t waiting;    /* 1: the first line of `in` is a wait that was taken up */
        int32_t reply_fd;    /* rides on the first byte of the answer, -1 for none */
        int32_t text_fd;     /* memfd with an answer that `out` has no room for, else -1 */
        uint32_t closing;    /* 1: the connection ends with the answer */
        uint32_t powerless;  /* 1: see struct caller */
        uint32_t listing;    /* handle of the listing whose pieces follow the answer, 0 for none */
        uint64_t out_length; /* bytes of the answer, 0 for none */
        uint64_t out_sent;
        char out[LAYOUT_REPLY_MAX];
        char in[LAYOUT_LINE_MAX];
};

enum {
        EVENT_RING = 4096,    /* events that are kept */
        EVENT_PATH_MAX = 440, /* bytes; longer paths are cut, and end in "..." */
        EVENT_GUARDS = 4,     /* directories on the way that not everybody may list */
};

/* A directory on the way to an event that not everybody may list. */
struct event_guard {
        uint32_t end; /* bytes of the path up to its end; 0: the root directory */
        uint32_t uid, gid, mode;
};

/* Something happened to a region; see event.h. */
struct event {
        uint64_t sequence;
        uint32_t kind; /* enum event_kind */
        uint32_t uid;
        int32_t pid;
        uint32_t seals;
        uint64_t size;
        uint64_t ino;
        uint32_t dir;      /* node id of the directory, 0 for none */
        uint32_t n_guards; /* more than EVENT_GUARDS: told to root only */
        struct event_guard guards[EVENT_GUARDS];
        uint32_t length; /* of path */
        uint32_t pad;
        char path[EVENT_PATH_MAX]; /* from the root of the file system, without a slash in front */
};

/* Counters of .ctl/stats, unlogged. */
struct counters {
        uint64_t requests[64]; /* by FUSE opcode; 0: opcodes beyond */
        uint64_t restarts;     /* of the worker */
        uint64_t takeovers;    /* of the keeper's place */
        uint64_t replayed;     /* requests answered from an outcome */
        uint64_t poisoned;     /* requests answered EIO after two deaths */
        uint64_t commands, command_errors;
        uint64_t cut_back; /* regions cut back to the limit */
        uint64_t upgrades; /* the program was replaced */
        uint64_t upgrades_refused;
        uint64_t given_up; /* notifications that the kernel did not take in time */
        uint64_t pad[13];
};

/* What one user can make the socket hold. */
struct socket_limits {
        uint32_t clients;    /* connections */
        uint32_t waits;      /* pending waits */
        uint64_t unfinished; /* bytes of lines without an end */
        uint64_t unread;     /* bytes of answers that were not read */
};

enum passthrough { PASSTHROUGH_AUTO, PASSTHROUGH_ON, PASSTHROUGH_OFF };

enum latency { LATENCY_AUTO, LATENCY_LOW, LATENCY_NORMAL };

/* What was asked for at mount time, as far as it is needed after a change of process. */
struct settings {
        char mountpoint[PATH_MAX]; /* absolute */
        char source[256];
        char socket[108];       /* path of the socket, "" for none */
        char program[PATH_MAX]; /* absolute path that --upgrade runs */
        uint32_t foreground;
        uint32_t verbose;
        uint32_t owner;            /* uid of who mounted */
        uint32_t spin_us;          /* longest time the loop spins, microseconds */
        uint32_t want_passthrough; /* enum passthrough */
        uint32_t root_mode, root_uid, root_gid;
        uint32_t grace_s; /* how long an ephemeral region waits for its first use; 0: for ever */
        uint32_t huge;    /* 1: regions are made of huge pages unless said otherwise */
        uint32_t xattr;   /* 1: regions have extended attributes, if the kernel makes that cheap */
        uint32_t read_only;                 /* 1: mounted ro */
        char ctl_name[LAYOUT_NAME_MAX + 1]; /* name of .ctl, "" for none (ctl=) */
        struct socket_limits limits;
};

/* The request for short wake-ups, and its bounds (process/wakeup.h); unlogged.  Times in nanoseconds. */
struct wakeup {
        int32_t fd;        /* of the kernel's PM QoS interface, -1: never asks */
        uint32_t held;     /* 1: the kernel was asked */
        uint64_t at;       /* CLOCK_MONOTONIC: when the rest was brought up to date */
        uint64_t saved_ns; /* how long it may be held */
        uint64_t turns_ns; /* how often it may be taken up, in time that earns it */
        uint64_t held_ns;  /* how long it was held, in all */
        uint64_t turns;    /* how often it was taken up, in all */
};

/* A request during which workers died; unlogged. */
struct suspect {
        uint64_t key; /* see suspect.h; 0 for none */
        uint32_t opcode;
        uint32_t deaths;
};

struct root {
        struct settings settings;

        /* Descriptor numbers, -1 for none; valid in every process that shares the table. */
        int32_t fuse_fd;
        int32_t tmpfs_fd;  /* the private tmpfs, a detached mount */
        int32_t listen_fd; /* the socket */
        int32_t log_fd;    /* unconnected datagram socket, for syslog and sd_notify */

        /* channel */
        uint32_t init_length; /* of the saved INIT request; 0: it has not been answered */
        uint32_t passthrough; /* 1 if the kernel granted it */
        uint8_t init[512];
        uint32_t request_at;    /* unlogged: where in the scratch area a request is, or goes */
        uint32_t in_background; /* unlogged: 1 while work is done that nobody waits for */
        uint64_t forget_done;   /* entries done of the FORGET in the scratch area */
        uint32_t n_closing;     /* backing ids to close when the transaction has been committed */
        int32_t closing[LAYOUT_CLOSING_MAX];
        int32_t last_backing;    /* unlogged: the newest backing id */
        uint32_t current_opcode; /* unlogged, with current */
        uint64_t current;        /* unlogged: unique of the request being handled, 0 for none */
        struct suspect suspects[LAYOUT_SUSPECTS];
        uint64_t next_suspect;   /* unlogged */
        uint64_t crash_wanted;   /* for tests: the journal's crash count, plus 1, from the next
                                  * request on */
        uint64_t crash_again;    /* for tests: the same, of the worker after that */
        uint32_t crash_opcode;   /* for tests: requests with this opcode kill the worker */
        uint32_t upgrade_wanted; /* set by .ctl/admin: when the reply is sent, the worker clears it
                                  * and ends with WORKER_UPGRADE */

        /* keeper and worker, unlogged */
        uint32_t started; /* a worker has been started before */
        uint32_t ready;   /* whoever waited for the mount has been told */
        uint32_t serving; /* this worker has got as far as serving */

        /* tree and regions */
        uint8_t name_key[16]; /* of the hash of names, drawn when the records are made */
        uint32_t n_buckets;
        uint32_t buckets_pad;
        uint64_t next_ino;
        uint64_t next_generation;
        uint64_t detached_nodes; /* how many nodes are NODE_DETACHED: gone for all but the kernel */
        uint64_t further_links;  /* names of files beyond the first of each */
        uint64_t limit_bytes;    /* size=, 0 for none */
        uint64_t limit_nodes;    /* nr_inodes=, 0 for none */
        uint64_t charged_memfd;  /* sum of node.held over regions of BACKING_MEMFD */
        uint64_t charged_tmpfs;  /* the same over BACKING_TMPFS */
        uint64_t tmpfs_blocks;   /* sum of node.blocks over BACKING_TMPFS */

        uint64_t next_invalidation;
        uint64_t next_event;
        uint32_t accepting;         /* unlogged: 1 while a connection has no record yet */
        uint32_t mount_device;      /* of our mount, see mount.h; 0: not known */
        uint32_t background_deaths; /* unlogged: workers in a row that died in background work */
        uint32_t root_pad;
        struct wakeup wakeup;
        struct counters counters;
};

/* The tables in the order of enum layout_table, with the root's and the scratch area's sizes. */
const struct journal_spec *layout_spec(void);
