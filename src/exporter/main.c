/* SPDX-License-Identifier: MIT */

/*
 * iomem-exporter: metrics of iomemfs for Prometheus, and a page to look at the regions, over HTTP.
 *
 * It listens on the loopback address unless it is told otherwise, or takes a socket from systemd.
 */

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/errno_text.h"
#include "exporter/exporter.h"

enum { FIRST_PASSED_FD = 3, BACKLOG = 64, USAGE = 2 };

#define LISTEN_DEFAULT "127.0.0.1:9836"

static int complain(const char *what, const char *why) {
        fprintf(stderr, "iomem-exporter: %s: %s\n", what, why);
        return -1;
}

/* Splits ADDRESS:PORT; an IPv6 address is in brackets. */
static int split_address(const char *text, char host[256], char port[32]) {
        const char *colon = strrchr(text, ':'), *begin = text, *end = colon;

        if (!colon || !colon[1])
                return complain(text, "not an address and a port, such as " LISTEN_DEFAULT);
        if (*begin == '[' && end > begin && end[-1] == ']') {
                begin++;
                end--;
        }
        snprintf(host, 256, "%.*s", (int)(end - begin), begin);
        snprintf(port, 32, "%s", colon + 1);
        return 0;
}

static int try_listen(const struct addrinfo *address) {
        int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1, r;

        if (fd < 0)
                return -errno;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
                return fd;
        r = -errno;
        close(fd);
        return r;
}

static int listen_at(const char *text) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
        char host[256], port[32];
        int fd = -EADDRNOTAVAIL, r;

        if (split_address(text, host, port) < 0)
                return -1;
        r = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
        if (r != 0)
                return complain(text, gai_strerror(r));
        for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
                fd = try_listen(at);
        freeaddrinfo(found);
        return fd < 0 ? complain(text, errno_text(fd)) : fd;
}

/* The socket that systemd has opened (sd_listen_fds(3)), or -1. */
static int passed_socket(void) {
        const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");

        if (!pid || !n || strtol(pid, NULL, 10) != (long)getpid() || strtol(n, NULL, 10) < 1)
                return -1;
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        return FIRST_PASSED_FD;
}

static int usage(void) {
        fputs("\n"
              "Usage:\n"
              " iomem-exporter [OPTIONS]\n"
              "\n"
              "Metrics of iomemfs for Prometheus, and a page to look at the regions.\n"
              "\n"
              "Options:\n"
              " -m, --mount DIRECTORY  a mount; may be given again (default: all)\n"
              " -l, --listen ADDRESS   address and port (default: " LISTEN_DEFAULT ")\n"
              "     --host NAME        answer requests to that host name, besides addresses and\n"
              "                        localhost; may be given again\n"
              "     --once             print the metrics and exit, for node_exporter's textfile\n"
              "     --page FILE        the dashboard (default: the one that is installed)\n"
              " -h, --help             display this help\n"
              " -V, --version          display version\n"
              "\n"
              "For more details see iomem-exporter(8).\n",
              stdout);
        return EXIT_SUCCESS;
}

static int try_help(void) {
        fputs("Try 'iomem-exporter --help' for more information.\n", stderr);
        return USAGE;
}

static int once(const struct exporter *exporter) {
        int r = families_write(stdout, exporter);

        if (r == 0 && fflush(stdout) != 0)
                r = -errno;
        if (r < 0 || ferror(stdout)) {
                complain("write error", r < 0 ? errno_text(r) : "not all was written");
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

enum { OPTION_HOST = 256, OPTION_ONCE, OPTION_PAGE };

struct arguments {
        const char *listen;
        bool once;
};

static bool add(const char **list, size_t *n, const char *word) {
        if (*n == EXPORTER_MOUNTS_MAX) {
                complain(word, "too many of them");
                return false;
        }
        list[(*n)++] = word;
        return true;
}

/* False after a message. */
static bool take_option(struct exporter *exporter, struct arguments *arguments, int option,
                        const char *argument) {
        switch (option) {
        case 'm':
                return add(exporter->mounts, &exporter->n_mounts, argument);
        case 'l':
                arguments->listen = argument;
                return true;
        case OPTION_HOST:
                return add(exporter->hosts, &exporter->n_hosts, argument);
        case OPTION_ONCE:
                arguments->once = true;
                return true;
        case OPTION_PAGE:
                exporter->page = argument;
                return true;
        default:
                return false;
        }
}

static int serve(struct exporter *exporter, const struct arguments *arguments) {
        int fd = passed_socket();

        if (fd < 0)
                fd = listen_at(arguments->listen);
        if (fd < 0)
                return EXIT_FAILURE;
        return http_serve(exporter, fd);
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                {"mount", required_argument, NULL, 'm'},
                {"listen", required_argument, NULL, 'l'},
                {"host", required_argument, NULL, OPTION_HOST},
                {"once", no_argument, NULL, OPTION_ONCE},
                {"page", required_argument, NULL, OPTION_PAGE},
                {"help", no_argument, NULL, 'h'},
                {"version", no_argument, NULL, 'V'},
                {NULL, 0, NULL, 0},
        };
        struct exporter exporter = {.page = EXPORTER_PAGE};
        struct arguments arguments = {.listen = LISTEN_DEFAULT};
        int option;

        while ((option = getopt_long(argc, argv, "m:l:hV", options, NULL)) != -1) {
                if (option == 'h')
                        return usage();
                if (option == 'V') {
                        printf("iomem-exporter from iomemfs %s\n", IOMEMFS_VERSION);
                        return EXIT_SUCCESS;
                }
                if (!take_option(&exporter, &arguments, option, optarg))
                        return try_help();
        }
        if (optind < argc) {
                complain(argv[optind], "one argument too many");
                return try_help();
        }
        return arguments.once ? once(&exporter) : serve(&exporter, &arguments);
}
