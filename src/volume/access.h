/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * access: may this user do that?
 *
 * For what the kernel does not check for us: commands of .ctl and the socket, and listings.  A
 * caller is a user as the kernel knew it when it asked.  Supplementary groups are read only when
 * an answer depends on them: from /proc/PID/status for a caller that has a pid, from the list that
 * SO_PEERGROUPS gave for one that has that.  So is whether uid 0 has its power.
 *
 * Owns one descriptor: of the file with the name of the last caller whose name was asked for.
 *
 * Never: changes anything, knows where a caller came from.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "tree/tree.h"

enum { ACCESS_READ = 4, ACCESS_WRITE = 2, ACCESS_SEARCH = 1 };

struct caller {
        uid_t uid;
        gid_t gid;
        pid_t pid;      /* 0: not known in our pid namespace */
        int connection; /* that it came by, whose process may have ended since; 0: none */
        bool powerless; /* uid 0 is nothing special: it has not CAP_DAC_OVERRIDE in our namespace */
        bool ask_power; /* powerless is not known yet; /proc/PID is asked when it matters */
        bool has_groups; /* groups below are final */
        gid_t *groups;   /* owned: free with caller_clear() */
        size_t n_groups;
};

void caller_clear(struct caller *caller);
/* File mode creation mask of the caller's process, 0077 if it cannot be read. */
mode_t caller_umask(const struct caller *caller);
/* Name of the caller's command, at most 15 bytes and terminated; "" if it cannot be read. */
void caller_command(const struct caller *caller, char name[16]);

/* Whether uid 0 of that process has CAP_DAC_OVERRIDE in our user namespace, as far as we can see. */
bool caller_has_power(pid_t pid);

/*
 * Looks up now what would otherwise be asked when it matters: for a caller whose identity is to be
 * kept.  The caller is known to be there, because it waits for us.
 */
void caller_resolve(struct caller *caller);

/* Whether it is uid 0 with that power.  Looked up when it is asked for the first time. */
bool caller_is_root(struct caller *caller);

/* As generic_permission(): uid 0 with power passes.  mask: ACCESS_… bits. */
bool access_allows(struct caller *caller, const struct node *node, unsigned int mask);
/* Whether the caller may remove an entry of dir that names node: write and search, sticky bit.
 * 0, -EACCES, -EPERM. */
int access_unlink(struct caller *caller, const struct node *dir, const struct node *node);
/* Whether the caller is in the group, or root. */
bool access_in_group(struct caller *caller, gid_t gid);
/* Whether the caller is owner or root. */
bool access_owns(struct caller *caller, const struct node *node);
/* The mode of a file that somebody without privileges has changed. */
uint32_t access_without_setid(uint32_t mode);

/* Whether path is one that access_walk() takes: 0, -EINVAL, -ENAMETOOLONG. */
int access_check_path(const char *path);

/*
 * Walks path, relative to dir, as the caller: every directory on the way needs search permission.
 * out_dir is the directory of the last component, *name and *length that component in path.
 * Components "", ".", ".." and the name of .ctl, and absolute paths, are -EINVAL; a symbolic link on the way
 * is -ELOOP.  0, -ENOENT, -ENOTDIR, -EACCES, -ENAMETOOLONG.
 */
int access_walk(const struct tree *tree, struct caller *caller, struct node *dir, const char *path,
                struct node **out_dir, const char **name, size_t *length);
