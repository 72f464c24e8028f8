/* SPDX-License-Identifier: MIT */
#include "memory/allocator.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>
#include "base/errno_text.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/process.h"
#include "base/users.h"
#include "memory/allocator_message.h"
#include "memory/allocator_process.h"

enum {
        USER_RUNNING_MAX = 2,    /* allocations of one user under way */
        RUNNING_MAX = 8,         /* of all users, not counting those that take long */
        LONG_MS = 2000,          /* longer ones (frozen, or huge) delay nobody else */
        PROCESSES_MAX = 1024,    /* including those that take long */
        PROCESSES_USERS = 960,   /* the rest is for root */
        USER_WAITING_MAX = 1024, /* each holds a descriptor */
        SIGNALS_MS = 20,         /* between looks at the signals of callers */
        SIGNALS_PER_TURN = 32,   /* callers that are looked at */
};

/* A user with allocations. */
struct turn {
        unsigned int running, waiting; /* including those that have not begun */
        struct allocation *queue;      /* utlist: those that wait */
        struct turn *prev, *next;
};

struct allocation {
        struct allocator *allocator;
        struct turn *turn;
        struct allocator_order order;
        int fd; /* -1 once it is under way */
        uint64_t started_ms;
        bool cancelled;
        bool told; /* cancelled while under way: the process has been told */
        allocation_fn done;
        void *userdata;
        struct allocation *prev, *next; /* in the turn's queue, or among those under way */
        struct allocation *prev_signalled, *next_signalled;
};

struct allocator {
        struct loop *loop;
        int socket_fd; /* -1: there is no process */
        pid_t process;
        int pidfd;
        struct loop_source *source, *death, *timer, *signals;
        struct users *users; /* of struct turn */
        struct turn *turns;  /* utlist: the user whose turn it is comes first */
        struct allocation *running;
        unsigned int n_running;
        struct allocation *signalled; /* utlist: the caller got a signal that may not be the last */
        bool cancelling;              /* some are cancelled and not all of that is done */
        uint32_t next_id;
};

/* Turns */

static struct turn *turn_get(struct allocator *allocator, uid_t uid) {
        struct turn *turn = users_get(allocator->users, uid);

        if (turn && !turn->prev)
                DL_APPEND(allocator->turns, turn);
        return turn;
}

static void turn_put(struct allocator *allocator, struct turn *turn) {
        if (turn->running > 0 || turn->waiting > 0)
                return;
        DL_DELETE(allocator->turns, turn);
        users_remove(allocator->users, turn);
}

static void signalled_remove(struct allocation *allocation) {
        if (allocation->prev_signalled)
                DL_DELETE2(allocation->allocator->signalled, allocation, prev_signalled,
                           next_signalled);
        allocation->prev_signalled = NULL;
}

static void signalled_add(struct allocation *allocation) {
        DL_APPEND2(allocation->allocator->signalled, allocation, prev_signalled, next_signalled);
        loop_arm(allocation->allocator->signals, SIGNALS_MS);
}

static void allocation_end(struct allocation *allocation, int result, uint64_t huge) {
        struct allocator *allocator = allocation->allocator;
        allocation_fn done = allocation->done;
        void *userdata = allocation->userdata;

        signalled_remove(allocation);
        if (allocation->fd >= 0)
                close(allocation->fd);
        turn_put(allocator, allocation->turn);
        free(allocation);
        done(userdata, result, huge);
}

/* Starting */

static int order_send(int socket_fd, const struct allocator_order *order, int fd) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                .cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS}};
        struct iovec iov = {.iov_base = (void *)order, .iov_len = sizeof(*order)};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

        if (fd >= 0) {
                memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
                message.msg_control = &control;
                message.msg_controllen = sizeof(control.space);
        }
        return sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int allocator_begin(struct allocator *allocator);

/* False: the socket is full, or the process has just ended and its successor is not there yet, so the
 * allocation goes on waiting. */
static bool allocation_run(struct allocator *allocator, struct allocation *allocation) {
        struct turn *turn = allocation->turn;
        int r = 0;

        /* The process ended, and another could not be started at that time. */
        if (allocator->socket_fd < 0)
                r = allocator_begin(allocator);
        if (r == 0)
                r = order_send(allocator->socket_fd, &allocation->order, allocation->fd);
        if (r == -EAGAIN || r == -EPIPE || r == -ECONNRESET)
                return false;
        DL_DELETE(turn->queue, allocation);
        turn->waiting--;
        if (r < 0) {
                allocation_end(allocation, -ENOSPC, 0);
                return true;
        }
        close(allocation->fd);
        allocation->fd = -1;
        allocation->started_ms = clock_ms();
        DL_APPEND(allocator->running, allocation);
        allocator->n_running++;
        turn->running++;
        return true;
}

