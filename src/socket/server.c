/* SPDX-License-Identifier: MIT */
#include "socket/server_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/errno_text.h"
#include "socket/client.h"
#include "socket/listener.h"
#include "base/clock.h"
#include "base/log.h"
#include "memory/descriptor.h"
#include "records/blame.h"

enum {
        WAITS_AT_ONCE = 8, /* waits checked after every change */
        WAITS_PER_MS = 50, /* checks of waits; so many take a twentieth of a processor */
        PARKED_LOOK_MS = 50,
};

/* Making and ending connections */

static void peer_ready(void *userdata, uint32_t events);
static void peer_sent(struct outbox *outbox);

static void peer_watch(struct peer *peer, uint32_t events) {
        if (!peer->source || peer->events == events)
                return;
        peer->events = events;
        loop_modify(peer->source, events);
}

static int peer_attach(struct peer *peer) {
        peer->events = EPOLLIN;
        return loop_add(peer->server->volume->loop, &peer->source, peer->record->fd, peer->events,
                        peer_ready, peer);
}

int peer_new(struct server *server, struct client *record, struct peer **out) {
        struct account *account = account_get(&server->accounts, record->uid);
        struct peer *peer = account ? calloc(1, sizeof(*peer)) : NULL;
        int r = -ENOMEM;

        if (peer) {
                peer->server = server;
                peer->record = record;
                peer->account = account;
                outbox_init(&peer->outbox, server->listings, server->txn, record, peer_sent);
                r = peer_attach(peer);
        }
        if (r < 0) {
                free(peer);
                if (account)
                        account_drop_if_idle(&server->accounts, account);
                return r;
        }
        account->clients++;
        peer->next = server->peers;
        if (peer->next)
                peer->next->previous = peer;
        server->peers = peer;
        *out = peer;
        return 0;
}

static void wait_end(struct peer *peer) {
        peer->server->n_waiting--;
        peer->account->waits--;
}

static struct peer *peer_free(struct peer *peer) {
        struct server *server = peer->server;

        if (peer->roomless)
                room_leave(server->volume->room, &peer->room);
        account_charge(&peer->account->unfinished, &peer->unfinished, 0);
        account_charge(&peer->account->unread, &peer->unread, 0);
        outbox_clear(&peer->outbox);
        loop_remove(peer->source);
        if (peer->previous)
                peer->previous->next = peer->next;
        else
                server->peers = peer->next;
        if (peer->next)
                peer->next->previous = peer->previous;
        peer->account->clients--;
        account_drop_if_idle(&server->accounts, peer->account);
        free(peer);
        return NULL;
}

static void peer_end(struct peer *peer) {
        struct server *server = peer->server;
        struct client *record = peer->record;

        if (disposal_prepare_close(&server->disposal, record->fd, record->uid, false) < 0) {
                peer->source = loop_remove(peer->source);
                peer->parked = true;
                loop_arm(server->look_parked, PARKED_LOOK_MS);
                return;
        }
        if (record->waiting)
                wait_end(peer);
        outbox_drop_listing(&peer->outbox);
        peer_free(peer);
        client_delete(server->txn, record);
}

static void server_on_look_parked(void *userdata, uint32_t events) {
        struct server *server = userdata;
        struct peer *next;

        (void)events;
        for (struct peer *peer = server->peers; peer; peer = next) {
                next = peer->next;
                if (peer->parked)
                        peer_end(peer);
        }
}

/* Replies */

/* Sends as much as possible.  True: all was sent, or nobody reads it. */
static bool peer_flush(struct peer *peer) {
        if (!outbox_flush(&peer->outbox))
                return false;
        account_charge(&peer->account->unread, &peer->unread, 0);
        return true;
}

static void peer_told(void *userdata);

/* Makes the reply wait until the kernel has been told of all changes so far. */
static void peer_await_kernel(struct peer *peer) {
        peer->telling = true;
        invalidations_after(peer->server->volume->invalidations, &peer->told, peer_told, peer);
}

/* Removes the line and records the reply, in one transaction with the changes. */
static int peer_write_down(struct peer *peer, struct answer *answer, size_t line, bool last) {
        struct server *server = peer->server;

        client_take_line(server->txn, peer->record, line);
        client_set_answer(server->txn, peer->record, answer, last);
        return txn_commit(server->txn);
}

/* The commit failed, so all was aborted: the error becomes the reply. */
static void peer_fail(struct peer *peer, struct answer *answer, size_t line, int error, bool last) {
        struct server *server = peer->server;
        struct node *node = tree_node(server->volume->tree, peer->populated);

        if (node)
                volume_drop(server->volume, node);
        answer_fail(answer, server->request.tag, error, errno_text(-error));
        /* Little is left to be committed, so only lack of memory can refuse it. */
        while (peer_write_down(peer, answer, line, last) < 0)
                answer_fail(answer, server->request.tag, error, errno_text(-error));
}

