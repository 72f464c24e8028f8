/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"
#include "progress.h"

/* create, resize, seal, rm, wait and exec. */

enum { OPTION_FIXED = 256, OPTION_EPHEMERAL, OPTION_POPULATE, OPTION_HUGE };

static int parse_mode(const char *text, int *out) {
        char *end;
        long mode = strtol(text, &end, 8);

        if (text[0] < '0' || text[0] > '7' || *end || mode > 0777)
                return cli_misuse("not an octal mode up to 0777: %s", text);
        *out = (int)mode;
        return 0;
}

int cli_create(int argc, char **argv) {
        static const struct option options[] = {
                {"mode", required_argument, NULL, 'M'},
                {"fixed", no_argument, NULL, OPTION_FIXED},
                {"ephemeral", no_argument, NULL, OPTION_EPHEMERAL},
                {"populate", no_argument, NULL, OPTION_POPULATE},
                {"huge", no_argument, NULL, OPTION_HUGE},
                {NULL, 0, NULL, 0},
        };
        struct iomem_connection *connection;
        unsigned int flags = 0;
        int option, mode = -1, fd;
        const char *name;
        uint64_t size;

        while ((option = getopt_long(argc, argv, "M:", options, NULL)) != -1) {
                if (option == '?')
                        return cli_try_help();
                if (option != 'M')
                        flags |= IOMEM_FIXED << (option - OPTION_FIXED);
                else if (parse_mode(optarg, &mode) != 0)
                        return EXIT_FAILURE;
        }
        if (argc - optind != 2)
                return cli_misuse("create needs a name and a size");
        if (!cli_parse_size(argv[optind + 1], &size))
                return cli_misuse("not a size: %s", argv[optind + 1]);
        connection = cli_connect(argv[optind], &name);
        if (!connection)
                return EXIT_FAILURE;
        progress_begin(argv[optind]);
        /* One for writing would keep the region from being sealed later. */
        fd = iomem_create(connection, name, size, mode, flags | IOMEM_READ_ONLY);
        progress_end();
        iomem_disconnect(connection);
        if (fd < 0)
                return cli_fail_iomem();
        close(fd);
        return EXIT_SUCCESS;
}

/* For commands without options: accepts only --. */
static bool no_options(int argc, char **argv) {
        static const struct option options[] = {{NULL, 0, NULL, 0}};

        if (getopt_long(argc, argv, "", options, NULL) == -1)
                return true;
        cli_try_help();
        return false;
}

int cli_resize(int argc, char **argv) {
        struct iomem_connection *connection;
        const char *name;
        uint64_t size;
        int r;

        if (!no_options(argc, argv))
                return EXIT_FAILURE;
        if (argc - optind != 2)
                return cli_misuse("resize needs a name and a size");
        if (!cli_parse_size(argv[optind + 1], &size))
                return cli_misuse("not a size: %s", argv[optind + 1]);
        connection = cli_connect(argv[optind], &name);
        if (!connection)
                return EXIT_FAILURE;
        r = iomem_resize(connection, name, size);
        iomem_disconnect(connection);
        return r < 0 ? cli_fail_iomem() : EXIT_SUCCESS;
}

int cli_seal(int argc, char **argv) {
        struct iomem_connection *connection;
        const char *name;
        uint32_t seals;
        int r;

        if (!no_options(argc, argv))
                return EXIT_FAILURE;
        if (argc - optind != 2)
                return cli_misuse("seal needs a name and seals");
        if (!cli_parse_seals(argv[optind + 1], &seals))
                return cli_misuse("not a list of shrink, grow, write: %s", argv[optind + 1]);
        connection = cli_connect(argv[optind], &name);
        if (!connection)
                return EXIT_FAILURE;
        r = iomem_seal(connection, name, seals);
        iomem_disconnect(connection);
        return r < 0 ? cli_fail_iomem() : EXIT_SUCCESS;
}

int cli_rm(int argc, char **argv) {
        int status = EXIT_SUCCESS;

        if (!no_options(argc, argv))
                return EXIT_FAILURE;
        if (optind == argc)
                return cli_misuse("rm needs a name");
        for (int i = optind; i < argc; i++) {
                const char *name;
                struct iomem_connection *connection = cli_connect(argv[i], &name);

                if (!connection)
                        return EXIT_FAILURE;
                if (iomem_remove(connection, name) < 0)
                        status = cli_fail_iomem();
                iomem_disconnect(connection);
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

int cli_wait(int argc, char **argv) {
        static const struct option options[] = {
                {"timeout", required_argument, NULL, 't'},
                {NULL, 0, NULL, 0},
        };
        int option, timeout = -1, r = 0;

        while ((option = getopt_long(argc, argv, "t:", options, NULL)) != -1) {
                if (option == '?')
                        return cli_try_help();
                if (!parse_seconds(optarg, &timeout))
                        return cli_misuse("not a time in seconds: %s", optarg);
        }
        if (optind == argc)
                return cli_misuse("wait needs a name");
        for (int i = optind; i < argc && r == 0; i++) {
                const char *name;
                struct iomem_connection *connection = cli_connect(argv[i], &name);

                if (!connection)
                        return EXIT_FAILURE;
                r = iomem_wait(connection, name, timeout);
                iomem_disconnect(connection);
        }
        return r < 0 ? cli_fail_iomem() : EXIT_SUCCESS;
}

static void set_number(const char *name, uint64_t number) {
        char text[32];

        snprintf(text, sizeof(text), "%" PRIu64, number);
        setenv(name, text, 1);
}

static int run(int fd, char **argv) {
        set_number("IOMEM_FD", (uint64_t)fd);
        if (fcntl(fd, F_SETFD, 0) < 0)
                return cli_fail("descriptor: %s", strerror(errno));
        execvp(argv[0], argv);
        int status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
        cli_fail("%s: %s", argv[0], strerror(errno));
        return status;
}

int cli_exec(int argc, char **argv) {
        static const struct option options[] = {
                {"read-only", no_argument, NULL, 'r'},
                {NULL, 0, NULL, 0},
        };
        int option, access = IOMEM_WRITE, fd;
        struct iomem_connection *connection;
        const char *name;

        /* +: options after the name belong to the command */
        while ((option = getopt_long(argc, argv, "+r", options, NULL)) != -1) {
                if (option != 'r')
                        return cli_try_help();
                access = IOMEM_READ;
        }
        if (optind == argc)
                return cli_misuse("exec needs a name and a command");
        connection = cli_connect(argv[optind++], &name);
        if (!connection)
                return EXIT_FAILURE;
        if (optind < argc && strcmp(argv[optind], "--") == 0)
                optind++;
        if (optind == argc) {
                iomem_disconnect(connection);
                return cli_misuse("exec needs a command");
        }
        fd = iomem_open(connection, name, access);
        iomem_disconnect(connection);
        return fd < 0 ? cli_fail_iomem() : run(fd, argv + optind);
}
