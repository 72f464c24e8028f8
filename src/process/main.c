/* SPDX-License-Identifier: MIT */

/*
 * main: starts the daemon.
 *
 * Makes the journal and the mount, goes to the background, and becomes the keeper.  The process
 * that was started waits until the mount works; if it does not, it says why.
 *
 * Never: does anything later; keeper and worker do that.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/errno_text.h"
#include "process/keeper.h"
#include "records/layout.h"
#include "records/layout_steps.h"
#include "socket/listener.h"
#include "base/log.h"
#include "process/mount.h"
#include "process/mount_namespace.h"
#include "process/options.h"
#include "process/store.h"
#include "process/wakeup.h"

enum { MOST_DESCRIPTORS = 2 * 1024 * 1024 }; /* there are records for about half as many */

static int main_complain(const char *what, int error) {
        fprintf(stderr, "iomemfs: %s: %s\n", what, errno_text(error));
        return MOUNT_SYSTEM;
}

static uint64_t main_round_to_page(uint64_t bytes) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

        return (bytes + page - 1) / page * page;
}

static void main_copy(char *out, size_t size, const char *text) {
        snprintf(out, size, "%s", text);
}

/* Stores the options in the root record, which outlives this process.  0 or negative errno. */
static int main_fill_settings(struct settings *settings, const struct options *options) {
        ssize_t length = readlink("/proc/self/exe", settings->program, PATH_MAX - 1);

        if (length < 0)
                return -errno;
        settings->program[length] = '\0';
        main_copy(settings->mountpoint, sizeof(settings->mountpoint), options->mountpoint);
        main_copy(settings->source, sizeof(settings->source), options->source);
        if (!options_socket_path(options, settings->socket, sizeof(settings->socket)))
                settings->socket[0] = '\0';
        settings->foreground = options->foreground;
        settings->verbose = options->verbose;
        settings->owner = geteuid();
        settings->spin_us = options->spin_us;
        settings->size =
                main_round_to_page(options->has_size ? options->size : options_default_size());
        settings->nr_inodes =
                options->has_nr_inodes ? options->nr_inodes : options_default_nr_inodes();
        settings->grace_s = options->grace_s;
        settings->huge = options->huge;
        settings->atime = options->mount_flags & MS_NOATIME ? ATIME_NONE
                          : options->strict_atime           ? ATIME_STRICT
                                                            : ATIME_RELATIVE;
        settings->xattr = options->xattr;
        settings->acl = options->acl;
        settings->keep = store_works();
        settings->read_only = (options->mount_flags & MS_RDONLY) != 0;
        main_copy(settings->ctl_name, sizeof(settings->ctl_name), options->ctl);
        settings->limits = options->limits;
        settings->want_passthrough = options->passthrough;
        settings->root_mode = options->mode;
        settings->root_uid = options->uid;
        settings->root_gid = options->gid;
        return 0;
}

static void main_open_wakeup(struct root *root, const struct options *options) {
        wakeup_open(&root->wakeup, options->spin_us ? options->latency : LATENCY_NORMAL,
                    wakeup_processors(), &wakeup_paths);
}

static int main_fill_root(struct root *root, const struct options *options) {
        root->fuse_fd = -1;
        root->listen_fd = -1;
        root->closes_fd = -1;
        main_open_wakeup(root, options);
        root->log_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return main_fill_settings(&root->settings, options);
}

static void main_log_setup(const struct root *root) {
        log_setup(root->log_fd, root->settings.foreground, root->settings.verbose);
}

/* The most descriptors that the system gives to one process. */
static rlim_t main_most_descriptors(void) {
        FILE *file = fopen("/proc/sys/fs/nr_open", "re");
        unsigned long most = 0;

        if (file && fscanf(file, "%lu", &most) != 1)
                most = 0;
        if (file)
                fclose(file);
        return most < MOST_DESCRIPTORS ? most : MOST_DESCRIPTORS;
}