static void peer_answer(struct peer *peer, struct answer *answer, size_t line, bool last) {
        struct server *server = peer->server;
        bool waited = peer->record->waiting;
        uint64_t charge = outbox_charge(answer);
        int r;

        r = peer_write_down(peer, answer, line, last);
        if (r < 0)
                peer_fail(peer, answer, line, r, last);
        peer->populated = 0;
        if (waited)
                wait_end(peer);
        if (charge > 0 && r == 0)
                account_charge(&peer->account->unread, &peer->unread, charge);
        server->root->counters.commands++;
        server->root->counters.command_errors += answer->failed;
        if (answer->invalidations)
                peer_await_kernel(peer);
}

static void peer_refuse(struct peer *peer, size_t line, int error, const char *text, bool last) {
        struct server *server = peer->server;

        answer_fail(&server->answer, "", error, text);
        server->answer.invalidations = false;
        peer_answer(peer, &server->answer, line, last);
}

/* Waits */

static void server_set_deadline(struct server *server, uint64_t deadline) {
        uint64_t now = clock_ms();

        if (deadline == 0 || (server->next_deadline != 0 && server->next_deadline <= deadline))
                return;
        server->next_deadline = deadline;
        loop_arm(server->deadline, deadline > now ? deadline - now : 1);
}

/* The line stays in the record until the reply can be made.  False: reply now. */
static bool peer_wait(struct peer *peer) {
        struct server *server = peer->server;
        struct client *record = peer->record;
        const struct request *request = &server->request;
        int r;

        if (record->waiting) {
                if (record->deadline == 0 || clock_ms() < record->deadline)
                        return true;
                answer_fail_name(&server->answer, request, -ETIMEDOUT, "did not appear in time");
                return false;
        }
        if (peer->account->waits >= server->root->settings.limits.waits) {
                answer_fail(&server->answer, request->tag, -EAGAIN,
                            "too many pending waits of this user (waits=)");
                return false;
        }
        JOURNAL_SET(server->journal, record->waiting, 1);
        if (request->command.timeout_ms > 0)
                JOURNAL_SET(server->journal, record->deadline,
                            clock_ms() + request->command.timeout_ms);
        r = txn_commit(server->txn);
        if (r < 0) {
                answer_fail(&server->answer, request->tag, r, errno_text(-r));
                return false;
        }
        peer->account->waits++;
        server->n_waiting++;
        server_set_deadline(server, record->deadline);
        return true;
}

/* Requests */

static void peer_populated(void *userdata, int result, uint64_t huge);

/* The line stays in the record until its region is populated.  False: reply now. */
static bool peer_populate(struct peer *peer) {
        struct server *server = peer->server;
        struct volume *volume = server->volume;
        struct answer *answer = &server->answer;
        uint32_t id = answer->populates;
        int r = -EAGAIN;

        if (peer->account->waits < server->root->settings.limits.waits)
                r = volume_populate(volume, tree_node(volume->tree, id), peer_populated, peer,
                                    &peer->work);
        if (r == 0)
                r = txn_commit(server->txn);
        if (r < 0) {
                txn_abort(server->txn);
                peer->work = NULL;
                answer_fail_name(answer, &server->request, r, errno_text(-r));
                return false;
        }
        peer->populated = id;
        peer->account->waits++;
        return true;
}

static void peer_on_room(void *userdata);

/* The line stays in the record, and is tried once more.  last: it was tried before. */
static bool peer_try_again(struct peer *peer, bool last) {
        if (last || !peer->server->answer.no_space)
                return false;
        peer->roomless = true;
        room_await(peer->server->volume->room, &peer->room, peer_on_room, peer);
        return true;
}

static void peer_try(struct peer *peer, size_t line, bool last) {
        struct server *server = peer->server;
        struct answer *answer = &server->answer;
        const struct socket_limits *limits = &server->root->settings.limits;
        struct caller caller;

        protocol_parse(&server->request, peer->record->in, line - 1);
        client_caller(peer->record, &caller);
        answer_request(server->volume, server->listings, &caller, &server->request, answer);
        caller_clear(&caller);
        if ((answer->waits && peer_wait(peer)) || (answer->populates && peer_populate(peer)) ||
            peer_try_again(peer, last))
                return;
        if (answer->text_fd >= 0 &&
            peer->account->unread + outbox_charge(answer) > limits->unread) {
                txn_abort(server->txn);
                answer_fail(answer, server->request.tag, -ENOBUFS,
                            "read the answers of this user's other connections first (unread=)");
        }
        peer_answer(peer, answer, line, false);
}

