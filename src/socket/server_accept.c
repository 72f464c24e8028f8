/* SPDX-License-Identifier: MIT */
#include "socket/server_private.h"

#include <errno.h>
#include <sys/epoll.h>
#include "base/log.h"
#include "socket/client.h"
#include "socket/listener.h"

enum {
        ACCEPTS_PER_TURN = 16,
        ACCEPT_PAUSE_MS = 100,
};

static void server_welcome(struct server *server, int fd, const struct caller *caller) {
        struct account *account = account_get(&server->accounts, caller->uid);
        struct client *record;
        struct peer *peer;

        if (account && account->clients >= server->root->settings.limits.clients) {
                client_say(fd, -EUSERS, "too many connections of this user (clients=)");
                disposal_close(&server->disposal, fd, caller->uid);
                return;
        }
        if (!account ||
            !account_may_connect(account, journal_used(server->journal, TABLE_CLIENT),
                                 server->max_clients, caller->uid == 0 && !caller->powerless) ||
            !(record = client_new(server->txn, fd, caller))) {
                if (account)
                        account_drop_if_idle(&server->accounts, account);
                client_say(fd, -EUSERS, "too many connections of all users");
                disposal_close(&server->disposal, fd, caller->uid);
                return;
        }
        if (peer_new(server, record, &peer) < 0) {
                /* Delete the record and the connection; this is the last reply on it. */
                client_say(fd, -ENOMEM, "out of memory");
                disposal_prepare_close(&server->disposal, fd, caller->uid, true);
                client_delete(server->txn, record);
        }
}

/* Descriptors have run out: new connections stay in the queue until one is free. */
static void server_pause_accept(struct server *server) {
        if (!server->warned)
                log_line(LOG_WARNING, "no descriptor left for a connection to the socket");
        server->warned = true;
        loop_modify(server->listening, 0);
        loop_arm(server->accept_pause, ACCEPT_PAUSE_MS);
}

/* Accepts one connection.  False: there is none, or no more can be accepted. */
static bool server_accept(struct server *server) {
        struct caller caller = {0};
        int fd;

        server->root->accepting = 1;
        fd = listener_accept(server->root->listen_fd);
        if (fd >= 0 && listener_identify(fd, &caller) < 0)
                disposal_close(&server->disposal, fd, caller.uid);
        else if (fd >= 0)
                server_welcome(server, fd, &caller);
        server->root->accepting = 0;
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS)
                server_pause_accept(server);
        else if (fd >= 0)
                server->warned = false;
        return fd >= 0 || fd == -ECONNABORTED || fd == -EINTR;
}

void server_on_accept(void *userdata, uint32_t events) {
        int left = ACCEPTS_PER_TURN;

        (void)events;
        while (left > 0 && server_accept(userdata))
                left--;
}

void server_on_accept_again(void *userdata, uint32_t events) {
        struct server *server = userdata;

        (void)events;
        loop_modify(server->listening, EPOLLIN);
}
