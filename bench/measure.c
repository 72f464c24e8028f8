/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 64, BATCH_NS = 200 * 1000 };

/* What the clients tell the process that started them. */
struct board {
        atomic_uint ready;
        atomic_bool go;
        struct {
                uint64_t work, ns;
        } result[CLIENTS_MAX];
};

void fail(const char *format, ...) {
        int error = errno;
        va_list list;

        va_start(list, format);
        vfprintf(stderr, format, list);
        va_end(list);
        fprintf(stderr, ": %s\n", strerror(error));
        exit(1);
}

uint64_t now_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void run_pause(struct run *run) {
        run->paused_at = now_ns();
}

void run_resume(struct run *run) {
        run->paused_ns += now_ns() - run->paused_at;
}

uint64_t random_next(struct run *run) {
        run->random ^= run->random << 13;
        run->random ^= run->random >> 7;
        run->random ^= run->random << 17;
        return run->random;
}

void *shared_pages(size_t size) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        if (p == MAP_FAILED)
                fail("mmap of shared pages");
        return p;
}

void futex_wait(uint32_t *word, uint32_t while_value) {
        while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == while_value)
                syscall(SYS_futex, word, FUTEX_WAIT, while_value, NULL, NULL, 0);
}

void futex_wake(uint32_t *word) {
        syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void run_name(struct run *run, char path[PATH_MAX]) {
        static unsigned int n;

        if (snprintf(path, PATH_MAX, "%s/t%d-%u", run->request->dir, getpid(), n++) >= PATH_MAX)
                fail("name too long");
}

static void command_create(struct run *run) {
        const char *name = strrchr(run->path, '/') + 1;
        char line[PATH_MAX];
        int length;

        if (run->other_fd < 0) {
                snprintf(line, sizeof(line), "%s/.ctl/create", run->request->dir);
                run->other_fd = open(line, O_WRONLY | O_CLOEXEC);
                if (run->other_fd < 0)
                        fail("open %s", line);
        }
        length = snprintf(line, sizeof(line), "%s %lu %s\n", name, run->request->size,
                          run->request->flags);
        if (write(run->other_fd, line, (size_t)length) != length)
                fail("create %s", name);
}

void region_make(struct run *run) {
        if (run->request->dir)
                run_name(run, run->path);
        region_make_named(run);
}

void region_make_named(struct run *run) {
        const struct request *request = run->request;

        if (!request->dir) {
                run->fd = memfd_create("bench", MFD_CLOEXEC);
        } else {
                if (request->ctl)
                        command_create(run);
                run->fd = open(run->path,
                               O_RDWR | O_CLOEXEC | (request->ctl ? 0 : O_CREAT | O_EXCL), 0600);
        }
        if (run->fd < 0)
                fail("open %s", request->dir ? run->path : "memfd");
        if (!request->ctl && ftruncate(run->fd, (off_t)request->size) < 0)
                fail("ftruncate");
}

void region_map(struct run *run) {
        run->map = mmap(NULL, run->request->size, PROT_READ | PROT_WRITE, MAP_SHARED, run->fd, 0);
        if (run->map == MAP_FAILED)
                fail("mmap");
}

void region_drop(struct run *run) {
        if (run->map)
                munmap(run->map, run->request->size);
        if (run->fd >= 0)
                close(run->fd);
        if (run->path[0])
                unlink(run->path);
        run->map = NULL;
        run->fd = -1;
        run->path[0] = '\0';
}

/* Repeats the step for the given time; the clock is looked at once a batch. */
static void repeat(struct run *run, const struct workload *workload, uint64_t ns) {
        uint64_t start = now_ns(), before = start, after;
        unsigned int batch = 1;

        do {
                for (unsigned int i = 0; i < batch; i++)
                        workload->step(run);
                after = now_ns();
                if (after - before < BATCH_NS)
                        batch *= 2;
                before = after;
        } while (after - start < ns);
}

static void client_main(struct board *board, const struct workload *workload, struct run *run) {
        uint64_t ns = run->request->ms * UINT64_C(1000000), start;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run->random = UINT64_C(0x9e3779b97f4a7c15) * (run->client + 1);
        run->fd = run->other_fd = -1;
        workload->prepare(run);
        repeat(run, workload, ns / 10);

        atomic_fetch_add(&board->ready, 1);
        while (!atomic_load(&board->go))
                sched_yield();
        run->work = run->own_ns = run->paused_ns = 0;
        start = now_ns();
        repeat(run, workload, ns);
        board->result[run->client].ns =
                run->own_ns ? run->own_ns : now_ns() - start - run->paused_ns;
        board->result[run->client].work = run->work;
        if (workload->finish)
                workload->finish(run);
        exit(0);
}

static void clients_start(struct board *board, const struct workload *workload,
                          const struct request *request) {
        struct run run = {.request = request};

        for (run.client = 0; run.client < request->clients; run.client++) {
                pid_t pid = fork();

                if (pid < 0)
                        fail("fork");
                if (pid == 0)
                        client_main(board, workload, &run);
        }
}

/* Lets the clients go when all are ready, and waits for their ends: false if one failed. */
static bool clients_wait(struct board *board, unsigned int n) {
        bool good = true;
        int status;

        for (unsigned int left = n; left > 0;) {
                pid_t pid = waitpid(-1, &status, atomic_load(&board->go) ? 0 : WNOHANG);

                if (pid > 0) {
                        left--;
                        if (WIFSIGNALED(status))
                                fprintf(stderr, "ended by a signal: %s\n",
                                        strsignal(WTERMSIG(status)));
                        good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
                        if (!good)
                                atomic_store(&board->go, true);
                }
                if (atomic_load(&board->ready) == n)
                        atomic_store(&board->go, true);
                else if (pid == 0)
                        usleep(200);
        }
        return good;
}

static void print(const struct board *board, const struct workload *workload, unsigned int n) {
        uint64_t work = 0, ns = 0;

        for (unsigned int i = 0; i < n; i++) {
                work += board->result[i].work;
                if (board->result[i].ns > ns)
                        ns = board->result[i].ns;
        }
        if (strcmp(workload->unit, "B") == 0)
                printf("%.6g\n", (double)work / (double)ns);
        else
                printf("%.6g\n", (double)ns / (double)(work ? work : 1));
}

static const struct workload *const tables[] = {memory_workloads, file_workloads,
                                                handover_workloads};

static const struct workload *workload_find(const char *name) {
        for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
                for (const struct workload *w = tables[i]; w->name; w++)
                        if (strcmp(w->name, name) == 0)
                                return w;
        return NULL;
}

static void list(void) {
        for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
                for (const struct workload *w = tables[i]; w->name; w++)
                        printf("%s %s\n", w->name, strcmp(w->unit, "B") == 0 ? "GB/s" : w->unit);
}

static void request_parse(struct request *request, int argc, char **argv) {
        static const struct option options[] = {
                {"dir", required_argument, NULL, 'd'},
                {"ctl", no_argument, NULL, 'c'},
                {"flags", required_argument, NULL, 'f'},
                {"via", required_argument, NULL, 'v'},
                {"size", required_argument, NULL, 's'},
                {"block", required_argument, NULL, 'b'},
                {"skew", required_argument, NULL, 'k'},
                {"count", required_argument, NULL, 'n'},
                {"clients", required_argument, NULL, 'p'},
                {"ms", required_argument, NULL, 't'},
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                switch (c) {
                case 'd':
                        request->dir = optarg;
                        break;
                case 'c':
                        request->ctl = true;
                        break;
                case 'f':
                        request->flags = optarg;
                        break;
                case 'v':
                        request->via = optarg;
                        break;
                case 's':
                        request->size = strtoull(optarg, NULL, 0);
                        break;
                case 'b':
                        request->block = strtoull(optarg, NULL, 0);
                        break;
                case 'k':
                        request->skew = strtoull(optarg, NULL, 0);
                        break;
                case 'n':
                        request->count = (unsigned int)strtoul(optarg, NULL, 0);
                        break;
                case 'p':
                        request->clients = (unsigned int)strtoul(optarg, NULL, 0);
                        break;
                case 't':
                        request->ms = (unsigned int)strtoul(optarg, NULL, 0);
                        break;
                default:
                        exit(1);
                }
        }
}

int main(int argc, char **argv) {
        struct request request = {.flags = "", .via = "", .clients = 1, .ms = 100};
        const struct workload *workload;
        struct board *board;

        request_parse(&request, argc, argv);
        if (optind + 1 != argc) {
                list();
                return 1;
        }
        workload = workload_find(argv[optind]);
        if (!workload || request.clients == 0 || request.clients > CLIENTS_MAX) {
                errno = EINVAL;
                fail("%s", argv[optind]);
        }
        board = shared_pages(sizeof(*board));
        clients_start(board, workload, &request);
        if (!clients_wait(board, request.clients))
                return 1;
        print(board, workload, request.clients);
        return 0;
}