/* Carries out the first line, unless it has cost two workers already. */
static void peer_carry_out(struct peer *peer, size_t line, bool last) {
        struct root *root = peer->server->root;
        uint64_t key = BLAME_CLIENT | peer->record->id;

        if (blame_is_poison(root, key, BLAME_OPCODE_CLIENT)) {
                peer_refuse(peer, line, -EIO, "the daemon failed at it twice", false);
        } else {
                blame_enter(root, key, BLAME_OPCODE_CLIENT);
                peer_try(peer, line, last);
                blame_leave(root);
        }
        /* The next line is another request. */
        blame_absolve(root, key);
}

/* Receives bytes.  False: there are no more for now. */
static bool peer_receive(struct peer *peer) {
        struct client *record = peer->record;
        ssize_t n;

        n = disposal_receive(record->fd, record->in + record->in_length,
                             sizeof(record->in) - record->in_length);
        if (n > 0) {
                record->in_length += (uint32_t)n;
                return true;
        }
        if (n == -EBADMSG)
                peer_refuse(peer, record->in_length, -EPERM, "no descriptors are taken here", true);
        else if (n != -EAGAIN && n != -EINTR)
                peer->ended = true;
        return false;
}

/* Checks the bounds after receiving, when no line is complete. */
static void peer_check_unfinished(struct peer *peer) {
        struct client *record = peer->record;

        account_charge(&peer->account->unfinished, &peer->unfinished, record->in_length);
        if (record->in_length == sizeof(record->in))
                peer_refuse(peer, record->in_length, -E2BIG, "a line has at most 8191 bytes", true);
        else if (peer->account->unfinished > peer->server->root->settings.limits.unfinished)
                peer_refuse(peer, record->in_length, -ENOBUFS,
                            "too many unfinished lines of this user (unfinished=)", true);
}

/* Handles the input once.  False: there is nothing to do until more comes. */
static bool peer_advance(struct peer *peer) {
        struct client *record = peer->record;
        size_t line = protocol_line(record->in, record->in_length);

        if (line == 0) {
                if (!peer_receive(peer))
                        return record->out_length > 0;
                line = protocol_line(record->in, record->in_length);
        }
        if (line == 0) {
                peer_check_unfinished(peer);
                return record->out_length > 0;
        }
        account_charge(&peer->account->unfinished, &peer->unfinished, 0);
        peer_carry_out(peer, line, false);
        return true;
}

static bool peer_is_pending(const struct peer *peer) {
        return peer->record->out_length > 0;
}

static bool peer_is_working(const struct peer *peer) {
        return peer->work || peer->roomless;
}

/* Selects the events to wait for: room to send, or input. */
static void peer_rest(struct peer *peer) {
        struct client *record = peer->record;

        if (peer->telling || record->waiting || peer_is_working(peer) ||
            outbox_waits(&peer->outbox))
                peer_watch(peer, 0);
        else if (peer_is_pending(peer) || protocol_line(record->in, record->in_length) > 0)
                peer_watch(peer, EPOLLOUT);
        else
                peer_watch(peer, EPOLLIN);
}

/* One step of a connection, which may end it. */
static void peer_step(struct peer *peer) {
        struct client *record = peer->record;

        if (!peer_is_pending(peer) && !record->waiting && !peer_is_working(peer))
                peer_advance(peer);
        if (peer_is_pending(peer) && !peer->telling && peer_flush(peer) && record->closing) {
                peer_end(peer);
                return;
        }
        if (peer->ended && !peer_is_pending(peer) && !record->waiting && !peer_is_working(peer) &&
            protocol_line(record->in, record->in_length) == 0) {
                peer_end(peer);
                return;
        }
        peer_rest(peer);
}

static void peer_ready(void *userdata, uint32_t events) {
        struct peer *peer = userdata;
        bool gone = events & (EPOLLHUP | EPOLLERR);

        /* Complete lines of a client that has hung up are still carried out, but it waits for
         * nothing. */
        if (gone && (peer->record->waiting || outbox_waits(&peer->outbox))) {
                peer_end(peer);
                return;
        }
        if (gone && peer->work)
                work_cancel(peer->work);
        if (gone && (peer->telling || peer_is_working(peer))) {
                peer->source = loop_remove(peer->source);
                return;
        }
        peer_step(peer);
}

/* A piece of a listing was sent, or has to wait. */
static void peer_sent(struct outbox *outbox) {
        peer_step((struct peer *)((char *)outbox - offsetof(struct peer, outbox)));
}

