/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * server_private: declarations that the files of server share.  server.c has the connections and
 * their requests; server_accept.c has new connections.
 */

#include "socket/account.h"
#include "socket/disposal.h"
#include "socket/outbox.h"
#include "socket/request.h"
#include "socket/server.h"

struct peer {
        struct server *server;
        struct client *record;
        struct account *account;
        struct loop_source *source; /* NULL while only the end of invalidations is waited for */
        uint32_t events;
        bool telling; /* the reply waits until the kernel has been told */
        struct invalidations_waiter told;
        struct work *work; /* the work that the request waits for, NULL for none */
        struct room_waiter room;
        bool roomless;      /* the request waits for space, and is then tried once more */
        uint32_t populated; /* its node, 0 for none */
        bool ended;         /* the client will send nothing more */
        bool parked;        /* ends when the descriptors that the client sent can be disposed of */
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
        struct account *accounts;
        uint32_t n_waiting;
        uint64_t next_deadline; /* 0: none */
        uint64_t next_look;     /* no check before this time, milliseconds */
        bool poked;
        bool warned;
        uint32_t max_clients;
        struct request request; /* the current one */
        struct answer answer;
};

/* Makes the peer of a connection's record.  0 or negative errno. */
int peer_new(struct server *server, struct client *record, struct peer **out);

/* server_accept.c: for the loop.  userdata: the server. */
void server_on_accept(void *userdata, uint32_t events);
void server_on_accept_again(void *userdata, uint32_t events);
