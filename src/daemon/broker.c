/* SPDX-License-Identifier: MIT */
#include "broker.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "answer.h"
#include "client.h"
#include "listener.h"
#include "log.h"
#include "suspect.h"
#include "user.h"

enum {
        ACCEPTS_PER_TURN = 16,
        ACCEPT_PAUSE_MS = 100,
        WAITS_AT_ONCE = 8, /* waits looked at after every change */
        WAITS_PER_MS = 50, /* waits looked at: so many cost a twentieth of a processor */
};

struct peer {
        struct broker *broker;
        struct client *record;
        struct user *user;
        struct loop_source *source; /* NULL when only the notices' end is waited for */
        uint32_t events;
        bool telling;                  /* the answer waits for the kernel */
        struct population *population; /* that the request waits for, NULL for none */
        uint32_t populated;            /* its node */
        bool ended;                    /* nothing more will come */
        bool mute;                     /* nobody reads any more */
        uint64_t unfinished, unread;
        struct peer *previous, *next;
};

struct broker {
        struct broker_parts parts;
        struct arena *arena;
        struct root *root;
        struct loop_source *listening, *accept_pause, *poke, *deadline;
        struct peer *peers;
        struct user *users;
        uint32_t n_waiting;
        uint64_t next_deadline; /* 0: none */
        uint64_t next_look;     /* not before this time, milliseconds */
        bool poked;
        bool warned;
        uint32_t max_clients;
        struct request request; /* the one being carried out */
        struct answer answer;
};

static uint64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Accounts */

static void peer_charge_unfinished(struct peer *peer, uint64_t bytes) {
        peer->user->unfinished += bytes - peer->unfinished;
        peer->unfinished = bytes;
}

static void peer_charge_unread(struct peer *peer, uint64_t bytes) {
        peer->user->unread += bytes - peer->unread;
        peer->unread = bytes;
}

/* Birth and death of connections */

static void peer_ready(void *userdata, uint32_t events);

static void peer_watch(struct peer *peer, uint32_t events) {
        if (!peer->source || peer->events == events)
                return;
        peer->events = events;
        loop_modify(peer->source, events);
}

static int peer_attach(struct peer *peer) {
        peer->events = EPOLLIN;
        return loop_add(peer->broker->parts.loop, &peer->source, peer->record->fd, peer->events,
                        peer_ready, peer);
}

static int peer_new(struct broker *broker, struct client *record, struct peer **out) {
        struct user *user = user_get(&broker->users, record->uid);
        struct peer *peer = user ? calloc(1, sizeof(*peer)) : NULL;
        int r = -ENOMEM;

        if (peer) {
                peer->broker = broker;
                peer->record = record;
                peer->user = user;
                r = peer_attach(peer);
        }
        if (r < 0) {
                free(peer);
                if (user)
                        user_drop_if_idle(&broker->users, user);
                return r;
        }
        user->clients++;
        peer->next = broker->peers;
        if (peer->next)
                peer->next->previous = peer;
        broker->peers = peer;
        *out = peer;
        return 0;
}

static void wait_end(struct peer *peer) {
        peer->broker->n_waiting--;
        peer->user->waits--;
}

static struct peer *peer_free(struct peer *peer) {
        struct broker *broker = peer->broker;

        peer_charge_unfinished(peer, 0);
        peer_charge_unread(peer, 0);
        loop_remove(peer->source);
        if (peer->previous)
                peer->previous->next = peer->next;
        else
                broker->peers = peer->next;
        if (peer->next)
                peer->next->previous = peer->previous;
        peer->user->clients--;
        user_drop_if_idle(&broker->users, peer->user);
        free(peer);
        return NULL;
}

static void peer_end(struct peer *peer) {
        struct broker *broker = peer->broker;
        struct client *record = peer->record;

        if (record->waiting)
                wait_end(peer);
        peer_free(peer);
        client_delete(broker->arena, record);
}

/* Answers */

/* Sends what can be sent.  True: all of it is out. */
static bool peer_flush(struct peer *peer) {
        struct client *record = peer->record;
        ssize_t n = 0;

        while (!peer->mute && record->out_sent < record->out_length) {
                n = client_send(peer->broker->arena, record);
                if (n == -EAGAIN)
                        return false;
                if (n < 0) {
                        peer->mute = true;
                        break;
                }
        }
        client_answered(peer->broker->arena, record);
        peer_charge_unread(peer, 0);
        return true;
}

