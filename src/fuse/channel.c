/* SPDX-License-Identifier: MIT */
#include "fuse/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "fuse/backing_id.h"
#include "memory/backing.h"
#include "fuse/killpriv.h"
#include "fuse/negotiate.h"
#include "records/blame.h"

enum {
        FORGETS_PER_COMMIT = 64,
        PAGE = 4096,
        PLACE_STEP = 128, /* bytes: no header of a request crosses a page */
        WRITE_HEADERS = sizeof(struct wire_in_header) + sizeof(struct wire_write_in),
        DEFERRED_HEADS = 64, /* a power of two */
        EARLY_MAX = 8,
        ERROR_MAX = 511,                     /* the kernel accepts no larger ones */
        RETRIES_MAX = 64,                    /* requests that wait for space */
        RETRIES_BYTES_MAX = 8 * 1024 * 1024, /* their bytes in all */
};
_Static_assert(LAYOUT_REQUEST_MAX >= NEGOTIATE_MAX_WRITE + WRITE_HEADERS, "a WRITE has room");

/* A request that is handled once more. */
struct retry {
        struct room_waiter waiter;
        struct channel *channel;
        struct retry *next;
        size_t length;
        char message[] __attribute__((aligned(8)));
};

struct channel {
        struct txn *txn;
        struct journal *journal;
        struct root *root;
        struct wire_in_header *request; /* in the scratch area, at root->request_at */
        const struct channel_operations *operations;
        void *userdata;
        /* End of the last WRITE in its file: the next one begins there if it continues. */
        uint64_t write_end;
        bool ready;  /* INIT is done */
        int failure; /* negative errno: INIT has failed for good */
        struct deferred_request *deferred[DEFERRED_HEADS]; /* by fuse_request_key() */
        struct room *room;                                 /* NULL: nothing is retried */
        struct retry *retries;                             /* those that wait */
        unsigned int n_retries;
        size_t retries_bytes;
        /* The last INTERRUPTs whose requests were not deferred (yet). */
        uint64_t early[EARLY_MAX];
        unsigned int next_early;
};

static int channel_fd(const struct channel *channel) {
        return channel->root->fuse_fd;
}

static uint64_t key_of(uint64_t unique) {
        return unique & ~WIRE_UNIQUE_RESENT;
}

/* Replies */

/* One write is one message; the kernel takes all of it or nothing. */
static void channel_send(void *userdata, const struct iovec *iov, int count) {
        struct channel *channel = userdata;

        journal_crash_point(channel->journal);
        /* ENOENT: the caller no longer waits.  ENODEV: unmounted; the next read returns that,
         * too. */
        if (writev(channel_fd(channel), iov, count) < 0 && errno != ENOENT && errno != ENODEV)
                log_line(LOG_ERR, "cannot reply to a request: %m");
        journal_crash_point(channel->journal);
}

static int channel_commit(struct fuse_request *req, int error, struct iovec *iov, int count) {
        struct channel *channel = req->channel;
        struct wire_out_header header = {.error = error, .unique = req->unique};

        iov[0] = (struct iovec){&header, sizeof(header)};
        if (error != 0)
                count = 1;
        for (int i = 0; i < count; i++)
                header.len += (uint32_t)iov[i].iov_len;
        return txn_commit_reply(channel->txn, fuse_request_key(req), iov, count, channel_send,
                                channel);
}

/* Counts the time until the reply.  Bounded, and without a record: a few stores. */
static void channel_measure(const struct fuse_request *req) {
        struct counters *counters = &req->channel->root->counters;
        uint64_t took = req->at ? clock_ns() - req->at : 0, bound = 1000;
        unsigned int bucket = 0;

        if (!req->at)
                return;
        for (; bucket < LATENCY_BUCKETS - 1 && took > bound; bucket++)
                bound *= 4;
        counters->latency[bucket]++;
        counters->latency_ns += took;
}

void channel_reply(struct fuse_request *req, int error, struct iovec *iov, int count) {
        int r;

        if (req->answered) {
                log_line(LOG_ERR, "a request was replied to twice: the second reply is dropped");
                return;
        }
        if (error > 0 || error < -ERROR_MAX) {
                log_line(LOG_ERR, "%d is not a valid error for a reply", error);
                error = -EIO;
        }
        req->answered = true;
        r = channel_commit(req, error, iov, count);
        /* The transaction was aborted.  This one is empty, so its commit cannot be refused. */
        if (r < 0)
                (void)channel_commit(req, r, iov, 1);
        channel_measure(req);
}

