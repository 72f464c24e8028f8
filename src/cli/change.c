/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"
#include "progress.h"

/* create, resize, seal, rm, wait and exec. */

enum { OPTION_FIXED = 256, OPTION_EPHEMERAL, OPTION_POPULATE, OPTION_HUGE, OPTION_OWNER };

/* 0, or an exit status after a message. */
static int parse_mode(const char *text, int *out) {
        char *end;
        long mode = strtol(text, &end, 8);

        if (text[0] < '0' || text[0] > '7' || *end || mode > 0777)
                return cli_misuse("not an octal mode up to 0777: %s", text);
        *out = (int)mode;
        return 0;
}

/* 0, or an exit status after a message. */
static int parse_owner(const char *text, unsigned int *flags) {
        if (*flags & (IOMEM_OWNER_SERVICE | IOMEM_OWNER_CONTAINER))
                return cli_misuse("--owner is given twice");
        if (strcmp(text, "service") == 0)
                *flags |= IOMEM_OWNER_SERVICE;
        else if (strcmp(text, "container") == 0)
                *flags |= IOMEM_OWNER_CONTAINER;
        else if (strcmp(text, "process") == 0)
                return cli_misuse("the owner would be iomem itself, which ends at once: use "
                                  "service or container, or write to .ctl/create");
        else
                return cli_misuse("not service or container: %s", text);
        return 0;
}

struct creation {
        const char *name;
        uint64_t size;
        int mode;
        unsigned int flags;
};

/* 0, or an exit status after a message. */
static int parse_create_option(int option, struct creation *out) {
        if (option == '?')
                return cli_try_help();
        if (option == 'M')
                return parse_mode(optarg, &out->mode);
        if (option == OPTION_OWNER)
                return parse_owner(optarg, &out->flags);
        out->flags |= IOMEM_FIXED << (option - OPTION_FIXED);
        return 0;
}

/* 0, or an exit status after a message. */
static int parse_creation(struct creation *out, int argc, char **argv) {
        static const struct option options[] = {
                {"mode", required_argument, NULL, 'M'},
                {"fixed", no_argument, NULL, OPTION_FIXED},
                {"ephemeral", no_argument, NULL, OPTION_EPHEMERAL},
                {"populate", no_argument, NULL, OPTION_POPULATE},
                {"huge", no_argument, NULL, OPTION_HUGE},
                {"owner", required_argument, NULL, OPTION_OWNER},
                {NULL, 0, NULL, 0},
        };
        int option, r = 0;

        *out = (struct creation){.mode = -1};
        while (r == 0 && (option = cli_getopt(argc, argv, "M:", options)) != -1)
                r = parse_create_option(option, out);
        if (r != 0)
                return r;
        if (argc - optind != 2)
                return cli_misuse("create needs a name and a size");
        out->name = argv[optind];
        return cli_parse_size(argv[optind + 1], &out->size);
}

int cli_create(int argc, char **argv) {
        struct iomem_connection *connection;
        struct creation creation;
        const char *name;
        int fd, r;

        r = parse_creation(&creation, argc, argv);
        if (r == 0)
                r = cli_connect(&connection, creation.name, &name);
        if (r != 0)
                return r;
        progress_begin(creation.name);
        /* One for writing would keep the region from being sealed later. */
        fd = iomem_create(connection, name, creation.size, creation.mode,
                          creation.flags | IOMEM_READ_ONLY);
        progress_end();
        iomem_disconnect(connection);
        if (fd < 0)
                return cli_fail_iomem(fd);
        close(fd);
        return EXIT_SUCCESS;
}

/* For commands without options of their own.  0, or an exit status. */
static int no_options(int argc, char **argv) {
        static const struct option options[] = {{NULL, 0, NULL, 0}};

        return cli_getopt(argc, argv, "", options) == -1 ? 0 : cli_try_help();
}

/* Says who is in the way of a smaller size, as far as this user may see that. */
static int resize_refused(int error, const char *argument) {
        int status = cli_fail_iomem(error);

        if (error != -EBUSY)
                return status;
        cli_fail("its users would get SIGBUS beyond the new size; --force shrinks it all the same");
        cli_who_complain(argument);
        return status;
}

int cli_resize(int argc, char **argv) {
        static const struct option options[] = {
                {"force", no_argument, NULL, 'f'},
                {NULL, 0, NULL, 0},
        };
        struct iomem_connection *connection;
        bool force = false;
        const char *name;
        uint64_t size;
        int option, r;

        while ((option = cli_getopt(argc, argv, "f", options)) != -1) {
                if (option != 'f')
                        return cli_try_help();
                force = true;
        }
        if (argc - optind != 2)
                return cli_misuse("resize needs a name and a size");
        r = cli_parse_size(argv[optind + 1], &size);
        if (r == 0)
                r = cli_connect(&connection, argv[optind], &name);
        if (r != 0)
                return r;
        r = force ? iomem_resize(connection, name, size)
                  : iomem_resize_unused(connection, name, size);
        iomem_disconnect(connection);
        return r < 0 ? resize_refused(r, argv[optind]) : EXIT_SUCCESS;
}