static void peer_told(void *userdata);

/* Writes the answer down, takes the line away, and commits both with what was changed. */
static void peer_answer(struct peer *peer, struct answer *answer, size_t line, bool last) {
        struct broker *broker = peer->broker;
        struct client *record = peer->record;

        if (record->waiting)
                wait_end(peer);
        if (answer->text_fd >= 0)
                peer_charge_unread(peer, answer->length);
        client_take_line(broker->arena, record, line);
        client_set_answer(broker->arena, record, answer, last);
        broker->root->counters.commands++;
        broker->root->counters.command_errors += answer->failed;
        arena_commit(broker->arena);

        broker->parts.settle(broker->parts.settle_userdata);
        if (answer->notices &&
            notices_after(broker->parts.commander->notices, peer_told, peer) == 0)
                peer->telling = true;
}

static void peer_refuse(struct peer *peer, size_t line, int error, const char *text, bool last) {
        struct broker *broker = peer->broker;

        answer_fail(&broker->answer, "", error, text);
        broker->answer.notices = false;
        peer_answer(peer, &broker->answer, line, last);
}

/* Waits */

static void broker_set_deadline(struct broker *broker, uint64_t deadline) {
        uint64_t now = now_ms();

        if (deadline == 0 || (broker->next_deadline != 0 && broker->next_deadline <= deadline))
                return;
        broker->next_deadline = deadline;
        loop_arm(broker->deadline, deadline > now ? deadline - now : 1);
}

/* The line stays where it is until it can be answered.  False: it has to be answered now. */
static bool peer_wait(struct peer *peer) {
        struct broker *broker = peer->broker;
        struct client *record = peer->record;
        const struct request *request = &broker->request;

        if (record->waiting) {
                if (record->deadline == 0 || now_ms() < record->deadline)
                        return true;
                answer_fail_name(&broker->answer, request, -ETIMEDOUT, "did not appear in time");
                return false;
        }
        if (peer->user->waits >= broker->root->settings.limits.waits) {
                answer_fail(&broker->answer, request->tag, -EAGAIN,
                            "too many pending waits of this user (waits=)");
                return false;
        }
        ARENA_SET(broker->arena, record->waiting, 1);
        if (request->command.timeout_ms > 0)
                ARENA_SET(broker->arena, record->deadline, now_ms() + request->command.timeout_ms);
        arena_commit(broker->arena);
        peer->user->waits++;
        broker->n_waiting++;
        broker_set_deadline(broker, record->deadline);
        return true;
}

/* Requests */

static void peer_caller(const struct peer *peer, struct caller *out) {
        const struct client *record = peer->record;

        *out = (struct caller){
                .uid = record->uid,
                .gid = record->gid,
                .pid = record->pid,
                .powerless = record->powerless,
        };
        /* Without its groups a caller has fewer rights, never more. */
        (void)listener_groups(record->fd, out);
}

static void peer_populated(void *userdata, int result, uint64_t huge);

/* The line stays where it is until its region is populated.  False: it has to be answered now. */
static bool peer_populate(struct peer *peer) {
        struct broker *broker = peer->broker;
        struct commander *commander = broker->parts.commander;
        struct answer *answer = &broker->answer;
        int r = -EAGAIN;

        if (peer->user->waits < broker->root->settings.limits.waits)
                r = answer_populate(commander, &broker->request, answer, &peer->population,
                                    peer_populated, peer);
        if (r < 0) {
                answer_abort(commander, answer->populates);
                answer_fail_name(answer, &broker->request, r, strerrordesc_np(-r));
                return false;
        }
        peer->populated = answer->populates;
        peer->user->waits++;
        arena_commit(broker->arena);
        broker->parts.settle(broker->parts.settle_userdata);
        return true;
}

static void peer_try(struct peer *peer, size_t line) {
        struct broker *broker = peer->broker;
        struct answer *answer = &broker->answer;
        const struct socket_limits *limits = &broker->root->settings.limits;
        struct caller caller;

        protocol_parse(&broker->request, peer->record->in, line - 1);
        peer_caller(peer, &caller);
        answer_request(broker->parts.commander, &caller, &broker->request, answer);
        caller_clear(&caller);
        if ((answer->waits && peer_wait(peer)) || (answer->populates && peer_populate(peer)))
                return;
        if (answer->text_fd >= 0 && peer->user->unread + answer->length > limits->unread)
                answer_fail(answer, broker->request.tag, -ENOBUFS,
                            "read the answers of this user's other connections first (unread=)");
        peer_answer(peer, answer, line, false);
}

