/* SPDX-License-Identifier: MIT */
#include "control/metrics.h"

#include <inttypes.h>
#include <limits.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/words.h"
#include "memory/descriptor.h"

/* Names of the kernel's FUSE requests by opcode; the protocol never reuses a number. */
static const char *const opcodes[64] = {
        [1] = "LOOKUP",       [2] = "FORGET",       [3] = "GETATTR",       [4] = "SETATTR",
        [5] = "READLINK",     [6] = "SYMLINK",      [8] = "MKNOD",         [9] = "MKDIR",
        [10] = "UNLINK",      [11] = "RMDIR",       [12] = "RENAME",       [13] = "LINK",
        [14] = "OPEN",        [15] = "READ",        [16] = "WRITE",        [17] = "STATFS",
        [18] = "RELEASE",     [20] = "FSYNC",       [21] = "SETXATTR",     [22] = "GETXATTR",
        [23] = "LISTXATTR",   [24] = "REMOVEXATTR", [25] = "FLUSH",        [26] = "INIT",
        [27] = "OPENDIR",     [28] = "READDIR",     [29] = "RELEASEDIR",   [30] = "FSYNCDIR",
        [31] = "GETLK",       [32] = "SETLK",       [33] = "SETLKW",       [34] = "ACCESS",
        [35] = "CREATE",      [36] = "INTERRUPT",   [37] = "BMAP",         [38] = "DESTROY",
        [39] = "IOCTL",       [40] = "POLL",        [42] = "BATCH_FORGET", [43] = "FALLOCATE",
        [44] = "READDIRPLUS", [45] = "RENAME2",     [46] = "LSEEK",        [47] = "COPY_FILE_RANGE",
        [50] = "SYNCFS",      [51] = "TMPFILE",     [52] = "STATX",
};

static void metric_head(FILE *stream, const char *name, const char *type, const char *help) {
        fprintf(stream, "# HELP iomemfs_%s %s\n# TYPE iomemfs_%s %s\n", name, help, name, type);
}

static void gauge(FILE *stream, const char *name, const char *help, uint64_t value) {
        metric_head(stream, name, "gauge", help);
        fprintf(stream, "iomemfs_%s %" PRIu64 "\n", name, value);
}

static void counter(FILE *stream, const char *name, const char *help, uint64_t value) {
        metric_head(stream, name, "counter", help);
        fprintf(stream, "iomemfs_%s %" PRIu64 "\n", name, value);
}

/* The requests for short wake-ups, as of now and not of the last update of the record. */
static void metrics_wakeup(FILE *stream, const struct wakeup *wakeup) {
        uint64_t held_ns = wakeup->held_ns;

        if (wakeup->held)
                held_ns += clock_ns() - wakeup->at;
        gauge(stream, "short_wakeups", "1 if short wake-ups are requested under load, else 0.",
              wakeup->fd >= 0);
        counter(stream, "short_wakeups_total", "Requests for short wake-ups.", wakeup->turns);
        metric_head(stream, "short_wakeups_seconds_total", "counter",
                    "Time that such a request was in force.");
        fprintf(stream, "iomemfs_short_wakeups_seconds_total %" PRIu64 ".%06" PRIu64 "\n",
                held_ns / 1000000000, held_ns / 1000 % 1000000);
}

static void metrics_requests(FILE *stream, const struct counters *counters) {
        uint64_t others = 0;

        metric_head(stream, "requests_total", "counter", "Requests of the kernel by FUSE opcode.");
        for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
                if (opcodes[i])
                        fprintf(stream, "iomemfs_requests_total{opcode=\"%s\"} %" PRIu64 "\n",
                                opcodes[i], counters->requests[i]);
                else
                        others += counters->requests[i];
        }
        fprintf(stream, "iomemfs_requests_total{opcode=\"OTHER\"} %" PRIu64 "\n", others);
}

/* The time from reading a request to its reply, in seconds. */
static void metrics_latency(FILE *stream, const struct counters *counters) {
        static const char *const bounds[LATENCY_BUCKETS] = {
                "1e-06",    "4e-06",    "1.6e-05",  "6.4e-05",  "0.000256", "0.001024",
                "0.004096", "0.016384", "0.065536", "0.262144", "+Inf"};
        uint64_t n = 0;

        metric_head(stream, "request_duration_seconds", "histogram",
                    "Time from reading a request of the kernel to its reply.");
        for (int i = 0; i < LATENCY_BUCKETS; i++) {
                n += counters->latency[i];
                fprintf(stream, "iomemfs_request_duration_seconds_bucket{le=\"%s\"} %" PRIu64 "\n",
                        bounds[i], n);
        }
        fprintf(stream, "iomemfs_request_duration_seconds_sum %" PRIu64 ".%09" PRIu64 "\n",
                counters->latency_ns / 1000000000, counters->latency_ns % 1000000000);
        fprintf(stream, "iomemfs_request_duration_seconds_count %" PRIu64 "\n", n);
}

