/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * options: the command line, in all the forms in which mount(8) and people write it.
 *
 * Never: mounts, or looks at the machine beyond the size of its memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "records/layout.h"

struct options {
        char *source;     /* default "iomemfs" */
        char *mountpoint; /* as given; mount_check() makes it absolute */
        bool help, version, foreground, verbose, fake, remount;
        bool upgrade;  /* --upgrade DIR */
        bool layout;   /* --layout: print LAYOUT_VERSION, for an upgrade's check */
        int resume_fd; /* --resume FD, -1 if not given */

        bool has_size, has_nr_inodes;
        uint64_t size;      /* bytes, 0 = no limit */
        uint64_t nr_inodes; /* 0 = no limit */
        uint32_t mode, uid, gid;
        enum passthrough passthrough;
        enum latency latency;
        char *socket; /* absolute path, "" for none, NULL for the default */
        struct socket_limits limits;
        bool huge;                     /* huge=always */
        bool xattr;                    /* as in struct settings */
        char ctl[LAYOUT_NAME_MAX + 1]; /* name of .ctl, "" for none */
        uint32_t grace_s; /* how long an ephemeral region waits for its first use, seconds */
        uint32_t spin_us; /* longest spin before the loop sleeps, microseconds */

        char *mount_options; /* what libfuse's mount is given, comma-separated */
        /* MS_…: asked for, and asked not to have */
        unsigned long mount_flags, mount_flags_cleared;
};

/* 0; -EINVAL after one line on stderr that says what is wrong with which option. */
int options_parse(struct options *out, int argc, char **argv);
void options_clear(struct options *options);
void options_usage(void);

/* Defaults that depend on the machine or on the mount point. */
uint64_t options_default_size(void);
uint64_t options_default_nr_inodes(void);
/* The path of the socket; false if none is wanted or it would be longer than a socket's may be. */
bool options_socket_path(const struct options *options, char *path, size_t size);