/* Carries out the first line, unless it is known to be the death of workers. */
static void peer_carry_out(struct peer *peer, size_t line) {
        struct root *root = peer->broker->root;
        uint64_t key = SUSPECT_CLIENT | peer->record->id;

        if (suspect_is_poison(root, key, SUSPECT_OPCODE_CLIENT)) {
                peer_refuse(peer, line, -EIO, "the daemon failed at it twice", false);
        } else {
                suspect_enter(root, key, SUSPECT_OPCODE_CLIENT);
                peer_try(peer, line);
                suspect_leave(root);
        }
        /* The next line is another matter. */
        suspect_absolve(root, key);
}

/* Receives.  False: there is nothing more for now. */
static bool peer_receive(struct peer *peer) {
        struct client *record = peer->record;
        ssize_t n;

        n = recv(record->fd, record->in + record->in_length, sizeof(record->in) - record->in_length,
                 MSG_DONTWAIT);
        if (n > 0) {
                record->in_length += (uint32_t)n;
                return true;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
                peer->ended = true;
        return false;
}

/* After receiving, with no line complete: is it still within bounds? */
static void peer_check_unfinished(struct peer *peer) {
        struct client *record = peer->record;

        peer_charge_unfinished(peer, record->in_length);
        if (record->in_length == sizeof(record->in))
                peer_refuse(peer, record->in_length, -E2BIG, "a line has at most 8191 bytes", true);
        else if (peer->user->unfinished > peer->broker->root->settings.limits.unfinished)
                peer_refuse(peer, record->in_length, -ENOBUFS,
                            "too many unfinished lines of this user (unfinished=)", true);
}

/* Looks at the input, once.  False: nothing to be done until more comes. */
static bool peer_advance(struct peer *peer) {
        struct client *record = peer->record;
        size_t line = protocol_line(record->in, record->in_length);

        if (line == 0) {
                if (!peer_receive(peer))
                        return false;
                line = protocol_line(record->in, record->in_length);
        }
        if (line == 0) {
                peer_check_unfinished(peer);
                return record->out_length > 0;
        }
        peer_charge_unfinished(peer, 0);
        peer_carry_out(peer, line);
        return true;
}

static bool peer_is_pending(const struct peer *peer) {
        return peer->record->out_length > 0;
}

/* What to be woken for: room for what is to be sent or done, or input. */
static void peer_rest(struct peer *peer) {
        struct client *record = peer->record;

        if (peer->telling || record->waiting || peer->population)
                peer_watch(peer, 0);
        else if (peer_is_pending(peer) || protocol_line(record->in, record->in_length) > 0)
                peer_watch(peer, EPOLLOUT);
        else
                peer_watch(peer, EPOLLIN);
}

/* One step of a connection; it may end here. */
static void peer_step(struct peer *peer) {
        struct client *record = peer->record;

        if (!peer_is_pending(peer) && !record->waiting && !peer->population)
                peer_advance(peer);
        if (peer_is_pending(peer) && !peer->telling && peer_flush(peer) && record->closing) {
                peer_end(peer);
                return;
        }
        if (peer->ended && !peer_is_pending(peer) && !record->waiting && !peer->population &&
            protocol_line(record->in, record->in_length) == 0) {
                peer_end(peer);
                return;
        }
        peer_rest(peer);
}

static void peer_ready(void *userdata, uint32_t events) {
        struct peer *peer = userdata;
        bool gone = events & (EPOLLHUP | EPOLLERR);

        /* Whole lines of one who has gone are still carried out, but nobody waits any more. */
        if (gone && peer->record->waiting) {
                peer_end(peer);
                return;
        }
        if (gone && peer->population)
                population_cancel(peer->population);
        if (gone && (peer->telling || peer->population)) {
                peer->source = loop_remove(peer->source);
                return;
        }
        peer_step(peer);
}

/* Goes on after something was waited for. */
static void peer_go_on(struct peer *peer) {
        /* It hung up in the meantime: what it had sent before that is still carried out. */
        if (!peer->source && peer_attach(peer) < 0)
                peer_end(peer);
        else
                peer_step(peer);
}

static void peer_told(void *userdata) {
        struct peer *peer = userdata;

        peer->telling = false;
        peer_go_on(peer);
}

static void peer_populated(void *userdata, int result, uint64_t huge) {
        struct peer *peer = userdata;
        struct broker *broker = peer->broker;
        struct client *record = peer->record;
        size_t line = protocol_line(record->in, record->in_length);
        struct caller caller;

        peer->population = NULL;
        peer->user->waits--;
        protocol_parse(&broker->request, record->in, line - 1);
        peer_caller(peer, &caller);
        answer_populated(broker->parts.commander, &caller, &broker->request, peer->populated,
                         result, huge, &broker->answer);
        caller_clear(&caller);
        peer_answer(peer, &broker->answer, line, false);
        peer_go_on(peer);
}

/* Looks whether what is waited for is there. */
static void broker_look(struct broker *broker) {
        struct peer *next;

        broker->next_deadline = 0;
        for (struct peer *peer = broker->peers; peer; peer = next) {
                next = peer->next;
                if (!peer->record->waiting)
                        continue;
                peer_carry_out(peer, protocol_line(peer->record->in, peer->record->in_length));
                if (peer->record->waiting)
                        broker_set_deadline(broker, peer->record->deadline);
                else
                        peer_step(peer);
        }
}

static void broker_on_deadline(void *userdata, uint32_t events) {
        (void)events;
        broker_look(userdata);
}

static void broker_on_poke(void *userdata, uint32_t events) {
        struct broker *broker = userdata;

        (void)events;
        broker->poked = false;
        if (broker->n_waiting > WAITS_AT_ONCE)
                broker->next_look = now_ms() + 1 + broker->n_waiting / WAITS_PER_MS;
        broker_look(broker);
}

/* Something has got a name.  Looked at when the change is committed, and not too often. */
static void broker_on_name(void *userdata) {
        struct broker *broker = userdata;
        uint64_t now;

        if (broker->n_waiting == 0 || broker->poked)
                return;
        broker->poked = true;
        now = now_ms();
        if (now >= broker->next_look)
                loop_arm_soon(broker->poke);
        else
                loop_arm(broker->poke, broker->next_look - now);
}

/* Accepting */

static void connection_refuse(int fd, int error, const char *text) {
        char line[128];
        size_t length = protocol_answer(line, sizeof(line), "", error, text);

        send(fd, line, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
}

static void broker_welcome(struct broker *broker, int fd, const struct caller *caller) {
        struct user *user = user_get(&broker->users, caller->uid);
        struct client *record;
        struct peer *peer;

        if (user && user->clients >= broker->root->settings.limits.clients) {
                connection_refuse(fd, -EUSERS, "too many connections of this user (clients=)");
                return;
        }
        if (!user || arena_used(broker->arena, TABLE_CLIENT) >= broker->max_clients ||
            !(record = client_new(broker->arena, fd, caller))) {
                if (user)
                        user_drop_if_idle(&broker->users, user);
                connection_refuse(fd, -EUSERS, "too many connections");
                return;
        }
        if (peer_new(broker, record, &peer) < 0) {
                arena_delete(broker->arena, TABLE_CLIENT, record->id);
                arena_commit(broker->arena);
                connection_refuse(fd, -ENOMEM, "out of memory");
        }
}

/* Out of descriptors: whoever waits in the queue waits until one is free. */
static void broker_pause_accept(struct broker *broker) {
        if (!broker->warned)
                log_line(LOG_WARNING, "no descriptor left for a connection to the socket");
        broker->warned = true;
        loop_modify(broker->listening, 0);
        loop_arm(broker->accept_pause, ACCEPT_PAUSE_MS);
}

/* Takes one connection.  False: there is none, or no more can be taken. */
static bool broker_accept(struct broker *broker) {
        struct caller caller;
        int fd;

        broker->root->accepting = 1;
        fd = listener_accept(broker->root->listen_fd, &caller);
        if (fd >= 0)
                broker_welcome(broker, fd, &caller);
        broker->root->accepting = 0;
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS)
                broker_pause_accept(broker);
        else if (fd >= 0)
                broker->warned = false;
        return fd >= 0 || fd == -EOWNERDEAD || fd == -ECONNABORTED || fd == -EINTR;
}

static void broker_on_accept(void *userdata, uint32_t events) {
        int left = ACCEPTS_PER_TURN;

        (void)events;
        while (left > 0 && broker_accept(userdata))
                left--;
}

static void broker_on_accept_again(void *userdata, uint32_t events) {
        struct broker *broker = userdata;

        (void)events;
        loop_modify(broker->listening, EPOLLIN);
}

static bool connection_is_known(struct arena *arena, int fd) {
        for (uint32_t id = 1; id <= arena_high(arena, TABLE_CLIENT); id++) {
                const struct client *record = arena_get(arena, TABLE_CLIENT, id);

                if (record->id == id && record->fd == fd)
                        return true;
        }
        return false;
}

void broker_adopt(struct arena *arena) {
        struct root *root = arena_root(arena);
        DIR *fds = root->accepting ? opendir("/proc/self/fd") : NULL;
        struct dirent *entry;
        struct caller caller;

        while (fds && (entry = readdir(fds))) {
                int fd = atoi(entry->d_name);

                if (entry->d_name[0] != '.' && listener_is_own(fd, root->listen_fd) &&
                    !connection_is_known(arena, fd) && listener_identify(fd, &caller) == 0)
                        client_new(arena, fd, &caller);
        }
        if (fds)
                closedir(fds);
        root->accepting = 0;
}

/* Putting together */

/* Goes on with the connections of the last worker. */
static int broker_resume(struct broker *broker) {
        uint32_t high = arena_high(broker->arena, TABLE_CLIENT);
        struct peer *peer;
        int r;

        for (uint32_t id = 1; id <= high; id++) {
                struct client *record = arena_get(broker->arena, TABLE_CLIENT, id);

                if (record->id != id)
                        continue;
                client_recount(record);
                r = peer_new(broker, record, &peer);
                if (r < 0)
                        return r;
                if (record->text_fd >= 0)
                        peer_charge_unread(peer, record->out_length);
                if (record->waiting) {
                        broker->n_waiting++;
                        peer->user->waits++;
                }
                /* Its answer may have to wait for notices that the last worker did not tell. */
                peer->telling =
                        peer_is_pending(peer) &&
                        notices_after(broker->parts.commander->notices, peer_told, peer) == 0;
                peer_rest(peer);
        }
        if (broker->n_waiting > 0)
                loop_arm(broker->poke, 1);
        return 0;
}

static uint32_t clients_limit(void) {
        struct rlimit limit;

        /* The rest of the descriptors is for regions. */
        return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint32_t)(limit.rlim_cur / 4) : 256;
}