static void channel_reply_error(struct fuse_request *req, int error) {
        struct iovec iov[1];

        channel_reply(req, error, iov, 1);
}

/* INIT */

static void settle_passthrough(struct channel *channel) {
        uint32_t wanted = channel->root->settings.want_passthrough;

        if (wanted == PASSTHROUGH_OFF)
                return;
        if (backing_id_works(channel_fd(channel))) {
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

static void init_save(struct channel *channel, const struct wire_in_header *message) {
        struct root *root = channel->root;
        uint32_t length = message->len < sizeof(root->init) ? message->len : sizeof(root->init);

        journal_touch(channel->journal, root->init, sizeof(root->init));
        memcpy(root->init, message, length);
        JOURNAL_SET(channel->journal, root->init_length, length);
}

static void channel_init(struct fuse_request *req) {
        struct channel *channel = req->channel;
        struct wire_init_in in;
        struct wire_init_out out;
        struct iovec iov[2] = {[1] = {&out, sizeof(out)}};
        int r;

        wire_init_args(req->in, &in);
        r = negotiate(&out, &in, channel->root);
        if (r == -EAGAIN) {
                channel_reply(req, 0, iov, 2);
                return;
        }
        if (r < 0) {
                log_line(LOG_ERR, "this kernel's FUSE protocol %u.%u is too old", in.major,
                         in.minor);
                channel->failure = r;
                channel_reply_error(req, r);
                return;
        }
        if (!negotiate_can_resend(&in))
                log_line(LOG_WARNING, "this kernel cannot resend requests (that takes Linux 6.9): "
                                      "calls under way when the daemon dies will wait until the "
                                      "file system is unmounted");
        init_save(channel, req->in->header);
        channel_reply(req, 0, iov, 2);
        settle_passthrough(channel);
        channel->ready = true;
}

/* A later worker reads from the records what the first one agreed on in INIT. */
static int init_resume(struct channel *channel) {
        struct root *root = channel->root;

        if (root->init_length == 0)
                return 0;
        channel->ready = true;
        if (!root->ready)
                settle_passthrough(channel);
        return channel->failure;
}

/* The place of a request */

/*
 * Makes sure that the pages of the scratch area are there.  The kernel copies a request into it
 * even while the worker is being killed; without the pages the copy fails, and the request with it.
 */
static void scratch_prepare(struct channel *channel) {
        volatile uint8_t *scratch = journal_scratch(channel->journal);

        for (size_t i = 0; i < LAYOUT_SCRATCH_SIZE; i += PAGE)
                scratch[i] = scratch[i];
        /* If mlock(2) is not permitted, the pages are only likely to be there. */
        if (mlock((const void *)scratch, LAYOUT_SCRATCH_SIZE) < 0)
                log_line(LOG_DEBUG, "cannot lock the request buffer: %m");
}

/*
 * The place of the next request.  It is chosen so that the bytes of a WRITE that continues at
 * `offset` of its file are copied fast, from the kernel's page and to the region's.  Whole pages go
 * to the start of a page, so that one piece is one page.  Other bytes go half a page away from
 * their place in the file: a copy to an address that is a little ahead of its source, modulo 4 KiB,
 * takes several times as long (the processor takes each load for one of the bytes just stored).  A
 * wrong guess costs only time.
 */
static uint32_t request_place(uint64_t offset) {
        uint32_t place = offset % PAGE;

        if (place > 0)
                place = (place + PAGE / 2) % PAGE / PLACE_STEP * PLACE_STEP;
        return PAGE - WRITE_HEADERS + place;
}

/* After a worker's death, a length other than 0 means that the kernel has given us a request. */
static void request_clear(struct wire_in_header *request) {
        __atomic_store_n(&request->len, 0, __ATOMIC_RELEASE);
        __atomic_signal_fence(__ATOMIC_SEQ_CST); /* before the stores that follow */
}

/* The request is done.  Makes the place for the next one, so that at no time there are two. */
static void request_prepare(struct channel *channel) {
        struct root *root = channel->root;
        uint32_t place = request_place(channel->write_end);
        char *scratch = journal_scratch(channel->journal);

        request_clear(channel->request);
        channel->request = (struct wire_in_header *)(scratch + place);
        request_clear(channel->request);
        __atomic_store_n(&root->request_at, place, __ATOMIC_RELEASE);
        root->forget_done = 0;
}

/* Construction */

int channel_new(struct channel **out, struct txn *txn, const struct channel_operations *operations,
                void *userdata) {
        struct journal *journal = txn_journal(txn);
        struct channel *channel;
        int r;

        channel = calloc(1, sizeof(*channel));
        if (!channel)
                return -ENOMEM;
        channel->txn = txn;
        channel->journal = journal;
        channel->root = journal_root(journal);
        channel->request = (void *)((char *)journal_scratch(journal) + channel->root->request_at);
        channel->operations = operations;
        channel->userdata = userdata;
        scratch_prepare(channel);
        r = init_resume(channel);
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
        while (channel->retries) {
                struct retry *retry = channel->retries;

                channel->retries = retry->next;
                room_leave(channel->room, &retry->waiter);
                free(retry);
        }
        free(channel);
        return NULL;
}

/* FORGET */

static uint32_t forget_count(const struct wire_request *in) {
        const struct wire_batch_forget_in *batch = in->args;

        return in->header->opcode == WIRE_FORGET ? 1 : batch->count;
}

static void forget_entry(struct channel *channel, const struct wire_request *in, uint64_t i) {
        const struct wire_forget_in *single = in->args;
        const struct wire_forget_one *entries = in->payload;
        channel_forget_fn forget = channel->operations->forget;

        if (in->header->opcode == WIRE_FORGET)
                forget(channel->userdata, in->header->node, single->count);
        else
                forget(channel->userdata, entries[i].node, entries[i].count);
}

/* Carries out some entries, from root->forget_done on, in one transaction. */
static void forget_some(struct channel *channel, const struct wire_request *in, uint64_t most) {
        struct root *root = channel->root;
        uint64_t first = root->forget_done, done = first, count = forget_count(in);

        do
                forget_entry(channel, in, done++);
        while (done < count && done - first < most && !txn_is_nearly_full(channel->txn));
        JOURNAL_SET(channel->journal, root->forget_done, done);
}

/* Continues at root->forget_done, so that after a crash nothing committed is done again. */
static void channel_forget(struct channel *channel, const struct wire_request *in) {
        while (channel->root->forget_done < forget_count(in)) {
                forget_some(channel, in, FORGETS_PER_COMMIT);
                if (txn_commit(channel->txn) == 0)
                        continue;
                /* The kernel does not resend a FORGET, so it must not be lost. */
                forget_some(channel, in, 1);
                txn_commit_anyway(channel->txn);
        }
}

static bool is_forget(const struct wire_in_header *request) {
        return request->opcode == WIRE_FORGET || request->opcode == WIRE_BATCH_FORGET;
}

/* Requests that are replied to later, and INTERRUPT */

static struct deferred_request **deferred_head(struct channel *channel, uint64_t key) {
        /* The lowest bit marks INTERRUPTs. */
        return &channel->deferred[(key >> 1) % DEFERRED_HEADS];
}

/* Whether the request was interrupted before it was deferred.  Removes that note. */
static bool take_early(struct channel *channel, uint64_t key) {
        for (int i = 0; i < EARLY_MAX; i++)
                if (channel->early[i] == key) {
                        channel->early[i] = 0;
                        return true;
                }
        return false;
}

static void interrupt(struct deferred_request *deferred) {
        void (*interrupted)(struct deferred_request *) = deferred->interrupted;

        deferred->interrupted = NULL;
        if (interrupted)
                interrupted(deferred);
}

void channel_defer(struct deferred_request *deferred, struct fuse_request *req,
                   void (*interrupted)(struct deferred_request *deferred)) {
        struct channel *channel = req->channel;
        struct deferred_request **head = deferred_head(channel, fuse_request_key(req));

        deferred->req = *req;
        deferred->req.in = NULL;
        deferred->interrupted = interrupted;
        deferred->next = *head;
        *head = deferred;
        req->deferred = true;
        if (take_early(channel, fuse_request_key(req)))
                interrupt(deferred);
}

struct fuse_request channel_undefer(struct deferred_request *deferred) {
        struct fuse_request req = deferred->req;
        struct deferred_request **at = deferred_head(req.channel, fuse_request_key(&req));

        while (*at && *at != deferred)
                at = &(*at)->next;
        if (*at)
                *at = deferred->next;
        deferred->next = NULL;
        return req;
}

/*
 * Linux sends INTERRUPT after its request was read, and again after a resent one was read again.
 * So an INTERRUPT whose request does not wait here is too late, and needs no reply.  (EAGAIN would
 * make the kernel send it again, over and over for a request that a dead worker has read.)  The
 * protocol allows it to come too early, so the last ones are stored.
 */
static void channel_interrupt(struct channel *channel, const struct wire_request *in) {
        const struct wire_interrupt_in *args = in->args;
        uint64_t key = key_of(args->unique);
        struct deferred_request *deferred = *deferred_head(channel, key);

        while (deferred && fuse_request_key(&deferred->req) != key)
                deferred = deferred->next;
        if (deferred)
                interrupt(deferred);
        else
                channel->early[channel->next_early++ % EARLY_MAX] = key;
}

/* Handling */

static void channel_call(struct channel *channel, struct fuse_request *req) {
        uint32_t opcode = req->in->header->opcode;
        channel_handler_fn handler = channel->operations->handlers[opcode];

        /* Do it now: afterwards the place of the next request is chosen. */
        if (opcode == WIRE_WRITE) {
                const struct wire_write_in *args = req->in->args;

                channel->write_end = args->offset + args->size;
        }
        if (!handler) {
                channel_reply_error(req, -ENOSYS);
                return;
        }
        req->kills_setid = killpriv_is_ours(channel->root) && killpriv_is_asked(req->in);
        handler(req);
        if (!req->answered && !req->deferred) {
                log_line(LOG_ERR, "a request of type %u got no reply", opcode);
                channel_reply_error(req, -EIO);
        }
}

/* decoded: the result of wire_decode(). */
static void channel_route(struct channel *channel, struct fuse_request *req, int decoded) {
        switch (req->in->header->opcode) {
        case WIRE_FORGET:
        case WIRE_BATCH_FORGET:
                if (decoded == 0)
                        channel_forget(channel, req->in);
                return;
        case WIRE_INTERRUPT:
                if (decoded == 0)
                        channel_interrupt(channel, req->in);
                return;
        case WIRE_NOTIFY_REPLY: /* we ask for none; it gets no reply */
                return;
        case WIRE_INIT:
                if (decoded == 0 && !channel->ready)
                        channel_init(req);
                else
                        channel_reply_error(req, -EIO);
                return;
        case WIRE_DESTROY:
                channel_reply_error(req, 0);
                return;
        default:
                if (!channel->ready)
                        channel_reply_error(req, -EIO);
                else if (decoded < 0)
                        channel_reply_error(req, decoded);
                else
                        channel_call(channel, req);
        }
}

static void channel_handle(struct channel *channel, const struct wire_request *in, int decoded,
                           bool retried) {
        struct root *root = channel->root;
        const struct wire_in_header *header = in->header;
        struct fuse_request req = {
                .channel = channel,
                .userdata = channel->userdata,
                .unique = header->unique,
                .node = header->node,
                .uid = header->uid,
                .gid = header->gid,
                .pid = (int32_t)header->pid,
                .retried = retried,
                .at = clock_ns(),
                .in = in,
        };

        if (!retried)
                root->counters.requests[header->opcode < 64 ? header->opcode : 0]++;
        blame_enter(root, key_of(header->unique), header->opcode);
        channel_route(channel, &req, decoded);
        /* A handler that replies later, or never, leaves nothing to be committed.  If it does, it
         * is committed here, so that the next request begins with an empty transaction. */
        (void)txn_commit(channel->txn);
        blame_leave(root);
        fault_begin();
        if (root->crash_wanted > 0) {
                journal_crash_after(channel->journal, root->crash_wanted - 1);
                root->crash_wanted = 0;
        }
}

/* Requests that are handled once more */

void channel_set_room(struct channel *channel, struct room *room) {
        channel->room = room;
}

bool channel_can_retry(const struct fuse_request *req) {
        const struct channel *channel = req->channel;

        return channel->room && req->in && !req->retried && channel->n_retries < RETRIES_MAX &&
               channel->retries_bytes + req->in->header->len <= RETRIES_BYTES_MAX;
}

static void retry_remove(struct retry *retry) {
        struct channel *channel = retry->channel;
        struct retry **at = &channel->retries;

        while (*at != retry)
                at = &(*at)->next;
        *at = retry->next;
        channel->n_retries--;
        channel->retries_bytes -= retry->length;
}

static void retry_run(void *userdata) {
        struct retry *retry = userdata;
        struct wire_request in = {0};
        int decoded = wire_decode(&in, (struct wire_in_header *)retry->message, retry->length);

        retry_remove(retry);
        channel_handle(retry->channel, &in, decoded, true);
        free(retry);
}

bool channel_retry(struct fuse_request *req) {
        struct channel *channel = req->channel;
        const struct wire_in_header *header;
        struct retry *retry;

        if (!channel_can_retry(req))
                return false;
        header = req->in->header;
        retry = fault_strikes(FAULT_MEMORY) ? NULL : malloc(sizeof(*retry) + header->len);
        if (!retry)
                return false;
        txn_abort(channel->txn);
        retry->channel = channel;
        retry->length = header->len;
        memcpy(retry->message, header, header->len);
        retry->next = channel->retries;
        channel->retries = retry;
        channel->n_retries++;
        channel->retries_bytes += retry->length;
        room_await(channel->room, &retry->waiter, retry_run, retry);
        req->deferred = true;
        return true;
}

static bool is_poison(struct channel *channel, const struct wire_in_header *request) {
        return blame_is_poison(channel->root, key_of(request->unique), request->opcode);
}

static void channel_refuse(struct channel *channel, const struct wire_in_header *request) {
        struct fuse_request req = {.channel = channel, .unique = request->unique};

        channel_reply_error(&req, -EIO);
}

/* The length of the request that was read; 0: there is none; or errors as of channel_dispatch(). */
static ssize_t channel_read(struct channel *channel) {
        ssize_t n = read(channel_fd(channel), channel->request, LAYOUT_REQUEST_MAX);

        if (n >= 0)
                return n > 0 ? n : -EPROTO;
        switch (errno) {
        case EAGAIN:
        case EINTR:
                return 0;
        case ECONNABORTED:
                return -ENODEV;
        default:
                return -errno;
        }
}

int channel_dispatch(struct channel *channel) {
        struct wire_request in = {0};
        ssize_t n;
        int decoded;

        request_prepare(channel);
        n = channel_read(channel);
        if (n <= 0)
                return n == -ENOENT ? 1 : (int)n; /* the caller gave it up while we read it */
        decoded = wire_decode(&in, channel->request, (size_t)n);
        if (decoded == -EPROTO)
                return decoded;
        if ((in.header->unique & WIRE_UNIQUE_RESENT) && is_poison(channel, in.header))
                channel_refuse(channel, in.header);
        else
                channel_handle(channel, &in, decoded, false);
        return channel->failure < 0 ? channel->failure : 1;
}

void channel_finish_forget(struct channel *channel) {
        struct wire_request in = {0};
        uint32_t length = channel->request->len;

        if (length < sizeof(*in.header) || length > LAYOUT_REQUEST_MAX ||
            !is_forget(channel->request) || is_poison(channel, channel->request))
                return;
        if (wire_decode(&in, channel->request, length) == 0)
                channel_handle(channel, &in, 0, false);
}

bool channel_is_ready(const struct channel *channel) {
        return channel->ready;
}

bool channel_has_xattr(const struct channel *channel) {
        return killpriv_is_ours(channel->root);
}

bool channel_has_acl(const struct channel *channel) {
        return negotiate_has_acl(channel->root);
}

struct txn *channel_txn(const struct channel *channel) {
        return channel->txn;
}

/* Backing ids */

/* Notes the newest id, and before it is there, that it is about to be.  See replay_backing(). */
static void note_id(struct root *root, uint32_t node, int id) {
        uint32_t at = id == 0 ? !root->newest_id : root->newest_id;

        root->opened_ids[at] = (struct opened_id){.node = node, .id = id};
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        root->newest_id = at;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

int channel_backing_open(void *userdata, uint32_t node, int fd) {
        struct channel *channel = userdata;
        int id;

        note_id(channel->root, node, 0);
        id = backing_id_open(channel_fd(channel), fd);
        journal_crash_point(channel->journal);
        if (id > 0)
                note_id(channel->root, node, id);
        journal_crash_point(channel->journal);
        return id;
}

void channel_backing_close(void *userdata, int id) {
        const struct channel *channel = userdata;

        backing_id_close(channel_fd(channel), id);
}