/* Each region that a command makes needs a descriptor. */
static void main_raise_limits(void) {
        rlim_t most = main_most_descriptors();
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        /* Above the hard limit takes CAP_SYS_RESOURCE. */
        if (most > limit.rlim_max && setrlimit(RLIMIT_NOFILE, &(struct rlimit){most, most}) == 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/*
 * Opens the socket.  If it fails: a socket that the user asked for is an error; without the default
 * one, the mount goes on.
 */
static int main_listen(struct root *root, const struct options *options) {
        char *path = root->settings.socket;

        if (!path[0])
                return 0;
        root->listen_fd = listener_open(path, options->socket == NULL, &root->socket_file);
        if (root->listen_fd >= 0)
                return 0;
        if (options->socket)
                return main_complain(path, -root->listen_fd);
        log_line(LOG_WARNING, "no socket: %s: %s", path, errno_text(-root->listen_fd));
        root->listen_fd = -1;
        path[0] = '\0';
        return 0;
}

/* Mounts and becomes the keeper.  ready_fd: as in keeper.h. */
static int main_serve(const struct options *options, int ready_fd) {
        struct journal *journal;
        int r = journal_create(&journal, layout_spec());

        if (r < 0)
                return main_complain("records", -r);
        struct root *root = journal_root(journal);
        r = main_fill_root(root, options);
        if (r < 0) {
                journal_free(journal);
                return main_complain("/proc/self/exe", -r);
        }
        main_log_setup(root);
        if (main_listen(root, options) != 0) {
                journal_free(journal);
                return MOUNT_FAILED;
        }
        root->fuse_fd = mount_attach(options);
        if (root->fuse_fd < 0) {
                listener_remove(root->settings.socket, &root->socket_file);
                journal_free(journal);
                return MOUNT_FAILED;
        }
        root->mount_device = mount_device(options->mountpoint, root->fuse_fd);
        root->home = mount_namespace_leave(root->mount_device, root->settings.socket);
        int status = keeper_run(journal, ready_fd);
        journal_free(journal);
        return status == MOUNT_OK ? MOUNT_OK : MOUNT_FAILED;
}

/* Detaches the daemon from the terminal; stderr stays until the mount works (log_detach()). */
static void main_leave_terminal(void) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        setsid();
        if (null >= 0) {
                dup2(null, STDIN_FILENO);
                dup2(null, STDOUT_FILENO);
                if (null > STDERR_FILENO)
                        close(null);
        }
}

/* Waits until the daemon says that the mount works, or ends. */
static int main_await(pid_t daemon, int ready_fd) {
        char byte;
        ssize_t length;
        int status;

        do
                length = read(ready_fd, &byte, 1);
        while (length < 0 && errno == EINTR);
        if (length == 1)
                return MOUNT_OK;
        while (waitpid(daemon, &status, 0) < 0) {
                if (errno != EINTR)
                        return MOUNT_SYSTEM;
        }
        if (WIFEXITED(status))
                return WEXITSTATUS(status) ? WEXITSTATUS(status) : MOUNT_FAILED;
        fprintf(stderr, "iomemfs: the daemon was killed by signal %d\n", WTERMSIG(status));
        return MOUNT_FAILED;
}

static int main_background(const struct options *options) {
        int ready[2];

        if (pipe2(ready, O_CLOEXEC) < 0)
                return main_complain("pipe", errno);
        pid_t daemon = fork();
        if (daemon < 0)
                return main_complain("fork", errno);
        if (daemon == 0) {
                close(ready[0]);
                main_leave_terminal();
                return main_serve(options, ready[1]);
        }
        close(ready[1]);
        int status = main_await(daemon, ready[0]);
        close(ready[0]);
        return status;
}

/* `--resume FD`: the worker outlived its keeper, or the program was replaced. */
static int main_resume(const struct options *options) {
        struct journal *journal;
        int r = journal_attach(&journal, options->resume_fd, layout_spec());

        if (r < 0)
                return main_complain("taking over the records", -r);
        main_log_setup(journal_root(journal));
        int status = keeper_run(journal, -1);
        journal_free(journal);
        return status;
}

/* `--convert`: the program that serves lets us convert its records before it gives them to us. */
static int main_convert(void) {
        int r = layout_take_over(STDIN_FILENO);

        return r < 0 ? main_complain("converting the records", -r) : MOUNT_OK;
}

/* All processes of the daemon have died, or were stopped; the service manager has kept the mount. */
static int main_revive(const struct options *options, struct stored *stored) {
        struct journal *journal;
        struct root *root;
        int r = layout_take_over(stored->records);

        if (r == 0)
                r = journal_attach(&journal, stored->records, layout_spec());
        if (r == 0)
                r = store_revive(journal, stored);
        if (r < 0)
                return main_complain("continuing with what the service manager has kept", -r);
        root = journal_root(journal);
        main_open_wakeup(root, options);
        log_line(LOG_WARNING, "continuing with the mount on %s that the service manager has kept",
                 root->settings.mountpoint);
        int status = keeper_run(journal, -1);
        journal_free(journal);
        return status;
}

/* For every process that is to be a keeper.  0 or an exit status. */
static int main_prepare(void) {
        main_raise_limits();
        umask(0);
        signal(SIGPIPE, SIG_IGN);
        return chdir("/") < 0 ? main_complain("/", errno) : 0;
}

static int main_mount(struct options *options) {
        struct stored stored;

        /* Before anything that looks at the mount point: nobody would answer. */
        store_take(&stored);
        if (mount_is_new(options) && stored_is_alive(&stored))
                return main_prepare() ? MOUNT_SYSTEM : main_revive(options, &stored);
        stored_close(&stored);
        if (mount_check(options) < 0)
                return MOUNT_FAILED;
        if (options->fake)
                return MOUNT_OK;
        if (options->upgrade)
                return mount_upgrade(options);
        if (options->remount)
                return mount_remount(options);
        if (mount_is_iomemfs(options->mountpoint)) {
                fprintf(stderr, "iomemfs: %s: already mounted\n", options->mountpoint);
                return MOUNT_FAILED;
        }
        if (main_prepare() != 0)
                return MOUNT_SYSTEM;
        return options->foreground ? main_serve(options, -1) : main_background(options);
}

/* If this process was started with descriptors 0 to 2 closed, none of ours may get these
 * numbers. */
static void main_fill_standard_descriptors(void) {
        int fd;

        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd >= 0)
                close(fd);
}

static int main_print(const struct options *options) {
        if (options->help)
                options_usage();
        else if (options->version)
                printf("iomemfs %s\n", IOMEMFS_VERSION);
        else
                layout_print();
        return fflush(stdout) == 0 ? MOUNT_OK : MOUNT_SYSTEM;
}

int main(int argc, char **argv) {
        struct options options;
        int status;

        main_fill_standard_descriptors();
        if (options_parse(&options, argc, argv) < 0)
                return MOUNT_USAGE;
        if (options.help || options.version || options.layout)
                status = main_print(&options);
        else if (options.convert)
                status = main_convert();
        else if (options.resume_fd >= 0)
                status = main_resume(&options);
        else
                status = main_mount(&options);
        options_clear(&options);
        return status;
}
