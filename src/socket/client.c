/* SPDX-License-Identifier: MIT */
#include "socket/client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>
#include "socket/listener.h"

enum { TEXT_PAGE = 4096 };

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

        /* Delete the record first: if the worker dies after that, the next one closes the
         * descriptor. */
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
        client->listing = answer->listing;
        if (answer->text_fd < 0)
                memcpy(client->out, answer->text, answer->length);
        answer->fd = answer->text_fd = -1;
}

int client_append(struct txn *txn, struct client *client, const char *bytes, size_t n) {
        if (pwrite(client->text_fd, bytes, n, (off_t)client->out_length) != (ssize_t)n)
                return -ENOSPC;
        JOURNAL_SET(txn_journal(txn), client->out_length, client->out_length + n);
        return 0;
}

/*
 * The file's position is the number of bytes that were sent.  It moves in the same call that sends,
 * so it is right even if the worker dies before it can write anything.  Whole pages are freed when
 * they have been sent.  The socket's queue may still refer to a page of them, but keeps it itself.
 */
static int client_send_text(const struct client *client, uint64_t *sent) {
        off_t at = lseek(client->text_fd, 0, SEEK_CUR);
        ssize_t n;

        if (at < 0)
                return -EIO;
        if ((uint64_t)at < client->out_length) {
                n = sendfile(client->fd, client->text_fd, NULL, client->out_length - (uint64_t)at);
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                at += n;
                if (at >= TEXT_PAGE)
                        fallocate(client->text_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                  at - at % TEXT_PAGE);
        }
        *sent = (uint64_t)at;
        return 0;
}

static int client_send_bytes(const struct client *client, uint64_t *sent) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                .cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS}};
        struct iovec iov = {
                .iov_base = (char *)client->out + client->out_sent,
                .iov_len = client->out_length - client->out_sent,
        };
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        if (client->reply_fd >= 0 && client->out_sent == 0) {
                memcpy(CMSG_DATA(&control.header), &client->reply_fd, sizeof(int));
                message.msg_control = &control;
                message.msg_controllen = sizeof(control.space);
        }
        n = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
                return -errno;
        *sent += (uint64_t)n;
        return 0;
}

int client_send(struct txn *txn, struct client *client) {
        uint64_t sent = client->out_sent;
        int r = client->text_fd >= 0 ? client_send_text(client, &sent)
                                     : client_send_bytes(client, &sent);

        if (sent != client->out_sent) {
                JOURNAL_SET(txn_journal(txn), client->out_sent, sent);
                txn_commit_anyway(txn);
        }
        return r;
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
        /* If the groups are missing, the caller only has fewer rights. */
        (void)listener_groups(record->fd, out);
}
