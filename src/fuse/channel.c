/* SPDX-License-Identifier: MIT */
#include "fuse/channel.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/mman.h>
#include <unistd.h>
#include "fuse/killpriv.h"
#include "base/log.h"
#include "records/blame.h"

/* What this system's linux/fuse.h may be too old for. */
#define CHANNEL_UNIQUE_RESENT (UINT64_C(1) << 63)
#define CHANNEL_UNIQUE_INTERRUPT UINT64_C(1) /* set in answers to INTERRUPT */
#define CHANNEL_INIT_EXT (UINT32_C(1) << 30)
#define CHANNEL_INIT2_PASSTHROUGH (UINT32_C(1) << 5) /* bit 37 */
#define CHANNEL_INIT2_RESEND (UINT32_C(1) << 7)      /* bit 39 */
#define CHANNEL_OPEN_PASSTHROUGH (UINT32_C(1) << 7)
#define CHANNEL_NOTIFY_RESEND 7

struct backing_map {
        int32_t fd;
        uint32_t flags;
        uint64_t padding;
};
#define CHANNEL_BACKING_OPEN _IOW(229, 1, struct backing_map)
#define CHANNEL_BACKING_CLOSE _IOW(229, 2, uint32_t)

enum {
        MAX_WRITE = 1024 * 1024,
        FORGETS_PER_COMMIT = 64,
        CHANNEL_STATX = 52,   /* FUSE_STATX, Linux 6.6 */
        CHANNEL_TMPFILE = 51, /* FUSE_TMPFILE, Linux 6.2 */
        DEATHS_MAX = 2,       /* a request that has cost this many workers is not tried again */
        PAGE = 4096,
        PLACE_STEP = 128, /* bytes: no header of a request lies on two pages */
        WRITE_HEADERS = sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in),
};

/* fuse_init_out as of protocol 7.40, as far as we fill it in. */
struct init_out {
        uint32_t major, minor, max_readahead, flags;
        uint16_t max_background, congestion_threshold;
        uint32_t max_write, time_gran;
        uint16_t max_pages, map_alignment;
        uint32_t flags2, max_stack_depth;
        uint32_t unused[6];
};
_Static_assert(sizeof(struct init_out) == sizeof(struct fuse_init_out), "the kernel's structure");

/* struct fuse_sx_time, and struct fuse_statx_out with its struct fuse_statx, of Linux 6.6. */
struct channel_statx_time {
        int64_t sec;
        uint32_t nsec;
        int32_t reserved;
};
struct channel_statx_out {
        uint64_t attr_valid; /* seconds */
        uint32_t attr_valid_nsec;
        uint32_t flags;
        uint64_t spare[2];
        uint32_t mask;
        uint32_t blksize;
        uint64_t attributes;
        uint32_t nlink;
        uint32_t uid;
        uint32_t gid;
        uint16_t mode;
        uint16_t reserved;
        uint64_t ino;
        uint64_t size;
        uint64_t blocks;
        uint64_t attributes_mask;
        struct channel_statx_time atime, btime, ctime, mtime;
        uint32_t rdev_major, rdev_minor;
        uint32_t dev_major, dev_minor;
        uint64_t spare2[14];
};
_Static_assert(sizeof(struct channel_statx_out) == 32 + 256, "as in the kernel's fuse.h");

struct channel {
        struct journal *journal;
        struct root *root;
        struct fuse_session *session;
        struct fuse_in_header *request; /* in the scratch area, at root->request_at */
        channel_forget_fn forget;
        channel_statx_fn statx;
        void *userdata;
        /* Of the last WRITE, in its file: where the next one begins, if it goes on there. */
        uint64_t write_end;
        bool ready;     /* INIT is through */
        bool replaying; /* the reply to INIT is not to be sent */
        bool kills;     /* see channel_kills_privilege() */
        int failure;    /* negative errno: INIT went wrong for good */
};

/* libfuse gives the callbacks of fuse_custom_io the file system's userdata, not ours. */
static struct channel *channel_instance;

