/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * options: parses the command line, in all forms that mount(8) and people use.
 *
 * Never: mounts, looks at the machine except for the size of its memory.
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
        bool layout;   /* --layout: print the layouts that are known, for an upgrade's check */
        bool convert;  /* --convert: convert the records in descriptor 0 to our layout */
        int resume_fd; /* --resume FD, -1 if not given */

        bool has_size, has_nr_inodes;
        uint64_t size;      /* bytes, 0 = no limit */
        uint64_t nr_inodes; /* 0 = no limit */
        uint32_t mode, uid, gid;
        uint32_t
                make_directory; /* permissions of the mount point, if it has to be made; 0: never */
        enum passthrough passthrough;
        enum latency latency;
        bool strict_atime;
        char *socket; /* absolute path, "" for none, NULL for the default */
        struct socket_limits limits;
        bool huge;                     /* huge=always */
        bool xattr, acl;               /* as in struct settings */
        char ctl[LAYOUT_NAME_MAX + 1]; /* name of .ctl, "" for none */
        uint32_t grace_s; /* seconds that an ephemeral region waits for its first use */
        uint32_t spin_us; /* the longest spin before the loop sleeps, microseconds */

        char *mount_options; /* for libfuse's mount, comma-separated */
        /* MS_…: flags that were asked for, and flags that were asked to be off */
        unsigned long mount_flags, mount_flags_cleared;
};

/* 0, or -EINVAL after one line on stderr that names the option and the fault. */
int options_parse(struct options *out, int argc, char **argv);
void options_clear(struct options *options);
void options_usage(void);

/* Defaults that depend on the machine or on the mount point. */
uint64_t options_default_size(void);
uint64_t options_default_nr_inodes(void);
/* Writes the path of the socket; false if there shall be none, or if it is too long for a
 * socket. */
bool options_socket_path(const struct options *options, char *path, size_t size);