/* Continues after a wait has ended. */
static void peer_go_on(struct peer *peer) {
        /* The client has hung up meanwhile; the lines that it sent before are still carried out. */
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

static void peer_on_room(void *userdata) {
        struct peer *peer = userdata;

        peer->roomless = false;
        peer_carry_out(peer, protocol_line(peer->record->in, peer->record->in_length), true);
        peer_go_on(peer);
}

static void peer_populated(void *userdata, int result, uint64_t huge) {
        struct peer *peer = userdata;
        struct server *server = peer->server;
        struct client *record = peer->record;
        size_t line = protocol_line(record->in, record->in_length);
        struct caller caller;

        peer->work = NULL;
        peer->account->waits--;
        protocol_parse(&server->request, record->in, line - 1);
        client_caller(peer->record, &caller);
        answer_populated(server->volume, &caller, &server->request, peer->populated, result, huge,
                         &server->answer);
        caller_clear(&caller);
        peer_answer(peer, &server->answer, line, false);
        peer_go_on(peer);
}

/* Checks whether names that are waited for exist now. */
static void server_look(struct server *server) {
        struct peer *next;

        server->next_deadline = 0;
        for (struct peer *peer = server->peers; peer; peer = next) {
                next = peer->next;
                if (!peer->record->waiting || peer->parked)
                        continue;
                peer_carry_out(peer, protocol_line(peer->record->in, peer->record->in_length),
                               false);
                if (peer->record->waiting)
                        server_set_deadline(server, peer->record->deadline);
                else
                        peer_step(peer);
        }
}

static void server_on_deadline(void *userdata, uint32_t events) {
        (void)events;
        server_look(userdata);
}

static void server_on_poke(void *userdata, uint32_t events) {
        struct server *server = userdata;

        (void)events;
        server->poked = false;
        if (server->n_waiting > WAITS_AT_ONCE)
                server->next_look = clock_ms() + 1 + server->n_waiting / WAITS_PER_MS;
        server_look(server);
}

/* Something has got a name.  The waits are checked after the commit, and not too often. */
static void server_on_name(void *userdata) {
        struct server *server = userdata;
        uint64_t now;

        if (server->n_waiting == 0 || server->poked)
                return;
        server->poked = true;
        now = clock_ms();
        if (now >= server->next_look)
                loop_arm_soon(server->poke);
        else
                loop_arm(server->poke, server->next_look - now);
}

/* Construction */

/* Continues with the connections of the last worker. */
static int server_resume(struct server *server) {
        uint32_t high = journal_high(server->journal, TABLE_CLIENT);
        struct peer *peer;
        int r;

        for (uint32_t id = 1; id <= high; id++) {
                struct client *record = journal_get(server->journal, TABLE_CLIENT, id);

                if (record->id != id)
                        continue;
                client_recount(record);
                r = peer_new(server, record, &peer);
                if (r < 0)
                        return r;
                if (record->text_fd >= 0)
                        account_charge(&peer->account->unread, &peer->unread,
                                       record->listing ? OUTBOX_LISTING_MAX : record->out_length);
                if (record->waiting) {
                        server->n_waiting++;
                        peer->account->waits++;
                }
                /* Its reply may have to wait for invalidations that the last worker did not
                 * send. */
                if (peer_is_pending(peer))
                        peer_await_kernel(peer);
                peer_rest(peer);
        }
        if (server->n_waiting > 0)
                loop_arm(server->poke, 1);
        return 0;
}

static int server_build(struct server *server) {
        struct loop *loop = server->volume->loop;
        int r;

        r = loop_add_timer(loop, &server->accept_pause, server_on_accept_again, server);
        if (r == 0)
                r = loop_add_timer(loop, &server->poke, server_on_poke, server);
        if (r == 0)
                r = loop_add_timer(loop, &server->deadline, server_on_deadline, server);
        if (r == 0)
                r = loop_add_timer(loop, &server->look_parked, server_on_look_parked, server);
        if (r == 0 && server->root->listen_fd >= 0)
                r = loop_add(loop, &server->listening, server->root->listen_fd, EPOLLIN,
                             server_on_accept, server);
        if (r < 0)
                return r;
        txn_set_after(server->txn, TXN_AFTER_NAMES, server_on_name, server);
        return server_resume(server);
}

int server_new(struct server **out, struct volume *volume, struct listings *listings) {
        struct server *server;
        int r;

        server = calloc(1, sizeof(*server));
        if (!server)
                return -ENOMEM;
        server->volume = volume;
        server->listings = listings;
        server->txn = volume->txn;
        server->journal = volume->journal;
        server->root = journal_root(server->journal);
        server->max_clients = descriptor_connections();
        server->answer.fd = server->answer.text_fd = -1;
        r = server_build(server);
        if (r < 0) {
                server_free(server);
                return r;
        }
        *out = server;
        return 0;
}

struct server *server_free(struct server *server) {
        if (!server)
                return NULL;
        txn_set_after(server->txn, TXN_AFTER_NAMES, NULL, NULL);
        while (server->peers)
                peer_free(server->peers);
        loop_remove(server->listening);
        loop_remove(server->accept_pause);
        loop_remove(server->poke);
        loop_remove(server->deadline);
        loop_remove(server->look_parked);
        disposal_end(&server->disposal);
        free(server);
        return NULL;
}