static int channel_fd(const struct channel *channel) {
        return channel->root->fuse_fd;
}

uint64_t channel_unique(uint64_t unique) {
        return unique & ~CHANNEL_UNIQUE_RESENT;
}

/* One write is one message; the kernel takes it whole or not at all. */
static void channel_send(struct channel *channel, const struct iovec *iov, int count) {
        journal_crash_point(channel->journal);
        /* ENOENT: nobody waits for it any more.  ENODEV: unmounted; the next read says so. */
        if (writev(channel_fd(channel), iov, count) < 0 && errno != ENOENT && errno != ENODEV)
                log_line(LOG_ERR, "cannot answer request: %m");
        journal_crash_point(channel->journal);
}

/* Whether regions can really be backed: the flag of INIT alone does not say. */
static bool passthrough_works(struct channel *channel) {
        int fd, id;

        fd = memfd_create("iomemfs-trial", MFD_CLOEXEC);
        if (fd < 0)
                return false;
        id = channel_backing_open(channel, fd);
        close(fd);
        if (id < 0)
                return false;
        ioctl(channel_fd(channel), CHANNEL_BACKING_CLOSE, &id);
        return true;
}

static void settle_passthrough(struct channel *channel) {
        uint32_t wanted = channel->root->settings.want_passthrough;

        if (wanted == PASSTHROUGH_OFF)
                return;
        if (passthrough_works(channel)) {
                channel->root->passthrough = 1;
                return;
        }
        if (wanted == PASSTHROUGH_ON) {
                channel->failure = -EOPNOTSUPP;
                log_line(LOG_ERR, "passthrough=on: the kernel does not grant passthrough "
                                  "(it takes Linux 6.9 and CAP_SYS_ADMIN); "
                                  "mount with passthrough=auto to do without");
        } else {
                log_line(LOG_WARNING, "no passthrough here: data goes through FUSE's page cache, "
                                      "more slowly");
        }
}

/* The first reply: asks for what libfuse has no name for, saves INIT, and tries passthrough. */
static void init_reply(struct channel *channel, const struct iovec *iov, int count) {
        struct root *root = channel->root;
        const struct fuse_out_header *header = iov[0].iov_base;
        const struct fuse_init_in *in = (const void *)(channel->request + 1);
        bool extended = in->flags & CHANNEL_INIT_EXT;
        struct init_out out = {};
        struct iovec patched[2] = {iov[0], {&out, sizeof(out)}};

        if (header->error != 0 || count != 2 || iov[1].iov_len != sizeof(out)) {
                channel->failure = -EPROTO;
                channel_send(channel, iov, count);
                return;
        }
        memcpy(&out, iov[1].iov_base, sizeof(out));
        /* libfuse 3.14 takes the wish and forgets it. */
        out.flags |= in->flags & FUSE_PARALLEL_DIROPS;
        out.flags |= killpriv_take(root, in);
        if (extended && (in->flags2 & CHANNEL_INIT2_PASSTHROUGH) &&
            root->settings.want_passthrough != PASSTHROUGH_OFF) {
                out.flags |= CHANNEL_INIT_EXT;
                out.flags2 |= CHANNEL_INIT2_PASSTHROUGH;
                out.max_stack_depth = 1;
        }
        if (!extended || !(in->flags2 & CHANNEL_INIT2_RESEND))
                log_line(LOG_WARNING, "this kernel cannot resend requests (that takes Linux 6.9): "
                                      "calls under way when the daemon dies will wait until the "
                                      "file system is unmounted");

        journal_touch(channel->journal, root->init, sizeof(root->init));
        memcpy(root->init, channel->request, channel->request->len);
        JOURNAL_SET(channel->journal, root->init_length, channel->request->len);
        journal_commit_outcome(channel->journal, channel_unique(header->unique), patched, 2);
        channel_send(channel, patched, 2);
        settle_passthrough(channel);
        channel->ready = true;
}

