/* SPDX-License-Identifier: MIT */

/*
 * The reader of the socket, over the volume as it is shipped: an input is sent by a client in two
 * parts, between which the server is replaced as after a death of the worker.  At the end there is
 * no client, no region and no descriptor left over.
 *
 * The loop, its queue (inline_queue.c), and the watches of the lifetimes stay from one input to the next: closing an
 * inotify descriptor takes the kernel 15 ms.  For one input in REBUILD_EACH they are replaced, too;
 * which ones, their bytes say, so that an input does the same whenever it is run.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "socket/server.h"
#include "control/ctl.h"
#include "fuzz.h"
#include "socket/listener.h"

enum {
        QUIET_TURNS = 3,
        LIMIT_BYTES = 1024 * 1024,
        SENT_MAX = 64 * 1024,
        FD_SCAN_MAX = 64,
        REBUILD_EACH = 1024,
};

static struct {
        struct journal *journal;
        struct root *root;
        char path[64];
        struct loop *loop;
        struct allocator *allocator;
        struct job_queue *helper;
        struct volume *volume;
        struct ctl *ctl;
        int fds;     /* open at rest */
        int own_fds; /* of these, of the daemon's kinds */
} world;

/* One life of a server. */
struct life {
        struct server *server;
        int client;
        bool hang_up;
        int quiet;
        struct job last; /* what the queue does after all that it was given */
        bool asked;      /* the queue has it */
        uint64_t told;   /* invalidations before this one have been told */
};

static void world_end(void) {
        listener_remove(world.path, &world.root->socket_file);
}

static void world_make(void) {
        struct root *root;

        signal(SIGPIPE, SIG_IGN); /* as the daemon does */
        FUZZ_CHECK(journal_create(&world.journal, layout_spec()) == 0);
        root = world.root = journal_root(world.journal);
        root->fuse_fd = -1;
        root->log_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
        root->settings.size = LIMIT_BYTES;
        root->settings.nr_inodes = 64;
        root->settings.limits = (struct socket_limits){16, 4, 65536, 65536};
        snprintf(world.path, sizeof(world.path), "/tmp/iomem-fuzz.%d", (int)getpid());
        root->listen_fd = listener_open(world.path, false, &root->socket_file);
        FUZZ_CHECK(root->listen_fd >= 0);
        atexit(world_end);
}

/* Takes what has been answered; true: there was something. */
static bool client_read(int fd) {
        char text[4096];
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = {text, sizeof(text)};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = CMSG_LEN(sizeof(int))};
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;

        if (header) {
                int received;

                memcpy(&received, CMSG_DATA(header), sizeof(received));
                close(received);
        }
        return n > 0;
}

static void last_run(struct job *job) {
        (void)job;
}

/* Whether the queue may still call somebody back. */
static bool is_busy(const struct life *life) {
        return life->told != world.root->next_invalidation ||
               journal_used(world.journal, TABLE_PENDING) > 0;
}

static void last_done(struct job *job) {
        struct life *life = (struct life *)((char *)job - offsetof(struct life, last));

        life->asked = false;
}

/* Ends the part, when nobody waits for the queue any more. */
static void end(struct life *life) {
        if (!is_busy(life)) {
                loop_stop(world.loop, 0);
                return;
        }
        life->told = world.root->next_invalidation;
        life->asked = true;
        job_queue_submit(world.helper, &life->last);
}

/* Called when there is nothing more to do: is the part over? */
static bool idle(void *userdata) {
        struct life *life = userdata;

        if (life->client >= 0 && client_read(life->client)) {
                life->quiet = 0;
                return true;
        }
        if (life->hang_up && ++life->quiet >= QUIET_TURNS && life->client >= 0) {
                close(life->client);
                life->client = -1;
        }
        if (!life->asked &&
            (life->hang_up ? journal_used(world.journal, TABLE_CLIENT) == 0 && life->client < 0
                           : ++life->quiet >= QUIET_TURNS))
                end(life);
        /* With the queue at work there is nothing to look for until it reports. */
        return !life->asked;
}

static void rooms_make(void) {
        FUZZ_CHECK(loop_new(&world.loop) == 0);
        FUZZ_CHECK(job_queue_new(&world.helper, world.loop, "fuzz") == 0);
        FUZZ_CHECK(allocator_new(&world.allocator, world.loop) == 0);
        FUZZ_CHECK(volume_new(&world.volume, world.journal, world.loop, world.allocator,
                              world.helper) == 0);
        FUZZ_CHECK(volume_drop_pending(world.volume) == 0);
        FUZZ_CHECK(invalidations_take_up(world.volume->invalidations) == 0);
        lifetimes_take_up(world.volume->lifetimes);
        FUZZ_CHECK(ctl_new(&world.ctl, world.volume) == 0);
}

