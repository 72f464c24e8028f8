/* SPDX-License-Identifier: MIT */
#include "socket/server_private.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/log.h"
#include "socket/listener.h"

enum { ACCEPTS_PER_TURN = 16, ACCEPT_PAUSE_MS = 100 };

static void connection_close(struct server *server, int fd, const struct caller *caller) {
        disposal_prepare_close(&server->disposal, fd, caller->uid, true);
        close(fd);
}

static void connection_refuse(struct server *server, int fd, const struct caller *caller,
                              const char *text) {
        client_say(fd, -EUSERS, text);
        connection_close(server, fd, caller);
}

static void server_welcome(struct server *server, int fd, const struct caller *caller) {
        struct account *user = account_get(&server->users, caller->uid);
        struct client *record;
        struct peer *peer;

        if (user && user->clients >= server->root->settings.limits.clients) {
                connection_refuse(server, fd, caller,
                                  "too many connections of this user (clients=)");
                return;
        }
        if (!user || journal_used(server->journal, TABLE_CLIENT) >= server->max_clients ||
            !(record = client_new(server->txn, fd, caller))) {
                if (user)
                        account_drop_if_idle(&server->users, user);
                connection_refuse(server, fd, caller, "too many connections");
                return;
        }
        if (peer_new(server, record, &peer) < 0) {
                /* The record goes, and the connection with it, in which this is the last word. */
                client_say(fd, -ENOMEM, "out of memory");
                disposal_prepare_close(&server->disposal, fd, caller->uid, true);
                client_delete(server->txn, record);
        }
}

/* Out of descriptors: whoever waits in the queue waits until one is free. */
static void server_pause_accept(struct server *server) {
        if (!server->warned)
                log_line(LOG_WARNING, "no descriptor left for a connection to the socket");
        server->warned = true;
        loop_modify(server->listening, 0);
        loop_arm(server->accept_pause, ACCEPT_PAUSE_MS);
}

/* Takes one connection.  False: there is none, or no more can be taken. */
static bool server_accept(struct server *server) {
        struct caller caller = {0};
        int fd;

        server->root->accepting = 1;
        fd = listener_accept(server->root->listen_fd);
        if (fd >= 0 && listener_identify(fd, &caller) < 0)
                connection_close(server, fd, &caller);
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