static ssize_t channel_writev(int fd, struct iovec *iov, int count, void *userdata) {
        struct channel *channel = channel_instance;
        const struct fuse_out_header *header = iov[0].iov_base;

        (void)fd;
        (void)userdata;
        if (channel->replaying) {
                channel->ready = header->error == 0;
        } else if (!channel->ready) {
                init_reply(channel, iov, count);
        } else {
                /* Answers to INTERRUPT are no outcomes: a request is still to be answered. */
                if (!(header->unique & CHANNEL_UNIQUE_INTERRUPT) && journal_dirty(channel->journal))
                        journal_commit_outcome(channel->journal, channel_unique(header->unique),
                                               iov, count);
                channel_send(channel, iov, count);
        }
        /* What was committed is not to be undone by libfuse's callers, whatever became of it. */
        return (ssize_t)header->len;
}

/* libfuse insists on one; the channel reads by itself. */
static ssize_t channel_read(int fd, void *buffer, size_t size, void *userdata) {
        (void)userdata;
        return read(fd, buffer, size);
}

static void channel_init(void *userdata, struct fuse_conn_info *conn) {
        const unsigned int wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_AUTO_INVAL_DATA |
                                    FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                                    FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
                                    FUSE_CAP_CACHE_SYMLINKS;

        (void)userdata;
        conn->want = conn->capable & wanted;
        conn->max_write = MAX_WRITE;
}

uint64_t channel_poll_key(const struct channel *channel) {
        const struct fuse_poll_in *in = (const void *)(channel->request + 1);

        return channel->request->opcode == FUSE_POLL ? in->kh : 0;
}

static void channel_process(struct channel *channel, void *request, size_t length) {
        struct fuse_buf buf = {.size = length, .mem = request};

        fuse_session_process_buf(channel->session, &buf);
}

static int channel_replay_init(struct channel *channel) {
        struct root *root = channel->root;
        uint8_t init[sizeof(root->init)];

        memcpy(init, root->init, root->init_length);
        channel->replaying = true;
        channel_process(channel, init, root->init_length);
        channel->replaying = false;
        if (!channel->ready)
                return -EPROTO;
        if (!root->ready)
                settle_passthrough(channel);
        return channel->failure;
}

/*
 * The kernel copies a request into the scratch area while the worker may be being killed.  If the
 * pages are not there, the copy fails and with it the request; so they must be.
 */
static void scratch_prepare(struct channel *channel) {
        volatile uint8_t *scratch = journal_scratch(channel->journal);

        for (size_t i = 0; i < LAYOUT_SCRATCH_SIZE; i += PAGE)
                scratch[i] = scratch[i];
        /* A courtesy: without the right to it, the pages are merely likely to be there. */
        if (mlock((const void *)scratch, LAYOUT_SCRATCH_SIZE) < 0)
                log_line(LOG_DEBUG, "cannot lock the request buffer: %m");
}

/*
 * Where the next request goes, so that the bytes of a WRITE that goes on at `offset` of its file are
 * copied fast, from the kernel's page and to the region's.  Whole pages: to the start of a page, so
 * that one piece is one page.  Others: half a page away from their place in the file, since a copy
 * to an address that is a little ahead of its source, modulo 4 KiB, takes several times as long (the
 * processor takes each load for one of the bytes just stored).  A wrong guess costs only time.
 */
static uint32_t request_place(uint64_t offset) {
        uint32_t place = offset % PAGE;

        if (place > 0)
                place = (place + PAGE / 2) % PAGE / PLACE_STEP * PLACE_STEP;
        return PAGE - WRITE_HEADERS + place;
}

/* A length in a request after our death says that the kernel has given it to us. */
static void request_clear(struct fuse_in_header *request) {
        __atomic_store_n(&request->len, 0, __ATOMIC_RELEASE);
        __atomic_signal_fence(__ATOMIC_SEQ_CST); /* before what comes next */
}

