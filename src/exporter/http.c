/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cli/json_out.h"
#include "exporter/exporter.h"

/*
 * http: the requests.  Only GET and HEAD; each connection has a thread, because reading a mount can
 * take long, and events never end.
 */

enum {
        CONNECTIONS_MAX = 64,
        IDLE_SECONDS = 60,
        PIECE = 64 * 1024,
        HOST_MAX = 256,
};

typedef enum MHD_Result (*route_fn)(struct exporter *exporter, struct MHD_Connection *connection);

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned int status,
                             const char *type, struct MHD_Response *response) {
        enum MHD_Result r;

        if (!response)
                return MHD_NO;
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
        /* The page brings all that it needs; it may ask nobody but us. */
        MHD_add_response_header(response, "Content-Security-Policy",
                                "default-src 'none'; style-src 'unsafe-inline'; "
                                "script-src 'unsafe-inline'; connect-src 'self'; "
                                "img-src data:; frame-ancestors 'none'; base-uri 'none'");
        r = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return r;
}

static enum MHD_Result reply_text(struct MHD_Connection *connection, unsigned int status,
                                  const char *text) {
        return reply(
                connection, status, "text/plain; charset=utf-8",
                MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY));
}

/* The text becomes the response's. */
static enum MHD_Result reply_stream(struct MHD_Connection *connection, const char *type, char *text,
                                    size_t length) {
        struct MHD_Response *response =
                MHD_create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE);

        if (!response)
                free(text);
        return reply(connection, MHD_HTTP_OK, type, response);
}

/* Metrics */

static enum MHD_Result route_metrics(struct exporter *exporter, struct MHD_Connection *connection) {
        char *text = NULL;
        size_t length = 0;
        FILE *stream = open_memstream(&text, &length);
        int r = stream ? families_write(stream, exporter) : -ENOMEM;

        if (stream && fclose(stream) != 0)
                r = -ENOMEM;
        if (r < 0) {
                free(text);
                return reply_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
        }
        return reply_stream(connection, "text/plain; version=0.0.4; charset=utf-8", text, length);
}

/* Mounts */

static enum MHD_Result route_mounts(struct exporter *exporter, struct MHD_Connection *connection) {
        char *text = NULL;
        size_t length = 0;
        FILE *stream = open_memstream(&text, &length);
        struct mounts mounts;

        if (!stream || mounts_find(&mounts, exporter) < 0) {
                if (stream)
                        fclose(stream);
                free(text);
                return reply_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
        }
        fputs("{\"mounts\": [", stream);
        for (size_t i = 0; i < mounts.n; i++) {
                fputs(i ? ", " : "", stream);
                json_out_string(stream, mounts.paths[i]);
        }
        fputs("]}\n", stream);
        mounts_free(&mounts);
        fclose(stream);
        return reply_stream(connection, "application/json", text, length);
}

/* Files of a mount, and the page: sent as they are read */

static ssize_t file_read(void *userdata, uint64_t position, char *buffer, size_t size) {
        const int *fd = userdata;
        ssize_t n;

        (void)position;
        do
                n = read(*fd, buffer, size);
        while (n < 0 && errno == EINTR);
        return n > 0    ? n
               : n == 0 ? MHD_CONTENT_READER_END_OF_STREAM
                        : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void file_free(void *userdata) {
        int *fd = userdata;

        close(*fd);
        free(fd);
}

static enum MHD_Result reply_file(struct MHD_Connection *connection, const char *path,
                                  const char *type) {
        struct MHD_Response *response = NULL;
        int *fd = malloc(sizeof(*fd));

        if (!fd)
                return MHD_NO;
        *fd = open(path, O_RDONLY | O_CLOEXEC);
        if (*fd < 0) {
                free(fd);
                return reply_text(connection, MHD_HTTP_NOT_FOUND, "cannot be read\n");
        }
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, file_read, fd,
                                                     file_free);
        if (!response)
                file_free(fd);
        return reply(connection, MHD_HTTP_OK, type, response);
}

/* The mount that ?mount= names, or the first one; to be freed. */
static char *chosen_mount(const struct exporter *exporter, struct MHD_Connection *connection) {
        return mounts_choose(
                exporter, MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "mount"));
}

static enum MHD_Result route_regions(struct exporter *exporter, struct MHD_Connection *connection) {
        char *mount = chosen_mount(exporter, connection), path[PATH_MAX + 32];

