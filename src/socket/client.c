/* SPDX-License-Identifier: MIT */
#include "socket/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "socket/listener.h"

enum { SEND_CHUNK = 16 * 1024 };

void client_say(int fd, int error, const char *text) {
        char line[128];
        size_t length = protocol_answer(line, sizeof(line), "", error, text);

        send(fd, line, length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

struct client *client_new(struct txn *txn, int fd, const struct caller *caller) {
        struct journal *journal = txn_journal(txn);
        uint32_t id = journal_new(journal, TABLE_CLIENT);
        struct client *client = journal_get(journal, TABLE_CLIENT, id);

        if (!client)
                return NULL;
        client->id = id;
        client->fd = fd;
        client->uid = caller->uid;
        client->gid = caller->gid;
        client->pid = caller->pid;
        client->powerless = caller->powerless;
        client->reply_fd = client->text_fd = -1;
        return txn_commit(txn) == 0 ? client : NULL;
}

static void close_if(int fd) {
        if (fd >= 0)
                close(fd);
}

void client_delete(struct txn *txn, struct client *client) {
        uint32_t id = client->id;
        int fd = client->fd, reply_fd = client->reply_fd, text_fd = client->text_fd;

        /* The record first: a worker that takes over in between closes what nobody names. */
        journal_delete(txn_journal(txn), TABLE_CLIENT, id);
        txn_commit_anyway(txn);
        close_if(reply_fd);
        close_if(text_fd);
        close(fd);
}

void client_recount(struct client *client) {
        uint32_t n = client->in_length;

        while (n < sizeof(client->in) && client->in[n] != '\0')
                n++;
        client->in_length = n;
}

void client_take_line(struct txn *txn, struct client *client, size_t length) {
        struct journal *journal = txn_journal(txn);
        uint32_t rest = client->in_length - (uint32_t)length;

        journal_touch(journal, client->in, client->in_length);
        memmove(client->in, client->in + length, rest);
        memset(client->in + rest, 0, length);
        JOURNAL_SET(journal, client->in_length, rest);
        JOURNAL_SET(journal, client->waiting, 0);
        JOURNAL_SET(journal, client->deadline, 0);
}

void client_set_answer(struct txn *txn, struct client *client, struct answer *answer, bool last) {
        journal_touch(txn_journal(txn), &client->reply_fd,
                      offsetof(struct client, in) - offsetof(struct client, reply_fd));
        client->reply_fd = answer->fd;
        client->text_fd = answer->text_fd;
        client->out_length = answer->length;
        client->out_sent = 0;
        client->closing = last;
        if (answer->text_fd < 0)
                memcpy(client->out, answer->text, answer->length);
        answer->fd = answer->text_fd = -1;
}

static ssize_t client_send_piece(const struct client *client) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                .cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS}};
        char chunk[SEND_CHUNK];
        struct iovec iov = {.iov_base = chunk};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        if (client->text_fd >= 0) {
                n = pread(client->text_fd, chunk, sizeof(chunk), (off_t)client->out_sent);
                if (n <= 0)
                        return -EIO;
                iov.iov_len = (size_t)n;
        } else {
                iov.iov_base = (char *)client->out + client->out_sent;
                iov.iov_len = client->out_length - client->out_sent;
        }
        if (client->reply_fd >= 0 && client->out_sent == 0) {
                memcpy(CMSG_DATA(&control.header), &client->reply_fd, sizeof(int));
                message.msg_control = &control;
                message.msg_controllen = sizeof(control.space);
        }
        n = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        return n < 0 ? -errno : n;
}

ssize_t client_send(struct txn *txn, struct client *client) {
        ssize_t n = client_send_piece(client);

        if (n > 0) {
                JOURNAL_SET(txn_journal(txn), client->out_sent, client->out_sent + (uint64_t)n);
                txn_commit_anyway(txn);
        }
        return n;
}

void client_answered(struct txn *txn, struct client *client) {
        int reply_fd = client->reply_fd, text_fd = client->text_fd;

        journal_touch(txn_journal(txn), &client->reply_fd,
                      offsetof(struct client, out) - offsetof(struct client, reply_fd));
        client->reply_fd = client->text_fd = -1;
        client->out_length = client->out_sent = 0;
        txn_commit_anyway(txn);
        close_if(reply_fd);
        close_if(text_fd);
}

void client_caller(const struct client *record, struct caller *out) {
        *out = (struct caller){
                .uid = record->uid,
                .gid = record->gid,
                .pid = record->pid,
                .connection = record->fd,
                .powerless = record->powerless,
        };
        /* Without its groups a caller has fewer rights, never more. */
        (void)listener_groups(record->fd, out);
}