int cli_seal(int argc, char **argv) {
        struct iomem_connection *connection;
        const char *name;
        uint32_t seals;
        int r = no_options(argc, argv);

        if (r != 0)
                return r;
        if (argc - optind != 2)
                return cli_misuse("seal needs a name and seals");
        if (!cli_parse_seals(argv[optind + 1], &seals))
                return cli_misuse("not a list of shrink, grow, write: %s", argv[optind + 1]);
        r = cli_connect(&connection, argv[optind], &name);
        if (r != 0)
                return r;
        r = iomem_seal(connection, name, seals);
        iomem_disconnect(connection);
        return r < 0 ? cli_fail_iomem(r) : EXIT_SUCCESS;
}

static int remove_one(const char *argument) {
        struct iomem_connection *connection;
        const char *name;
        int r = cli_connect(&connection, argument, &name);

        if (r != 0)
                return r;
        r = iomem_remove(connection, name);
        iomem_disconnect(connection);
        return r < 0 ? cli_fail_iomem(r) : EXIT_SUCCESS;
}

int cli_rm(int argc, char **argv) {
        int status = no_options(argc, argv);

        if (status != 0)
                return status;
        if (optind == argc)
                return cli_misuse("rm needs a name");
        for (int i = optind; i < argc; i++) {
                int r = remove_one(argv[i]);

                status = r ? r : status;
        }
        return status;
}

/* Converts seconds with decimals to milliseconds. */
static bool parse_seconds(const char *text, int *out) {
        char *end;
        double seconds = strtod(text, &end);

        if (text[0] < '0' || text[0] > '9' || *end || seconds > INT_MAX / 1000)
                return false;
        *out = (int)(seconds * 1000);
        return true;
}

static int wait_for_one(const char *argument, int timeout) {
        struct iomem_connection *connection;
        const char *name;
        int r = cli_connect(&connection, argument, &name);

        if (r != 0)
                return r;
        r = iomem_wait(connection, name, timeout);
        iomem_disconnect(connection);
        return r < 0 ? cli_fail_iomem(r) : EXIT_SUCCESS;
}

int cli_wait(int argc, char **argv) {
        static const struct option options[] = {
                {"timeout", required_argument, NULL, 't'},
                {NULL, 0, NULL, 0},
        };
        int option, timeout = -1, r = 0;

        while ((option = cli_getopt(argc, argv, "t:", options)) != -1) {
                if (option == '?')
                        return cli_try_help();
                if (!parse_seconds(optarg, &timeout))
                        return cli_misuse("not a time in seconds: %s", optarg);
        }
        if (optind == argc)
                return cli_misuse("wait needs a name");
        for (int i = optind; i < argc && r == 0; i++)
                r = wait_for_one(argv[i], timeout);
        return r;
}

static void set_number(const char *name, uint64_t number) {
        char text[32];

        snprintf(text, sizeof(text), "%" PRIu64, number);
        setenv(name, text, 1);
}

static int run(int fd, char **argv) {
        set_number("IOMEM_FD", (uint64_t)fd);
        if (fcntl(fd, F_SETFD, 0) < 0)
                return cli_fail_errno(-errno, "descriptor");
        execvp(argv[0], argv);
        int status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
        cli_fail_errno(-errno, argv[0]);
        return status;
}

int cli_exec(int argc, char **argv) {
        static const struct option options[] = {
                {"read-only", no_argument, NULL, 'r'},
                {NULL, 0, NULL, 0},
        };
        int option, access = IOMEM_WRITE, fd, r;
        struct iomem_connection *connection;
        const char *name;

        /* +: options after the name belong to the command */
        while ((option = cli_getopt(argc, argv, "+r", options)) != -1) {
                if (option != 'r')
                        return cli_try_help();
                access = IOMEM_READ;
        }
        if (optind == argc)
                return cli_misuse("exec needs a name and a command");
        r = cli_connect(&connection, argv[optind++], &name);
        if (r != 0)
                return r;
        if (optind < argc && strcmp(argv[optind], "--") == 0)
                optind++;
        if (optind == argc) {
                iomem_disconnect(connection);
                return cli_misuse("exec needs a command");
        }
        fd = iomem_open(connection, name, access);
        iomem_disconnect(connection);
        return fd < 0 ? cli_fail_iomem(fd) : run(fd, argv + optind);
}