        if (!mount)
                return reply_text(connection, MHD_HTTP_NOT_FOUND, "no such mount\n");
        snprintf(path, sizeof(path), "%s/.ctl/regions.json", mount);
        free(mount);
        return reply_file(connection, path, "application/json");
}

static ssize_t events_read(void *userdata, uint64_t position, char *buffer, size_t size) {
        long n = feed_read(userdata, buffer, size);

        (void)position;
        return n < 0 ? MHD_CONTENT_READER_END_OF_STREAM : n;
}

static void events_free(void *userdata) {
        feed_free(userdata);
}

static enum MHD_Result route_events(struct exporter *exporter, struct MHD_Connection *connection) {
        char *mount = chosen_mount(exporter, connection);
        struct MHD_Response *response;
        struct feed *feed = NULL;
        int r = mount ? feed_open(&feed, exporter, mount) : -ENOENT;

        free(mount);
        if (r < 0)
                return reply_text(connection, MHD_HTTP_NOT_FOUND, "no such mount\n");
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, events_read, feed,
                                                     events_free);
        if (!response)
                feed_free(feed);
        return reply(connection, MHD_HTTP_OK, "text/event-stream", response);
}

static enum MHD_Result route_page(struct exporter *exporter, struct MHD_Connection *connection) {
        return reply_file(connection, exporter->page, "text/html; charset=utf-8");
}

/* Routing */

/* The name in the Host header, without port and brackets. */
static void host_name(char out[HOST_MAX], const char *header) {
        const char *end;

        if (header[0] == '[') {
                header++;
                end = strchrnul(header, ']');
        } else {
                end = strchrnul(header, ':');
        }
        snprintf(out, HOST_MAX, "%.*s", (int)(end - header), header);
}

/*
 * A page of somebody else can point a name of its own at our address, and the browser would then
 * let it read what we say.  An address or localhost cannot be pointed anywhere; other names must be
 * allowed.
 */
static bool host_is_ours(const struct exporter *exporter, struct MHD_Connection *connection) {
        const char *header =
                MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
        struct in6_addr address;
        char name[HOST_MAX];

        if (!header)
                return true; /* HTTP/1.0: no browser */
        host_name(name, header);
        if (strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &address) == 1 ||
            inet_pton(AF_INET6, name, &address) == 1)
                return true;
        for (size_t i = 0; i < exporter->n_hosts; i++)
                if (strcasecmp(name, exporter->hosts[i]) == 0)
                        return true;
        return false;
}

static const struct {
        const char *path;
        route_fn route;
} routes[] = {
        {"/", route_page},
        {"/metrics", route_metrics},
        {"/api/mounts", route_mounts},
        {"/api/regions", route_regions},
        {"/api/events", route_events},
};

static enum MHD_Result handle(void *userdata, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *data_size, void **state) {
        struct exporter *exporter = userdata;

        (void)version;
        (void)data;
        (void)state;
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
                return reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        if (*data_size != 0)
                return MHD_NO;
        if (!host_is_ours(exporter, connection))
                return reply_text(connection, MHD_HTTP_FORBIDDEN,
                                  "unknown host name; allow it with --host\n");
        for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++)
                if (strcmp(url, routes[i].path) == 0)
                        return routes[i].route(exporter, connection);
        return reply_text(connection, MHD_HTTP_NOT_FOUND, "not here\n");
}

/* Waits for the signals that end the program; all threads have them blocked. */
static void await_end(void) {
        sigset_t set;
        int number;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigwait(&set, &number);
}

int http_serve(struct exporter *exporter, int fd) {
        struct MHD_Daemon *daemon;
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGPIPE, SIG_IGN);
        daemon = MHD_start_daemon(
                MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0,
                NULL, NULL, handle, exporter, MHD_OPTION_LISTEN_SOCKET, fd,
                MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS_MAX,
                MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)IDLE_SECONDS, MHD_OPTION_END);
        if (!daemon) {
                fputs("iomem-exporter: cannot start the HTTP server\n", stderr);
                return EXIT_FAILURE;
        }
        await_end();
        __atomic_store_n(&exporter->stopping, 1, __ATOMIC_RELAXED);
        MHD_stop_daemon(daemon);
        return EXIT_SUCCESS;
}
