/* SPDX-License-Identifier: MIT */

/*
 * iomemfs-volumed: a volume driver for Docker and podman, whose volumes are directories of an
 * iomemfs.
 *
 * One thread serves all requests.  It may be killed at any moment: definitions are on disk, and each
 * request does again what was left undone.
 */

#include <errno.h>
#include <getopt.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "volumed/api.h"
#include "volumed/store.h"

enum {
        LISTEN_FD = 3, /* the first descriptor that systemd hands over */
        TIMEOUT_S = 10,
        CONNECTIONS_MAX = 256,
        CONNECTION_MEMORY = 32 * 1024,
        BACKLOG = 4096,
};

static const char CONTENT_TYPE[] = "application/vnd.docker.plugins.v1.2+json";

struct options {
        const char *mount, *socket, *state, *views;
};

/* The body of a request, as far as it has come. */
struct body {
        size_t length;
        bool too_long;
        char bytes[API_BODY_MAX];
};

static int fail(const char *what, const char *why) {
        fprintf(stderr, "iomemfs-volumed: %s: %s\n", what, why);
        return -1;
}

/* HTTP */

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned int status, char *text) {
        struct MHD_Response *response =
                MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
        enum MHD_Result result;

        if (!response) {
                free(text);
                return MHD_NO;
        }
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE);
        result = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return result;
}

static enum MHD_Result reply_error(struct MHD_Connection *connection, unsigned int status,
                                   const char *text) {
        char json[128];
        char *copy;

        snprintf(json, sizeof(json), "{\"Err\":\"%s\"}", text);
        copy = strdup(json);
        return copy ? reply(connection, status, copy) : MHD_NO;
}

static enum MHD_Result answer(struct MHD_Connection *connection, const char *path,
                              const struct body *body) {
        struct api_answer answer;

        if (body->too_long)
                return reply_error(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too long");
        api_answer(path, body->bytes, body->length, &answer);
        return answer.text ? reply(connection, answer.status, answer.text) : MHD_NO;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *piece, size_t *size, void **state) {
        struct body *body = *state;

        (void)userdata;
        (void)version;
        if (!body) {
                *state = malloc(sizeof(*body));
                body = *state;
                if (!body)
                        return MHD_NO;
                body->length = 0;
                body->too_long = false;
                return MHD_YES;
        }
        if (*size > 0) {
                if (*size > sizeof(body->bytes) - body->length)
                        body->too_long = true;
                if (!body->too_long) {
                        memcpy(body->bytes + body->length, piece, *size);
                        body->length += *size;
                }
                *size = 0;
                return MHD_YES;
        }
        if (strcmp(method, "POST") != 0)
                return reply_error(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only POST");
        return answer(connection, path, body);
}

static void on_end(void *userdata, struct MHD_Connection *connection, void **state,
                   enum MHD_RequestTerminationCode why) {
        (void)userdata;
        (void)connection;
        (void)why;
        free(*state);
        *state = NULL;
}

/* The socket */

/* The socket that systemd has made; -1 if it has made none. */
static int socket_of_systemd(void) {
        const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");

        if (!pid || !n || atoi(pid) != (int)getpid() || atoi(n) < 1)
                return -1;
        return LISTEN_FD;
}

static bool somebody_listens(const struct sockaddr_un *address) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool listens =
                fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;

        if (fd >= 0)
                close(fd);
        return listens;
}

static int socket_listen(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        mode_t mask = umask(0177);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (strlen(path) >= sizeof(address.sun_path))
                return fail(path, "too long for a socket");
        strcpy(address.sun_path, path);
        if (somebody_listens(&address))
                return fail(path, "another process listens there");
        unlink(path);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(fd, BACKLOG) < 0)
                return fail(path, strerror(errno));
        umask(mask);
        return fd;
}

static int serve(int listen_fd) {
        struct MHD_Daemon *daemon;
        sigset_t signals;
        int number;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        signal(SIGPIPE, SIG_IGN);
        daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL, 0, NULL, NULL,
                                  on_request, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
                                  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)TIMEOUT_S,
                                  MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS_MAX,
                                  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                                  MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_END);
        if (!daemon)
                return fail("HTTP", "cannot be started");
        fprintf(stderr, "iomemfs-volumed: ready\n");
        sigwait(&signals, &number);
        MHD_stop_daemon(daemon);
        return 0;
}

/* Options */

static void usage(void) {
        fputs("\n"
              "Usage:\n"
              " iomemfs-volumed [OPTIONS]\n"
              "\n"
              "A volume driver for Docker and podman, with directories of an iomemfs as volumes.\n"
              "\n"
              "Options:\n"
              " -m, --mount DIR        the iomemfs (default: /mnt/mem)\n"
              " -s, --socket PATH      where to listen, unless systemd hands over a socket\n"
              "                        (default: /run/docker/plugins/iomemfs.sock)\n"
              " -d, --state DIR        definitions of the volumes\n"
              "                        (default: /var/lib/iomemfs-volumed)\n"
              " -w, --views DIR        where read-only volumes are shown\n"
              "                        (default: /run/iomemfs-volumed)\n"
              " -h, --help             display this help\n"
              " -V, --version          display version\n"
              "\n"
              "For more details see iomemfs-volumed(8).\n",
              stdout);
}

/* 0; or 1: all is done; or -1: wrong arguments. */
static int options_parse(struct options *out, int argc, char **argv) {
        static const struct option options[] = {
                {"mount", required_argument, NULL, 'm'},
                {"socket", required_argument, NULL, 's'},
                {"state", required_argument, NULL, 'd'},
                {"views", required_argument, NULL, 'w'},
                {"help", no_argument, NULL, 'h'},
                {"version", no_argument, NULL, 'V'},
                {NULL, 0, NULL, 0},
        };
        int option;

        while ((option = getopt_long(argc, argv, "m:s:d:w:hV", options, NULL)) != -1) {
                switch (option) {
                case 'm':
                        out->mount = optarg;
                        break;
                case 's':
                        out->socket = optarg;
                        break;
                case 'd':
                        out->state = optarg;
                        break;
                case 'w':
                        out->views = optarg;
                        break;
                case 'h':
                        usage();
                        return 1;
                case 'V':
                        puts("iomemfs-volumed " IOMEMFS_VERSION);
                        return 1;
                default:
                        fputs("Try 'iomemfs-volumed --help' for more information.\n", stderr);
                        return -1;
                }
        }
        if (optind < argc)
                return fail(argv[optind], "one word too many");
        if (out->mount[0] != '/' || out->views[0] != '/')
                return fail(out->mount, "mount and views must be absolute paths");
        return 0;
}

int main(int argc, char **argv) {
        struct options options = {
                .mount = "/mnt/mem",
                .socket = "/run/docker/plugins/iomemfs.sock",
                .state = "/var/lib/iomemfs-volumed",
                .views = "/run/iomemfs-volumed",
        };
        struct volume_error error;
        int r = options_parse(&options, argc, argv), fd;

        if (r != 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        umask(0022);
        volumes_set_place(options.mount, options.views);
        if (mkdir(options.views, 0711) < 0 && errno != EEXIST)
                return fail(options.views, strerror(errno)) < 0 ? EXIT_FAILURE : 0;
        if (store_open(options.state, &error) < 0)
                return fail("definitions", error.text) < 0 ? EXIT_FAILURE : 0;
        api_start();
        fd = socket_of_systemd();
        if (fd < 0)
                fd = socket_listen(options.socket);
        r = fd < 0 ? -1 : serve(fd);
        store_close();
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