static void rooms_free(void) {
        ctl_free(world.ctl);
        job_queue_free(world.helper);
        volume_free(world.volume);
        close_range((unsigned int)world.root->descriptors_from, ~0U, 0); /* of regions */
        allocator_free(world.allocator);
        loop_free(world.loop);
}

/* The server serves until the client is quiet, or, at the end, until it has gone. */
static void live(struct life *life, bool hang_up) {
        life->hang_up = hang_up;
        life->asked = false;
        life->told = world.root->next_invalidation;
        life->quiet = 0;
        life->last = (struct job){.run = last_run, .done = last_done};
        FUZZ_CHECK(server_new(&life->server, world.volume, ctl_listings(world.ctl)) == 0);
        loop_set_idle(world.loop, idle, life);
        FUZZ_CHECK(loop_run(world.loop) == 0);
        server_free(life->server);
}

/* Regions whose name went while their descriptor was on its way are looked at by a timer. */
static bool idle_for_orphans(void *userdata) {
        (void)userdata;
        if (journal_used(world.journal, TABLE_NODE) == 1)
                loop_stop(world.loop, 0);
        return false;
}

static void await_orphans(void) {
        if (journal_used(world.journal, TABLE_NODE) == 1)
                return;
        loop_set_idle(world.loop, idle_for_orphans, NULL);
        FUZZ_CHECK(loop_run(world.loop) == 0);
}

static int client_connect(void) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", world.path);
        FUZZ_CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
        return fd;
}

static void client_send_all(int fd, const uint8_t *data, size_t size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        (void)n; /* what does not fit is not sent */
}

static void remove_regions(void) {
        const struct change by = {0};
        struct volume *volume = world.volume;
        struct node *root = tree_node(volume->tree, LAYOUT_ROOT_ID);
        const struct dentry *entry;

        while ((entry = tree_next(volume->tree, root, 0))) {
                FUZZ_CHECK(volume_unlink(volume, &by, root, entry->name, entry->length) == 0);
                FUZZ_CHECK(txn_commit(volume->txn) == 0);
        }
}

/* Sockets, memfds and timers; a fuzzer has descriptors of its own, but none of these. */
static int count_fds(void) {
        int n = 0;

        for (int fd = STDERR_FILENO + 1; fd < FD_SCAN_MAX; fd++) {
                char path[64], target[32];
                ssize_t length;

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                length = readlink(path, target, sizeof(target) - 1);
                target[length > 0 ? length : 0] = '\0';
                n += strncmp(target, "socket:", 7) == 0 || strncmp(target, "/memfd:", 7) == 0 ||
                     strncmp(target, "anon_inode:", 11) == 0;
        }
        return n;
}

/* Looked at closely only if their number has changed. */
static bool fds_are_at_rest(void) {
        int n = 0;

        for (int fd = STDERR_FILENO + 1; fd < FD_SCAN_MAX; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        if (n == world.fds)
                return true;
        world.fds = n;
        return count_fds() == world.own_fds;
}

static void world_start(void) {
        world_make();
        rooms_make();
        world.own_fds = count_fds();
}

static bool is_chosen(const uint8_t *data, size_t size) {
        uint32_t sum = 2166136261U;

        for (size_t i = 0; i < size; i++)
                sum = (sum ^ data[i]) * 16777619U;
        return sum % REBUILD_EACH == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct life life = {0};
        struct space space;

        if (size > SENT_MAX)
                return 0;
        if (!world.journal)
                world_start();
        life.client = client_connect();
        client_send_all(life.client, data, size / 2);
        live(&life, false);
        if (is_chosen(data, size)) {
                rooms_free();
                rooms_make();
        }
        client_send_all(life.client, data + size / 2, size - size / 2);
        shutdown(life.client, SHUT_WR);
        live(&life, true);

        remove_regions();
        await_orphans();
        volume_space(world.volume, tree_node(world.volume->tree, LAYOUT_ROOT_ID), &space);
        FUZZ_CHECK(space.used == 0);
        FUZZ_CHECK(journal_used(world.journal, TABLE_NODE) == 1);
        FUZZ_CHECK(journal_used(world.journal, TABLE_HANDLE) == 0);
        FUZZ_CHECK(journal_used(world.journal, TABLE_TEXT) == 0);
        FUZZ_CHECK(fds_are_at_rest());
        return 0;
}