/* Done with the request: makes the place for the next one, and at no moment two. */
static void request_prepare(struct channel *channel) {
        struct root *root = channel->root;
        uint32_t place = request_place(channel->write_end);
        char *scratch = journal_scratch(channel->journal);

        request_clear(channel->request);
        channel->request = (struct fuse_in_header *)(scratch + place);
        request_clear(channel->request);
        __atomic_store_n(&root->request_at, place, __ATOMIC_RELEASE);
        root->forget_done = 0;
}

static uint64_t write_end(const struct fuse_in_header *request) {
        const struct fuse_write_in *in = (const void *)(request + 1);

        return in->offset + in->size;
}

static int session_new(struct channel *channel, const struct fuse_lowlevel_ops *ops) {
        static const struct fuse_custom_io io = {.writev = channel_writev, .read = channel_read};
        struct fuse_lowlevel_ops own = *ops;
        char *argv[] = {"iomemfs", NULL};
        struct fuse_args args = FUSE_ARGS_INIT(1, argv);
        int fd, r;

        own.init = channel_init;
        own.forget = NULL;
        own.forget_multi = NULL;
        channel->session = fuse_session_new(&args, &own, sizeof(own), channel->userdata);
        fuse_opt_free_args(&args);
        if (!channel->session)
                return -ENOMEM;
        /* The session closes the descriptor that it is given: it gets one of its own. */
        fd = fcntl(channel_fd(channel), F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;
        r = fuse_session_custom_io(channel->session, &io, fd);
        if (r != 0)
                close(fd);
        return r;
}

int channel_new(struct channel **out, struct journal *journal, const struct fuse_lowlevel_ops *ops,
                channel_forget_fn forget, void *userdata) {
        struct channel *channel;
        int r;

        channel = calloc(1, sizeof(*channel));
        if (!channel)
                return -ENOMEM;
        channel->journal = journal;
        channel->root = journal_root(journal);
        channel->request = (void *)((char *)journal_scratch(journal) + channel->root->request_at);
        channel->forget = forget;
        channel->userdata = userdata;
        channel_instance = channel;
        scratch_prepare(channel);
        r = session_new(channel, ops);
        if (r == 0 && channel->root->init_length > 0)
                r = channel_replay_init(channel);
        if (r < 0) {
                channel_free(channel);
                return r;
        }
        *out = channel;
        return 0;
}

struct channel *channel_free(struct channel *channel) {
        if (!channel)
                return NULL;
        if (channel->session)
                fuse_session_destroy(channel->session);
        channel_instance = NULL;
        free(channel);
        return NULL;
}

static uint32_t forget_count(const struct fuse_in_header *request) {
        const struct fuse_batch_forget_in *batch = (const void *)(request + 1);

        return request->opcode == FUSE_FORGET ? 1 : batch->count;
}

static void forget_entry(struct channel *channel, uint64_t i) {
        const struct fuse_in_header *request = channel->request;
        const struct fuse_forget_in *single = (const void *)(request + 1);
        const struct fuse_batch_forget_in *batch = (const void *)(request + 1);
        const struct fuse_forget_one *entries = (const void *)(batch + 1);

        if (request->opcode == FUSE_FORGET)
                channel->forget(channel->userdata, request->nodeid, single->nlookup);
        else
                channel->forget(channel->userdata, entries[i].nodeid, entries[i].nlookup);
}

/* Goes on from root->forget_done: after a crash, what was committed is not done again. */
static void channel_forget(struct channel *channel) {
        struct root *root = channel->root;
        uint32_t count = forget_count(channel->request);

        while (root->forget_done < count) {
                uint64_t done = root->forget_done;

                for (int i = 0; i < FORGETS_PER_COMMIT && done < count; i++)
                        forget_entry(channel, done++);
                JOURNAL_SET(channel->journal, root->forget_done, done);
                journal_commit(channel->journal);
                channel_settle(channel);
        }
}

static bool channel_is_poison(struct channel *channel) {
        const struct fuse_in_header *request = channel->request;

        return blame_is_poison(channel->root, channel_unique(request->unique), request->opcode);
}

static bool is_forget(const struct fuse_in_header *request) {
        return request->opcode == FUSE_FORGET || request->opcode == FUSE_BATCH_FORGET;
}

static void channel_refuse(struct channel *channel) {
        struct fuse_out_header out = {
                .len = sizeof(out),
                .error = -EIO,
                .unique = channel->request->unique,
        };

        channel_send(channel, &(struct iovec){&out, sizeof(out)}, 1);
}

void channel_set_statx(struct channel *channel, channel_statx_fn statx) {
        channel->statx = statx;
}

static struct channel_statx_time statx_time(struct timespec time) {
        return (struct channel_statx_time){.sec = time.tv_sec, .nsec = (uint32_t)time.tv_nsec};
}

static void statx_fill(struct channel_statx_out *out, const struct stat *st, struct timespec btime,
                       double timeout) {
        out->attr_valid = (uint64_t)timeout;
        out->mask = STATX_BASIC_STATS | STATX_BTIME;
        out->blksize = (uint32_t)st->st_blksize;
        out->nlink = (uint32_t)st->st_nlink;
        out->uid = st->st_uid;
        out->gid = st->st_gid;
        out->mode = (uint16_t)st->st_mode;
        out->ino = st->st_ino;
        out->size = (uint64_t)st->st_size;
        out->blocks = (uint64_t)st->st_blocks;
        out->atime = statx_time(st->st_atim);
        out->mtime = statx_time(st->st_mtim);
        out->ctime = statx_time(st->st_ctim);
        out->btime = statx_time(btime);
        out->rdev_major = major(st->st_rdev);
        out->rdev_minor = minor(st->st_rdev);
}

static void channel_statx(struct channel *channel) {
        struct channel_statx_out out = {};
        struct fuse_out_header header = {.unique = channel->request->unique};
        struct iovec iov[2] = {{&header, sizeof(header)}, {&out, sizeof(out)}};
        struct timespec btime = {};
        struct stat st = {};
        double timeout = 0;
        int r;

        r = channel->statx(channel->userdata, channel->request->nodeid, &st, &btime, &timeout);
        if (r == 0)
                statx_fill(&out, &st, btime, timeout);
        header.error = r;
        header.len = sizeof(header) + (r == 0 ? sizeof(out) : 0);
        channel_writev(-1, iov, r == 0 ? 2 : 1, NULL);
}

static void channel_handle(struct channel *channel) {
        struct root *root = channel->root;
        struct fuse_in_header *request = channel->request;

        root->counters.requests[request->opcode < 64 ? request->opcode : 0]++;
        blame_enter(root, channel_unique(request->unique), request->opcode);
        /* Now: libfuse writes to the request. */
        channel->kills = killpriv_is_ours(root) && killpriv_is_asked(request);
        if (request->opcode == FUSE_WRITE)
                channel->write_end = write_end(request);
        /* libfuse has no handler for O_TMPFILE: a CREATE of the name "/", which no file can have. */
        if (request->opcode == CHANNEL_TMPFILE)
                request->opcode = FUSE_CREATE;
        if (is_forget(request))
                channel_forget(channel);
        else if (request->opcode == CHANNEL_STATX && channel->statx)
                channel_statx(channel);
        else
                channel_process(channel, request, request->len);
        /* Answered later, or never: the change stands. */
        if (journal_dirty(channel->journal))
                journal_commit(channel->journal);
        channel_settle(channel);
        blame_leave(root);
        if (root->crash_wanted > 0) {
                journal_crash_after(channel->journal, root->crash_wanted - 1);
                root->crash_wanted = 0;
        }
}

int channel_dispatch(struct channel *channel) {
        struct fuse_in_header *request;
        ssize_t n;

        request_prepare(channel);
        request = channel->request;
        n = read(channel_fd(channel), request, LAYOUT_REQUEST_MAX);
        if (n < 0)
                switch (errno) {
                case EAGAIN:
                case EINTR:
                        return 0;
                case ENOENT: /* it was given up while we read it */
                        return 1;
                case ECONNABORTED:
                        return -ENODEV;
                default:
                        return -errno;
                }
        if ((size_t)n < sizeof(*request) || (size_t)n != request->len)
                return -EPROTO;
        if ((request->unique & CHANNEL_UNIQUE_RESENT) && channel_is_poison(channel)) {
                channel_refuse(channel);
                return 1;
        }
        channel_handle(channel);
        return channel->failure < 0 ? channel->failure : 1;
}

/* The last reply may have been committed and not sent.  If it was, the kernel knows it no more. */
static void resume_outcome(struct channel *channel) {
        const void *bytes;
        uint64_t key;
        size_t length;

        bytes = journal_outcome(channel->journal, &key, &length);
        if (key == 0 || (key & CHANNEL_UNIQUE_INTERRUPT) || length < sizeof(struct fuse_out_header))
                return;
        if (write(channel_fd(channel), bytes, length) == (ssize_t)length)
                channel->root->counters.replayed++;
}

static void resume_forget(struct channel *channel) {
        struct fuse_in_header *request = channel->request;

        if (request->len < sizeof(*request) || !is_forget(request) || channel_is_poison(channel))
                return;
        channel_handle(channel);
}

static bool backing_is_named(struct channel *channel, int32_t id) {
        uint32_t high = journal_high(channel->journal, TABLE_NODE);

        for (uint32_t i = 1; i <= high; i++) {
                const struct node *node = journal_get(channel->journal, TABLE_NODE, i);

                if (node->id == i && node->backing_id == id)
                        return true;
        }
        return false;
}

/* Ids rise one by one: one that was opened and did not get into a record is the last or the next. */
static void resume_backing(struct channel *channel) {
        int32_t last = channel->root->last_backing;

        if (!channel->root->passthrough)
                return;
        for (int32_t id = last; id <= last + 1; id++)
                if (id > 0 && !backing_is_named(channel, id))
                        ioctl(channel_fd(channel), CHANNEL_BACKING_CLOSE, &id);
}

int channel_resume(struct channel *channel) {
        struct fuse_out_header resend = {
                .len = sizeof(resend),
                .error = CHANNEL_NOTIFY_RESEND,
        };
        const struct counters *counters = &channel->root->counters;

        if (counters->restarts == 0 && counters->takeovers == 0)
                return 0;
        resume_outcome(channel);
        resume_backing(channel);
        channel_settle(channel);
        resume_forget(channel);
        if (write(channel_fd(channel), &resend, sizeof(resend)) < 0 && errno != ENODEV)
                log_line(LOG_WARNING, "cannot have unanswered requests resent: %m");
        return 0;
}

bool channel_is_ready(const struct channel *channel) {
        return channel->ready;
}

bool channel_has_passthrough(const struct channel *channel) {
        return channel->root->passthrough != 0;
}

bool channel_has_xattr(const struct channel *channel) {
        return killpriv_is_ours(channel->root);
}

bool channel_kills_privilege(const struct channel *channel) {
        return channel->kills;
}

uint64_t channel_current(const struct channel *channel) {
        return channel->root->current;
}

int channel_backing_open(struct channel *channel, int fd) {
        struct backing_map map = {.fd = fd};
        int id;

        id = ioctl(channel_fd(channel), CHANNEL_BACKING_OPEN, &map);
        if (id < 0)
                return -errno;
        channel->root->last_backing = id;
        journal_crash_point(channel->journal);
        return id;
}

void channel_backing_close(struct channel *channel, int id) {
        struct root *root = channel->root;

        if (root->n_closing == LAYOUT_CLOSING_MAX) {
                ioctl(channel_fd(channel), CHANNEL_BACKING_CLOSE, &id);
                return;
        }
        JOURNAL_SET(channel->journal, root->closing[root->n_closing], id);
        JOURNAL_SET(channel->journal, root->n_closing, root->n_closing + 1);
}

void channel_settle(struct channel *channel) {
        struct root *root = channel->root;

        if (journal_dirty(channel->journal))
                return;
        for (; root->n_closing > 0; root->n_closing--)
                ioctl(channel_fd(channel), CHANNEL_BACKING_CLOSE,
                      &root->closing[root->n_closing - 1]);
}

static void fill_timeout(uint64_t *seconds, uint32_t *nanoseconds, double timeout) {
        *seconds = (uint64_t)timeout;
        *nanoseconds = (uint32_t)((timeout - (double)*seconds) * 1e9);
}

static void fill_attr(struct fuse_attr *attr, const struct stat *st) {
        attr->ino = st->st_ino;
        attr->size = (uint64_t)st->st_size;
        attr->blocks = (uint64_t)st->st_blocks;
        attr->atime = (uint64_t)st->st_atim.tv_sec;
        attr->mtime = (uint64_t)st->st_mtim.tv_sec;
        attr->ctime = (uint64_t)st->st_ctim.tv_sec;
        attr->atimensec = (uint32_t)st->st_atim.tv_nsec;
        attr->mtimensec = (uint32_t)st->st_mtim.tv_nsec;
        attr->ctimensec = (uint32_t)st->st_ctim.tv_nsec;
        attr->mode = st->st_mode;
        attr->nlink = (uint32_t)st->st_nlink;
        attr->uid = st->st_uid;
        attr->gid = st->st_gid;
        attr->rdev = (uint32_t)st->st_rdev;
        attr->blksize = (uint32_t)st->st_blksize;
}

static void fill_entry(struct fuse_entry_out *out, const struct fuse_entry_param *entry) {
        out->nodeid = entry->ino;
        out->generation = entry->generation;
        fill_timeout(&out->entry_valid, &out->entry_valid_nsec, entry->entry_timeout);
        fill_timeout(&out->attr_valid, &out->attr_valid_nsec, entry->attr_timeout);
        fill_attr(&out->attr, &entry->attr);
}

int channel_reply_open(fuse_req_t req, const struct fuse_entry_param *entry,
                       const struct fuse_file_info *fi, int backing) {
        struct {
                struct fuse_entry_out entry;
                struct fuse_open_out open;
        } out = {
                /* The kernel takes no other flag together with this one. */
                .open.fh = fi->fh,
                .open.open_flags = CHANNEL_OPEN_PASSTHROUGH,
                .open.padding = (uint32_t)backing,
        };

        if (backing == 0)
                return entry ? fuse_reply_create(req, entry, fi) : fuse_reply_open(req, fi);
        if (!entry)
                return fuse_reply_buf(req, (const char *)&out.open, sizeof(out.open));
        fill_entry(&out.entry, entry);
        return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static int channel_notify(int fuse_fd, int code, const void *body, size_t body_size,
                          const char *name, size_t length) {
        struct fuse_out_header header = {.error = code};
        struct iovec iov[] = {
                {&header, sizeof(header)},
                {(void *)body, body_size},
                {(void *)name, length},
                {"", 1},
        };

        header.len = (uint32_t)(sizeof(header) + body_size + (name ? length + 1 : 0));
        return writev(fuse_fd, iov, name ? 4 : 2) < 0 ? -errno : 0;
}

int channel_invalidate_entry(int fuse_fd, uint64_t parent, const char *name, size_t length) {
        struct fuse_notify_inval_entry_out body = {
                .parent = parent,
                .namelen = (uint32_t)length,
        };

        return channel_notify(fuse_fd, FUSE_NOTIFY_INVAL_ENTRY, &body, sizeof(body), name, length);
}

int channel_invalidate_inode(int fuse_fd, uint64_t node, bool pages) {
        /* A negative offset leaves the pages alone. */
        struct fuse_notify_inval_inode_out body = {.ino = node, .off = pages ? 0 : -1};

        return channel_notify(fuse_fd, FUSE_NOTIFY_INVAL_INODE, &body, sizeof(body), NULL, 0);
}

int channel_wake_poll(int fuse_fd, uint64_t kh) {
        struct fuse_notify_poll_wakeup_out body = {.kh = kh};

        return channel_notify(fuse_fd, FUSE_NOTIFY_POLL, &body, sizeof(body), NULL, 0);
}