static int broker_build(struct broker *broker) {
        struct loop *loop = broker->parts.loop;
        int r;

        r = loop_add_timer(loop, &broker->accept_pause, broker_on_accept_again, broker);
        if (r == 0)
                r = loop_add_timer(loop, &broker->poke, broker_on_poke, broker);
        if (r == 0)
                r = loop_add_timer(loop, &broker->deadline, broker_on_deadline, broker);
        if (r == 0 && broker->root->listen_fd >= 0)
                r = loop_add(loop, &broker->listening, broker->root->listen_fd, EPOLLIN,
                             broker_on_accept, broker);
        if (r < 0)
                return r;
        broker->parts.settle(broker->parts.settle_userdata);
        tree_on_name(broker->parts.commander->tree, broker_on_name, broker);
        return broker_resume(broker);
}

int broker_new(struct broker **out, const struct broker_parts *parts) {
        struct broker *broker;
        int r;

        broker = calloc(1, sizeof(*broker));
        if (!broker)
                return -ENOMEM;
        broker->parts = *parts;
        broker->arena = parts->commander->arena;
        broker->root = arena_root(broker->arena);
        broker->max_clients = clients_limit();
        broker->answer.fd = broker->answer.text_fd = -1;
        r = broker_build(broker);
        if (r < 0) {
                broker_free(broker);
                return r;
        }
        *out = broker;
        return 0;
}

struct broker *broker_free(struct broker *broker) {
        if (!broker)
                return NULL;
        tree_on_name(broker->parts.commander->tree, NULL, NULL);
        while (broker->peers)
                peer_free(broker->peers);
        loop_remove(broker->listening);
        loop_remove(broker->accept_pause);
        loop_remove(broker->poke);
        loop_remove(broker->deadline);
        free(broker);
        return NULL;
}
