/* SPDX-License-Identifier: MIT */
#include "fuse/notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>
#include "base/clock.h"
#include "fuse/notify.h"
#include "records/layout.h"

enum {
        LANES_MAX = 4,     /* the greatest number of processes */
        PATIENCE_MS = 500, /* a notification that takes longer is given up */
        IDLE_MS = 500,     /* a further process without work ends after that */
        ENDING_MS = 10,    /* until the next look at processes that somebody waits for to end */
};

/* The message to a process. */
struct message {
        uint64_t node;
        int64_t offset; /* of a node's pages that have changed */
        uint32_t is_entry;
        uint32_t length;
        char name[LAYOUT_NAME_MAX + 1];
};

struct notification {
        struct message message;
        uint64_t since_ms; /* when it began to wait for a process */
        notifier_fn fn;
        void *userdata;
        struct notification *prev, *next;
};

/* A process, and its current notification. */
struct lane {
        struct notifier *notifier;
        int socket_fd; /* -1: there is no process */
        pid_t pid;     /* 0: there is none, and none to be reaped */
        struct loop_source *source;
        bool busy;
        uint64_t since_ms;                 /* when it became busy, or idle */
        uint64_t node;                     /* that the notification is about */
        struct notification *notification; /* NULL: the process is idle, or stuck */
};

struct notifier {
        struct loop *loop;
        int fuse_fd;
        struct lane lanes[LANES_MAX];
        struct loop_source *timer;
        bool armed;
        struct notification *waiting, *given_up;
        uint64_t n_given_up;
};

/* The process */

static void message_tell(const struct message *message, int fuse_fd) {
        /* If the kernel does not know the node or name, nothing has to be done. */
        if (message->is_entry)
                notify_entry(fuse_fd, message->node, message->name, message->length);
        else
                notify_inode(fuse_fd, message->node, message->offset);
}

/* Closes all but two descriptors.  Our standard error must not stay open: somebody may wait for its
 * end. */
static void close_others(int one, int other) {
        int low = one < other ? one : other, high = one < other ? other : one;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
                dup2(null, fd);
        if (low > STDERR_FILENO + 1)
                close_range(STDERR_FILENO + 1, (unsigned int)low - 1, 0);
        if (high > low + 1)
                close_range((unsigned int)low + 1, (unsigned int)high - 1, 0);
        close_range((unsigned int)high + 1, ~0U, 0);
}

static _Noreturn void lane_process(int socket_fd, int fuse_fd) {
        struct message message;

        prctl(PR_SET_NAME, "iomemfs-notify");
        close_others(socket_fd, fuse_fd);
        while (recv(socket_fd, &message, sizeof(message), 0) == sizeof(message)) {
                message_tell(&message, fuse_fd);
                if (send(socket_fd, "", 1, MSG_NOSIGNAL) != 1)
                        break;
        }
        _exit(0);
}

static void lane_on_reply(void *userdata, uint32_t events);

static int lane_start(struct lane *lane) {
        struct notifier *notifier = lane->notifier;
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        r = loop_add(notifier->loop, &lane->source, fds[0], EPOLLIN, lane_on_reply, lane);
        if (r == 0) {
                lane->pid = fork();
                if (lane->pid == 0)
                        lane_process(fds[1], notifier->fuse_fd);
                if (lane->pid < 0)
                        r = -errno;
        }
        close(fds[1]);
        if (r < 0) {
                lane->source = loop_remove(lane->source);
                close(fds[0]);
                return r;
        }
        lane->socket_fd = fds[0];
        return 0;
}

/* Whether its process was ended but still exists. */
static bool lane_is_ending(struct lane *lane) {
        if (lane->socket_fd >= 0 || lane->pid <= 0)
                return false;
        if (waitpid(lane->pid, NULL, WNOHANG) == 0)
                return true;
        lane->pid = 0;
        return false;
}

/* Ends the process as soon as that is possible.  Nobody waits for it, since it may never end. */
static void lane_end(struct lane *lane) {
        if (lane->socket_fd < 0)
                return;
        lane->source = loop_remove(lane->source);
        close(lane->socket_fd);
        lane->socket_fd = -1;
}

/* Turns */

static bool lane_is_stuck(const struct lane *lane) {
        return lane->busy && !lane->notification;
}

static void give_up(struct notifier *notifier, struct notification *notification) {
        DL_APPEND(notifier->given_up, notification);
        /* Let the timer do it, because fn must not be called from here. */
        loop_arm_soon(notifier->timer);
        notifier->armed = true;
}

