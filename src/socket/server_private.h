/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * server_private: what the two halves of server share: connections at work (server.c), and how they
 * come in (server_accept.c).
 */

#include "socket/account.h"
#include "socket/client.h"
#include "socket/disposal.h"
#include "socket/outbox.h"
#include "socket/request.h"
#include "socket/server.h"

struct peer {
        struct server *server;
        struct client *record;
        struct account *user;
        struct loop_source *source; /* NULL when only the invalidations' end is waited for */
        uint32_t events;
        bool telling;       /* the answer waits for the kernel */
        struct work *work;  /* that the request waits for, NULL for none */
        uint32_t populated; /* its node, 0 for none */
        bool ended;         /* nothing more will come */
        bool parked;        /* it ends when what it was sent can be disposed of */
        struct outbox outbox;
        uint64_t unfinished, unread;
        struct peer *previous, *next;
};

struct server {
        struct volume *volume;
        struct listings *listings;
        struct txn *txn;
        struct journal *journal;
        struct root *root;
        struct loop_source *listening, *accept_pause, *poke, *deadline, *look_parked;
        struct disposal disposal;
        struct peer *peers;
        struct account *users;
        uint32_t n_waiting;
        uint64_t next_deadline; /* 0: none */
        uint64_t next_look;     /* not before this time, milliseconds */
        bool poked;
        bool warned;
        uint32_t max_clients;
        struct request request; /* the one being carried out */
        struct answer answer;
};

/* server.c: a connection that has a record is looked after from now on.  0, -ENOMEM, … */
int peer_new(struct server *server, struct client *record, struct peer **out);

/* server_accept.c, for the loop; userdata: the server. */
void server_on_accept(void *userdata, uint32_t events);
void server_on_accept_again(void *userdata, uint32_t events);