static bool allocator_has_room(const struct allocator *allocator) {
        const struct allocation *allocation;
        uint64_t now = clock_ms();
        unsigned int quick = 0;

        /* The list is in the order in which they began. */
        for (allocation = allocator->running ? allocator->running->prev : NULL;
             allocation && now - allocation->started_ms < LONG_MS && ++quick < RUNNING_MAX;)
                allocation = allocation == allocator->running ? NULL : allocation->prev;
        return quick < RUNNING_MAX;
}

/* The first allocation that may run, of the user whose turn it is. */
static struct allocation *allocator_pick(struct allocator *allocator) {
        struct turn *turn;

        DL_FOREACH(allocator->turns, turn)
        if (turn->queue && turn->running < USER_RUNNING_MAX &&
            allocator->n_running < (users_uid(turn) == 0 ? PROCESSES_MAX : PROCESSES_USERS)) {
                DL_DELETE(allocator->turns, turn);
                DL_APPEND(allocator->turns, turn);
                return turn->queue;
        }
        return NULL;
}

/* An allocation that was cancelled while it waits, or NULL.  Tells the process of those under
 * way. */
static struct allocation *allocator_cancelled(struct allocator *allocator) {
        struct allocation *allocation;
        struct turn *turn;

        if (!allocator->cancelling)
                return NULL;
        DL_FOREACH(allocator->turns, turn)
        DL_FOREACH(turn->queue, allocation)
        if (allocation->cancelled)
                return allocation;
        allocator->cancelling = false;
        DL_FOREACH(allocator->running, allocation) {
                struct allocator_order order = {.id = allocation->order.id, .cancel = 1};

                if (!allocation->cancelled || allocation->told)
                        continue;
                allocation->told = order_send(allocator->socket_fd, &order, -1) == 0;
                allocator->cancelling |= !allocation->told;
        }
        return NULL;
}

static void allocator_advance(struct allocator *allocator) {
        struct allocation *allocation;

        while ((allocation = allocator_cancelled(allocator))) {
                DL_DELETE(allocation->turn->queue, allocation);
                allocation->turn->waiting--;
                allocation_end(allocation, -ECANCELED, 0);
        }
        while (allocator_has_room(allocator)) {
                allocation = allocator_pick(allocator);
                if (!allocation)
                        return;
                if (!allocation_run(allocator, allocation))
                        break;
        }
        /* Look again when one of those under way counts as one that takes long. */
        loop_arm(allocator->timer, LONG_MS / 2);
}

static void allocator_on_timer(void *userdata, uint32_t events) {
        (void)events;
        allocator_advance(userdata);
}

/* Reports */

static void allocator_on_report(struct allocator *allocator,
                                const struct allocator_report *report) {
        struct allocation *allocation;
        int result = report->result;

        DL_FOREACH(allocator->running, allocation)
        if (allocation->order.id == report->id)
                break;
        if (!allocation)
                return;
        DL_DELETE(allocator->running, allocation);
        allocator->n_running--;
        allocation->turn->running--;
        if (allocation->cancelled && result < 0)
                result = -ECANCELED;
        allocation_end(allocation, result, report->huge);
}

static void allocator_on_socket(void *userdata, uint32_t events) {
        struct allocator *allocator = userdata;
        struct allocator_report report;
        ssize_t n;

        (void)events;
        n = recv(allocator->socket_fd, &report, sizeof(report), MSG_DONTWAIT);
        if (n != (ssize_t)sizeof(report))
                return;
        allocator_on_report(allocator, &report);
        allocator_advance(allocator);
}

/* The process */

static void allocator_on_socket(void *userdata, uint32_t events);
static void allocator_on_death(void *userdata, uint32_t events);

static int allocator_begin(struct allocator *allocator) {
        int r = allocator_process_start(&allocator->process);

        allocator->socket_fd = r;
        if (r < 0)
                return r;
        /* The process's children have its socket, too, so the socket does not report its death. */
        allocator->pidfd = (int)syscall(SYS_pidfd_open, allocator->process, 0);
        if (allocator->pidfd < 0)
                return -errno;
        r = loop_add(allocator->loop, &allocator->death, allocator->pidfd, EPOLLIN,
                     allocator_on_death, allocator);
        if (r < 0)
                return r;
        return loop_add(allocator->loop, &allocator->source, allocator->socket_fd, EPOLLIN,
                        allocator_on_socket, allocator);
}

static void allocator_let_go(struct allocator *allocator) {
        allocator->source = loop_remove(allocator->source);
        allocator->death = loop_remove(allocator->death);
        if (allocator->socket_fd >= 0) {
                close(allocator->socket_fd);
                waitpid(allocator->process, NULL, 0);
        }
        if (allocator->pidfd >= 0)
                close(allocator->pidfd);
        allocator->socket_fd = allocator->pidfd = -1;
}