/* Sends the notification to the lane's process. */
static bool lane_tell(struct lane *lane, struct notification *notification) {
        const struct message *message = &notification->message;

        if (lane_is_ending(lane) || (lane->socket_fd < 0 && lane_start(lane) < 0))
                return false;
        if (send(lane->socket_fd, message, sizeof(*message), MSG_NOSIGNAL | MSG_DONTWAIT) !=
            sizeof(*message)) {
                lane_end(lane);
                return false;
        }
        lane->busy = true;
        lane->since_ms = clock_ms();
        lane->node = message->node;
        lane->notification = notification;
        return true;
}

enum place { PLACE_NONE, PLACE_LATER, PLACE_TAKEN };

/* Whether the lane will soon be free: its notification is under way, or its process is ending. */
static bool lane_will_be_free(struct lane *lane, const struct notification *waits) {
        if (lane->busy)
                return !lane_is_stuck(lane);
        return lane_is_ending(lane) && clock_ms() - waits->since_ms < PATIENCE_MS;
}

/* Finds a lane: one whose process is idle, or else one that has no process yet. */
static enum place notifier_place(struct notifier *notifier, struct notification *notification) {
        enum place place = PLACE_NONE;

        for (struct lane *lane = notifier->lanes; lane < notifier->lanes + LANES_MAX; lane++)
                if (lane_is_stuck(lane) && lane->node == notification->message.node)
                        return PLACE_NONE;
        for (int i = 0; i < 2 * LANES_MAX; i++) {
                struct lane *lane = &notifier->lanes[i % LANES_MAX];
                bool is_new = lane->socket_fd < 0;

                if (!lane->busy && is_new == (i >= LANES_MAX) && lane_tell(lane, notification))
                        return PLACE_TAKEN;
                if (lane_will_be_free(lane, notification))
                        place = PLACE_LATER;
        }
        return place;
}

static void notifier_arm(struct notifier *notifier, uint64_t milliseconds) {
        loop_arm(notifier->timer, milliseconds);
        notifier->armed = true;
}

static bool notifier_has_ending(struct notifier *notifier) {
        for (int i = 0; i < LANES_MAX; i++)
                if (lane_is_ending(&notifier->lanes[i]))
                        return true;
        return false;
}

/* Sends the waiting notifications, as far as there are processes for them. */
static void notifier_advance(struct notifier *notifier) {
        struct notification *notification, *next;

        DL_FOREACH_SAFE(notifier->waiting, notification, next) {
                enum place place = notifier_place(notifier, notification);

                if (place == PLACE_LATER) {
                        /* Nothing tells when a process has ended. */
                        if (notifier_has_ending(notifier))
                                notifier_arm(notifier, ENDING_MS);
                        break;
                }
                DL_DELETE(notifier->waiting, notification);
                if (place == PLACE_NONE)
                        give_up(notifier, notification);
        }
}

static void notifier_finish_given_up(struct notifier *notifier) {
        struct notification *notification;

        if (notifier->given_up)
                (void)notify_epoch(notifier->fuse_fd);
        while ((notification = notifier->given_up)) {
                DL_DELETE(notifier->given_up, notification);
                notifier->n_given_up++;
                notification->fn(notification->userdata, false);
                free(notification);
        }
}

/* Gives up a notification that takes too long, or ends an idle process.  Returns the milliseconds
 * until it has to look again, 0 if it need not. */
static uint64_t lane_look(struct lane *lane, uint64_t now) {
        struct notifier *notifier = lane->notifier;
        bool is_further = lane != notifier->lanes;
        uint64_t end = lane->since_ms + (lane->busy ? PATIENCE_MS : IDLE_MS);

        if (lane_is_ending(lane))
                return IDLE_MS;
        if (lane->busy ? !lane->notification : lane->socket_fd < 0 || !is_further)
                return 0;
        if (end > now)
                return end - now;
        if (lane->busy) {
                DL_APPEND(notifier->given_up, lane->notification);
                lane->notification = NULL;
                return 0;
        }
        lane_end(lane);
        return IDLE_MS;
}

/* Looks at all lanes.  Returns the milliseconds until the next look, 0 for none. */
static uint64_t notifier_look(struct notifier *notifier) {
        uint64_t now = clock_ms(), next = 0;

        for (struct lane *lane = notifier->lanes; lane < notifier->lanes + LANES_MAX; lane++) {
                uint64_t left = lane_look(lane, now);

                if (left > 0 && (next == 0 || left < next))
                        next = left;
        }
        return next;
}

