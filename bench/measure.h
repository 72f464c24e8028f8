/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * measure: the frame that every workload runs in.
 *
 * A workload is three small functions and a unit.  The frame starts the clients as processes, lets
 * them prepare, starts them together, repeats the step until the time is over, and prints one
 * number.  What is untimed is put between run_pause() and run_resume(); a workload that takes its
 * own time adds it to run->own_ns.
 *
 * Never: compares; bench/run does.  Any failure ends the program with a line on stderr.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { PAGE = 4096 };

/* What the command line asks for. */
struct request {
        const char *dir;   /* where regions are files; NULL: bare memfds */
        bool ctl;          /* regions are made by commands to .ctl/create, not by open(2) */
        const char *flags; /* for those commands: populate, huge, … */
        const char *via;   /* transport, for the workloads that know several */
        uint64_t size;     /* bytes of a region, of a message */
        uint64_t block;    /* bytes of one read or write */
        uint64_t skew;     /* bytes by which those miss their alignment */
        unsigned count;    /* files that are in dir already: f0, f1, … */
        unsigned clients;
        unsigned ms; /* how long to repeat the step */
};

/* One client. */
struct run {
        const struct request *request;
        unsigned client;

        uint64_t work;   /* done so far, in the workload's unit */
        uint64_t own_ns; /* time taken by the workload's own clock; 0: the frame's counts */
        uint64_t paused_ns, paused_at;

        int fd, other_fd;
        char *map;
        char *buffer;
        char path[PATH_MAX], other_path[PATH_MAX];
        uint64_t random, position;
        pid_t peer;             /* the other process of a pair */
        struct control *shared; /* between the two */
        void *private;
};

struct workload {
        const char *name;
        const char *unit; /* what one unit of work is: the number is ns per unit, or GB/s for "B" */
        void (*prepare)(struct run *run);
        void (*step)(struct run *run);
        void (*finish)(struct run *run);
};

/* For lookups of a server that does nothing else: in floor.c. */
void floor_prepare(struct run *run);

/* The tables; each ends with an entry without name. */
extern const struct workload memory_workloads[];
extern const struct workload file_workloads[];
extern const struct workload handover_workloads[];

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_ns(void);
void run_pause(struct run *run);
void run_resume(struct run *run);

/* A fresh name in the peer's directory, to path. */
void run_name(struct run *run, char path[PATH_MAX]);
/* A region of request->size bytes, made the way that is measured: run->path and run->fd. */
void region_make(struct run *run);
/* The same with the name that is in run->path. */
void region_make_named(struct run *run);
void region_map(struct run *run);
/* Unmaps, closes and removes. */
void region_drop(struct run *run);

uint64_t random_next(struct run *run);
/* Zeroed memory that forked processes share. */
void *shared_pages(size_t size);

void futex_wait(uint32_t *word, uint32_t while_value);
void futex_wake(uint32_t *word);