/* When the process is gone, none of its allocations will be reported any more. */
static void allocator_on_death(void *userdata, uint32_t events) {
        struct allocator *allocator = userdata;
        struct allocation *allocation, *next;
        int r;

        (void)events;
        log_line(LOG_WARNING, "the process that allocates memory has ended; starting another");
        allocator_let_go(allocator);
        r = allocator_begin(allocator);
        DL_FOREACH_SAFE(allocator->running, allocation, next) {
                DL_DELETE(allocator->running, allocation);
                allocator->n_running--;
                allocation->turn->running--;
                allocation_end(allocation, allocation->cancelled ? -ECANCELED : -ENOSPC, 0);
        }
        if (r < 0)
                log_line(LOG_ERR, "cannot start a process that allocates memory: %s",
                         errno_text(-r));
        allocator_advance(allocator);
}

/* Public functions */

static struct allocator_order order_of(struct allocator *allocator,
                                       const struct allocation_request *request) {
        if (++allocator->next_id == 0)
                allocator->next_id = 1;
        return (struct allocator_order){
                .id = allocator->next_id,
                .offset = request->offset,
                .length = request->length,
                .mode = request->mode,
                .pid = request->pid,
                .zero = request->zero,
                .huge = request->huge,
        };
}

int allocation_new(struct allocation **out, struct allocator *allocator,
                   const struct allocation_request *request, allocation_fn done, void *userdata) {
        struct turn *turn = fault_strikes(FAULT_MEMORY) ? NULL : turn_get(allocator, request->uid);
        struct allocation *allocation = turn ? calloc(1, sizeof(*allocation)) : NULL;
        int fd = -1;

        if (!turn)
                return -ENOMEM;
        /* A duplicate belongs to the same open file, so that a lease probe does not count it. */
        if (allocation && turn->waiting < USER_WAITING_MAX && !fault_strikes(FAULT_DUP))
                fd = fcntl(request->fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0) {
                int r = allocation ? -ENOSPC : -ENOMEM;

                free(allocation);
                turn_put(allocator, turn);
                return r;
        }
        *allocation = (struct allocation){
                .allocator = allocator,
                .turn = turn,
                .order = order_of(allocator, request),
                .fd = fd,
                .done = done,
                .userdata = userdata,
        };
        turn->waiting++;
        *out = allocation;
        return 0;
}

struct allocation *allocation_free(struct allocation *allocation) {
        if (!allocation)
                return NULL;
        close(allocation->fd);
        allocation->turn->waiting--;
        turn_put(allocation->allocator, allocation->turn);
        free(allocation);
        return NULL;
}

void allocation_begin(struct allocation *allocation) {
        DL_APPEND(allocation->turn->queue, allocation);
        /* In the loop's next turn, because done() must not be called from here. */
        loop_arm_soon(allocation->allocator->timer);
}

void allocation_cancel(struct allocation *allocation) {
        allocation->cancelled = true;
        allocation->allocator->cancelling = true;
        loop_arm_soon(allocation->allocator->timer);
}

/* Signals */

void allocation_signalled(struct allocation *allocation) {
        if (allocation->cancelled || allocation->prev_signalled)
                return;
        if (process_is_dying(allocation->order.pid))
                allocation_cancel(allocation);
        else
                signalled_add(allocation);
}

static void allocator_on_signals(void *userdata, uint32_t events) {
        struct allocator *allocator = userdata;
        struct allocation *last, *allocation;

        (void)events;
        last = allocator->signalled ? allocator->signalled->prev_signalled : NULL;
        for (int i = 0; i < SIGNALS_PER_TURN && allocator->signalled; i++) {
                allocation = allocator->signalled;
                signalled_remove(allocation);
                allocation_signalled(allocation);
                if (allocation == last)
                        break;
        }
}

int allocator_new(struct allocator **out, struct loop *loop) {
        struct allocator *allocator = calloc(1, sizeof(*allocator));
        int r;

        if (!allocator)
                return -ENOMEM;
        allocator->loop = loop;
        allocator->socket_fd = allocator->pidfd = -1;
        r = users_new(&allocator->users, sizeof(struct turn));
        if (r == 0)
                r = allocator_begin(allocator);
        if (r >= 0)
                r = loop_add_timer(loop, &allocator->timer, allocator_on_timer, allocator);
        if (r >= 0)
                r = loop_add_timer(loop, &allocator->signals, allocator_on_signals, allocator);
        if (r < 0) {
                allocator_free(allocator);
                return r;
        }
        *out = allocator;
        return 0;
}

static void allocations_free(struct allocation **list) {
        struct allocation *allocation, *next;

        DL_FOREACH_SAFE(*list, allocation, next) {
                DL_DELETE(*list, allocation);
                if (allocation->fd >= 0)
                        close(allocation->fd);
                free(allocation);
        }
}

struct allocator *allocator_free(struct allocator *allocator) {
        struct turn *turn, *next;

        if (!allocator)
                return NULL;
        allocations_free(&allocator->running);
        DL_FOREACH_SAFE(allocator->turns, turn, next) {
                allocations_free(&turn->queue);
                DL_DELETE(allocator->turns, turn);
        }
        users_free(allocator->users);
        loop_remove(allocator->timer);
        loop_remove(allocator->signals);
        allocator_let_go(allocator);
        free(allocator);
        return NULL;
}