static void notifier_on_timer(void *userdata, uint32_t events) {
        struct notifier *notifier = userdata;
        uint64_t next;

        (void)events;
        notifier->armed = false;
        next = notifier_look(notifier);
        notifier_advance(notifier);
        notifier_finish_given_up(notifier);
        if (next > 0 && !notifier->armed)
                notifier_arm(notifier, next);
}

static void lane_on_reply(void *userdata, uint32_t events) {
        struct lane *lane = userdata;
        struct notifier *notifier = lane->notifier;
        struct notification *notification = lane->notification;
        char told;
        bool is_told = recv(lane->socket_fd, &told, 1, MSG_DONTWAIT) == 1;

        (void)events;
        lane->busy = false;
        lane->since_ms = clock_ms();
        lane->notification = NULL;
        if (!notifier->armed)
                notifier_arm(notifier, IDLE_MS);
        if (!is_told)
                lane_end(lane); /* somebody has killed it */
        notifier_advance(notifier);
        if (notification && is_told) {
                notification->fn(notification->userdata, true);
                free(notification);
        } else if (notification) {
                give_up(notifier, notification);
        }
}

/* Public functions */

static int notifier_tell(struct notifier *notifier, const struct message *message, notifier_fn fn,
                         void *userdata) {
        struct notification *notification = malloc(sizeof(*notification));

        if (!notification)
                return -ENOMEM;
        *notification = (struct notification){
                .message = *message, .since_ms = clock_ms(), .fn = fn, .userdata = userdata};
        DL_APPEND(notifier->waiting, notification);
        notifier_advance(notifier);
        /* If it is armed, it is set for an older notification, and is armed again when it
         * expires. */
        if (!notifier->armed)
                notifier_arm(notifier, PATIENCE_MS);
        return 0;
}

int notifier_tell_entry(struct notifier *notifier, uint64_t dir, const char *name, size_t length,
                        notifier_fn fn, void *userdata) {
        struct message message = {.node = dir, .is_entry = 1, .length = (uint32_t)length};

        memcpy(message.name, name, length);
        return notifier_tell(notifier, &message, fn, userdata);
}

int notifier_tell_inode(struct notifier *notifier, uint64_t node, notifier_fn fn, void *userdata) {
        return notifier_tell(notifier, &(struct message){.node = node}, fn, userdata);
}

int notifier_write_back(struct notifier *notifier, uint64_t node, int64_t offset, notifier_fn fn,
                        void *userdata) {
        return notifier_tell(notifier, &(struct message){.node = node, .offset = offset}, fn,
                             userdata);
}

unsigned int notifier_stuck(const struct notifier *notifier) {
        unsigned int n = 0;

        for (int i = 0; i < LANES_MAX; i++)
                n += lane_is_stuck(&notifier->lanes[i]);
        return n;
}

uint64_t notifier_given_up(const struct notifier *notifier) {
        return notifier->n_given_up;
}

int notifier_new(struct notifier **out, struct loop *loop, int fuse_fd) {
        struct notifier *notifier = calloc(1, sizeof(*notifier));
        int r;

        if (!notifier)
                return -ENOMEM;
        notifier->loop = loop;
        notifier->fuse_fd = fuse_fd;
        for (int i = 0; i < LANES_MAX; i++)
                notifier->lanes[i] = (struct lane){.notifier = notifier, .socket_fd = -1};
        r = loop_add_timer(loop, &notifier->timer, notifier_on_timer, notifier);
        if (r == 0)
                r = lane_start(&notifier->lanes[0]);
        if (r < 0) {
                notifier_free(notifier);
                return r;
        }
        *out = notifier;
        return 0;
}

static void notifications_free(struct notification **list) {
        struct notification *notification, *next;

        DL_FOREACH_SAFE(*list, notification, next) {
                DL_DELETE(*list, notification);
                free(notification);
        }
}

struct notifier *notifier_free(struct notifier *notifier) {
        if (!notifier)
                return NULL;
        for (int i = 0; i < LANES_MAX; i++) {
                free(notifier->lanes[i].notification);
                lane_end(&notifier->lanes[i]);
                (void)lane_is_ending(&notifier->lanes[i]);
        }
        notifications_free(&notifier->waiting);
        notifications_free(&notifier->given_up);
        loop_remove(notifier->timer);
        free(notifier);
        return NULL;
}
