/* SPDX-License-Identifier: MIT */

/*
 * The reader of the socket, over a real tree and real regions: an input is sent by a client in two
 * parts, between which the broker is replaced as after a death of the worker.  At the end there is
 * no client, no region and no descriptor left over.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "socket/server.h"
#include "fuzz.h"
#include "volume/lifetime.h"
#include "socket/listener.h"

enum {
        QUIET_TURNS = 3,
        LIMIT_BYTES = 1024 * 1024,
        SENT_MAX = 64 * 1024,
        FD_SCAN_MAX = 64,
        FDS_AT_REST = 2 /* the journal and the listening socket */
};

static struct {
        struct journal *journal;
        struct root *root;
        struct tree *tree;
        struct regions *regions;
        char path[64];
} world;

/* One life of a broker. */
struct life {
        struct loop *loop;
        struct job_queue *helper;
        struct commander commander;
        struct server *server;
        int client;
        bool hang_up;
        int quiet;
        struct job last; /* what the helper does after all that it was given */
        bool ending;
        unsigned int settled, settled_before; /* how often, and when the last job was given */
};

static bool abandon(void *userdata, struct node *node) {
        (void)userdata;
        if (node_is_region(node))
                region_release(world.regions, node);
        return true;
}

static bool answer(void *userdata, uint64_t unique, int result) {
        (void)userdata;
        (void)unique;
        (void)result;
        return false;
}

static void world_end(void) {
        listener_remove(world.path);
}

static void world_make(void) {
        struct root *root;

        FUZZ_CHECK(journal_create(&world.journal, layout_spec()) == 0);
        root = world.root = journal_root(world.journal);
        root->fuse_fd = root->tmpfs_fd = -1;
        root->log_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
        root->limit_bytes = LIMIT_BYTES;
        root->limit_nodes = 64;
        root->settings.limits = (struct socket_limits){16, 4, 65536, 65536};
        FUZZ_CHECK(tree_new(&world.tree, world.journal, abandon, NULL) == 0);
        FUZZ_CHECK(regions_new(&world.regions, world.journal) == 0);
        snprintf(world.path, sizeof(world.path), "/tmp/iomem-fuzz.%d", (int)getpid());
        root->listen_fd = listener_open(world.path, false);
        FUZZ_CHECK(root->listen_fd >= 0);
        atexit(world_end);
        journal_commit(world.journal);
}

static void settle(void *userdata) {
        struct life *life = userdata;

        life->settled++;
        invalidations_send(life->commander.invalidations);
        regions_bury(world.regions, NULL, NULL);
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

static void last_done(struct job *job) {
        struct life *life = (struct life *)((char *)job - offsetof(struct life, last));

        /* It may have been given more meanwhile. */
        if (life->settled == life->settled_before) {
                loop_stop(life->loop, 0);
        } else {
                life->settled_before = life->settled;
                job_queue_submit(life->helper, &life->last);
        }
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
        if (!life->ending &&
            (life->hang_up ? journal_used(world.journal, TABLE_CLIENT) == 0 && life->client < 0
                           : ++life->quiet >= QUIET_TURNS)) {
                life->ending = true;
                life->settled_before = life->settled;
                job_queue_submit(life->helper, &life->last);
        }
        return true;
}

static void live_lifetimes(struct life *life) {
        const struct lifetime_parts parts = {
                .loop = life->loop,
                .tree = world.tree,
                .regions = world.regions,
                .invalidations = life->commander.invalidations,
                .settle = settle,
                .userdata = life,
        };

        FUZZ_CHECK(lifetimes_new(&life->commander.lifetimes, &parts) == 0);
        lifetimes_start(life->commander.lifetimes);
}

/* The broker serves until the client is quiet, or, at the end, until it has gone. */
static void live(struct life *life, bool hang_up) {
        struct server_parts parts = {
                .commander = &life->commander,
                .settle = settle,
                .settle_userdata = life,
        };

        life->hang_up = hang_up;
        life->ending = false;
        life->quiet = 0;
        life->last = (struct job){.run = last_run, .done = last_done};
        FUZZ_CHECK(loop_new(&life->loop) == 0);
        FUZZ_CHECK(job_queue_new(&life->helper, life->loop, "fuzz") == 0);
        life->commander = (struct commander){
                .journal = world.journal,
                .tree = world.tree,
                .regions = world.regions,
                .memory_jobs = life->helper,
        };
        FUZZ_CHECK(invalidations_new(&life->commander.invalidations, world.journal, life->helper,
                                     -1, answer, NULL) == 0);
        live_lifetimes(life);
        parts.loop = life->loop;
        FUZZ_CHECK(server_new(&life->server, &parts) == 0);
        loop_set_idle(life->loop, idle, life);
        FUZZ_CHECK(loop_run(life->loop) == 0);
        server_free(life->server);
        lifetimes_free(life->commander.lifetimes);
        invalidations_free(life->commander.invalidations);
        job_queue_free(life->helper);
        loop_free(life->loop);
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
        struct node *root = tree_node(world.tree, LAYOUT_ROOT_ID);
        const struct dentry *entry;

        while ((entry = tree_next(world.tree, root, 0)))
                FUZZ_CHECK(tree_unlink(world.tree, root, entry->name, entry->length) == 0);
        for (uint32_t id = 1; id <= journal_high(world.journal, TABLE_INVALIDATION); id++) {
                const struct invalidation *invalidation =
                        journal_get(world.journal, TABLE_INVALIDATION, id);

                if (invalidation->id == id)
                        journal_delete(world.journal, TABLE_INVALIDATION, id);
        }
        journal_commit(world.journal);
        regions_bury(world.regions, NULL, NULL);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct life life = {0};
        struct space space;

        if (size > SENT_MAX)
                return 0;
        if (!world.journal)
                world_make();
        life.client = client_connect();
        client_send_all(life.client, data, size / 2);
        live(&life, false);
        client_send_all(life.client, data + size / 2, size - size / 2);
        shutdown(life.client, SHUT_WR);
        live(&life, true);

        remove_regions();
        regions_space(world.regions, &space);
        FUZZ_CHECK(space.used == 0);
        FUZZ_CHECK(journal_used(world.journal, TABLE_NODE) == 1);
        FUZZ_CHECK(count_fds() == FDS_AT_REST);
        return 0;
}
