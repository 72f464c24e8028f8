/* SPDX-License-Identifier: MIT */

/*
 * inline_allocator: memory/allocator.h without processes, for a fuzz target in place of
 * memory/allocator.c.  An allocation is made on the loop, at its next turn, and then reported.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>
#include "memory/allocator.h"

enum { MOST = 64 * 1024 * 1024 }; /* bytes that an input may have made at a time */

struct allocation {
        struct allocator *allocator;
        struct allocation_request request;
        bool cancelled;
        allocation_fn done;
        void *userdata;
        struct allocation *prev, *next;
};

struct allocator {
        struct loop_source *turn;
        struct allocation *waiting;
};

static int allocation_make(const struct allocation *allocation) {
        const struct allocation_request *request = &allocation->request;

        if (allocation->cancelled)
                return -ECANCELED;
        if (request->length > MOST)
                return -ENOSPC;
        return fallocate(request->fd, request->mode, (off_t)request->offset,
                         (off_t)request->length) < 0
                       ? -errno
                       : 0;
}

static void allocator_on_turn(void *userdata, uint32_t events) {
        struct allocator *allocator = userdata;
        struct allocation *allocation;

        (void)events;
        while ((allocation = allocator->waiting)) {
                int r = allocation_make(allocation);

                DL_DELETE(allocator->waiting, allocation);
                allocation->done(allocation->userdata, r, 0);
                allocation_free(allocation);
        }
}

int allocator_new(struct allocator **out, struct loop *loop) {
        struct allocator *allocator = calloc(1, sizeof(*allocator));
        int r;

        if (!allocator)
                return -ENOMEM;
        r = loop_add_timer(loop, &allocator->turn, allocator_on_turn, allocator);
        if (r < 0) {
                free(allocator);
                return r;
        }
        *out = allocator;
        return 0;
}

struct allocator *allocator_free(struct allocator *allocator) {
        struct allocation *allocation, *next;

        if (!allocator)
                return NULL;
        DL_FOREACH_SAFE(allocator->waiting, allocation, next)
        allocation_free(allocation);
        loop_remove(allocator->turn);
        free(allocator);
        return NULL;
}

int allocation_new(struct allocation **out, struct allocator *allocator,
                   const struct allocation_request *request, allocation_fn done, void *userdata) {
        struct allocation *allocation = calloc(1, sizeof(*allocation));

        if (!allocation)
                return -ENOMEM;
        *allocation = (struct allocation){
                .allocator = allocator,
                .request = *request,
                .done = done,
                .userdata = userdata,
        };
        allocation->request.fd = fcntl(request->fd, F_DUPFD_CLOEXEC, 3);
        if (allocation->request.fd < 0) {
                free(allocation);
                return -ENOSPC;
        }
        *out = allocation;
        return 0;
}

struct allocation *allocation_free(struct allocation *allocation) {
        if (!allocation)
                return NULL;
        close(allocation->request.fd);
        free(allocation);
        return NULL;
}

void allocation_begin(struct allocation *allocation) {
        DL_APPEND(allocation->allocator->waiting, allocation);
        loop_arm_soon(allocation->allocator->turn);
}

void allocation_cancel(struct allocation *allocation) {
        allocation->cancelled = true;
}

void allocation_signalled(struct allocation *allocation) {
        allocation->cancelled = true;
}