static void metrics_counters(FILE *stream, const struct counters *counters) {
        metrics_requests(stream, counters);
        metrics_latency(stream, counters);
        counter(stream, "takeovers_total", "Workers that became the keeper after its death.",
                counters->takeovers);
        counter(stream, "revivals_total",
                "Starts after the death of all processes, with what the service manager had kept.",
                counters->revivals);
        counter(stream, "upgrades_total", "Times that the program was replaced.",
                counters->upgrades);
        counter(stream, "upgrades_refused_total", "Upgrades that were not made; see the log.",
                counters->upgrades_refused);
        counter(stream, "replayed_total", "Requests whose reply was sent again after a restart.",
                counters->replayed);
        counter(stream, "poisoned_total", "Requests that got EIO because two workers died in them.",
                counters->poisoned);
        counter(stream, "given_up_total",
                "Notifications given up because the kernel did not take them in time.",
                counters->given_up);
        counter(stream, "commands_total", "Commands run.", counters->commands);
        counter(stream, "command_errors_total", "Commands that failed.", counters->command_errors);
        counter(stream, "cut_back_total",
                "Regions cut back to the limit after growing without the daemon's knowledge.",
                counters->cut_back);
}

void metrics_common(FILE *stream, const struct tree *tree, struct regions *regions, uint32_t own) {
        const struct root *root = tree_root_record(tree);
        struct space space;

        quota_space(regions_quota(regions), LAYOUT_MOUNT_LIMIT, &space);
        metric_head(stream, "build_info", "gauge", "Version of the program and its records.");
        fprintf(stream, "iomemfs_build_info{version=\"%s\",layout=\"%d\"} 1\n", IOMEMFS_VERSION,
                LAYOUT_VERSION);
        gauge(stream, "passthrough", "1 if the kernel reaches the memory directly, else 0.",
              root->passthrough);
        gauge(stream, "size_bytes", "Limit of size=, 0 for none.", space.limit);
        gauge(stream, "used_bytes", "Bytes that files count for.", space.used);
        gauge(stream, "overcommitted_bytes",
              "Bytes that files have asked for and others have taken; df(1) does not show them.",
              space.over);
        gauge(stream, "inodes", "Files of any type.", tree_inodes(tree));
        gauge(stream, "inodes_max", "Limit of nr_inodes=, 0 for none.",
              limit_mount(tree_journal(tree))->nodes);
        gauge(stream, "own_ctl_handles", "Open files of .ctl of the user who reads this.", own);
        counter(stream, "restarts_total", "Restarts of the worker.", root->counters.restarts);
}

/* Limits of directories */

static const struct {
        const char *name, *help;
} limit_metrics[] = {
        {"limit_size_bytes", "Bytes that a directory with a limit may take, see df(1)."},
        {"limit_used_bytes", "Bytes that it takes."},
        {"limit_inodes_max", "Files that it may have."},
        {"limit_inodes", "Files that it has."},
};

bool metrics_limit_head(FILE *stream, unsigned int n) {
        if (n >= sizeof(limit_metrics) / sizeof(limit_metrics[0]))
                return false;
        if (stream)
                metric_head(stream, limit_metrics[n].name, "gauge", limit_metrics[n].help);
        return true;
}

/* The path is escaped as in a command, and then as a label. */
static void label_path(FILE *stream, const char *path, size_t length) {
        char escaped[4 * PATH_MAX + 1];

        length = words_escape(escaped, path, length);
        for (size_t i = 0; i < length; i++) {
                if (escaped[i] == '\\' || escaped[i] == '"')
                        fputc('\\', stream);
                fputc(escaped[i], stream);
        }
}

void metrics_limit(FILE *stream, unsigned int n, const struct journal *journal,
                   const struct limit *limit, const struct quota *quota, const char *path,
                   size_t length) {
        const struct limit *nodes = limit_of_nodes(journal, limit->id);
        struct space space;

        quota_space(quota, limit->id, &space);
        const uint64_t values[] = {space.limit, space.used, nodes->nodes, nodes->used_nodes};

        fprintf(stream, "iomemfs_%s{directory=\"", limit_metrics[n].name);
        label_path(stream, path, length);
        fprintf(stream, "\"} %" PRIu64 "\n", values[n]);
}

static void metrics_for_tests(FILE *stream, const struct metrics_work *work) {
        counter(stream, "test_records_total", "Records visited for listings and events.",
                work->records);
        gauge(stream, "test_turn_records_max", "The most of these in one turn of the loop.",
              work->most_records);
        counter(stream, "test_waiters_total", "Checks of readers that wait for events.",
                work->waiters);
}

void metrics_all(FILE *stream, const struct tree *tree, const uint64_t sums[4], uint32_t handles,
                 const struct metrics_work *work) {
        const struct root *root = tree_root_record(tree);

        gauge(stream, "regions", "Regions.", sums[METRICS_REGIONS]);
        gauge(stream, "open_handles", "Open files and directories.", sums[METRICS_OPENS]);
        gauge(stream, "ctl_handles", "Open files of .ctl.", handles);
        gauge(stream, "populating", "Regions that are being populated.", sums[METRICS_POPULATING]);
        gauge(stream, "populating_bytes", "Bytes of these regions that have no memory yet.",
              sums[METRICS_LACK]);
        gauge(stream, "descriptors_left", "Regions for which commands have descriptors left.",
              descriptor_left(tree_journal(tree)));
        gauge(stream, "owners", "Processes, control groups and containers that own regions.",
              journal_used(tree_journal(tree), TABLE_OWNER));
        metrics_counters(stream, &root->counters);
        metrics_wakeup(stream, &root->wakeup);
        metric_head(stream, "daemon_pid", "gauge", "Process ids.");
        fprintf(stream, "iomemfs_daemon_pid{role=\"worker\"} %d\n", (int)getpid());
        fprintf(stream, "iomemfs_daemon_pid{role=\"keeper\"} %d\n", (int)getppid());
        if (work)
                metrics_for_tests(stream, work);
}
