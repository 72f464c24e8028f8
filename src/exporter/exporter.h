/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * exporter: what iomem-exporter gives out of the mounts: metrics for Prometheus, regions and events
 * for the page in contrib/dashboard.
 *
 * All of it is read from the files of .ctl, with the rights of the user who runs the exporter.
 * Nothing is changed, and nothing is kept from one request to the next.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { EXPORTER_MOUNTS_MAX = 64 };

struct exporter {
        const char *mounts[EXPORTER_MOUNTS_MAX]; /* by -m; none: all iomemfs of the machine */
        size_t n_mounts;
        const char *hosts[EXPORTER_MOUNTS_MAX]; /* by --host: names that a request may use */
        size_t n_hosts;
        const char *page; /* the file of the dashboard */
        int stopping;     /* atomic: the program ends */
};

/* The paths of the mounts, to be freed with mounts_free(). */
struct mounts {
        char **paths;
        size_t n;
};

/* mounts.c.  0, -ENOMEM. */
int mounts_find(struct mounts *out, const struct exporter *exporter);
void mounts_free(struct mounts *mounts);
/* Whether it is one of those that are given out; NULL: the first of them.  The path, to be freed. */
char *mounts_choose(const struct exporter *exporter, const char *wanted);

/* families.c: all metrics of all mounts, each family once, as Prometheus wants it.  0, -ENOMEM. */
int families_write(FILE *stream, const struct exporter *exporter);

/* feed.c: the events of a mount, as server-sent events. */
struct feed;
/* 0 or negative errno. */
int feed_open(struct feed **out, const struct exporter *exporter, const char *mount);
void feed_free(struct feed *feed);
/* Waits for bytes.  The number of them, or -1 at the end. */
long feed_read(struct feed *feed, char *buffer, size_t size);

/* http.c: serves until the program is told to stop.  fd: a socket that listens.  An exit status. */
int http_serve(struct exporter *exporter, int fd);
