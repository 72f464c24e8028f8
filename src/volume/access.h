/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * access: checks whether a user may do something.
 *
 * It covers what the kernel does not check for us: commands of .ctl and of the socket, and
 * listings.  A caller is identified by uid, gid and pid as the kernel gave them with the request.
 * Supplementary groups, and whether uid 0 has its power, are read only when the result depends on
 * them: from /proc/PID/status if the pid is known.  Groups of a peer of the socket are those of
 * SO_PEERGROUPS.
 *
 * Owns some descriptors: files with the names of the last callers that were asked for.
 *
 * Never: changes anything, knows where a caller came from.  Not thread-safe.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "tree/tree.h"

enum { ACCESS_READ = 4, ACCESS_WRITE = 2, ACCESS_SEARCH = 1 };

enum { ACCESS_KNOWN = 8 /* callers whose files stay open */ };

struct caller {
        uid_t uid;
        gid_t gid;
        pid_t pid;       /* a thread; 0: not known in our pid namespace */
        int connection;  /* by which it came; its process may have ended since then; 0: none */
        bool powerless;  /* uid 0 has no power: it lacks CAP_DAC_OVERRIDE in our namespace */
        bool ask_power;  /* powerless is not known yet; /proc/PID is read when it matters */
        bool has_groups; /* groups below are final */
        gid_t *groups;   /* owned: free with caller_clear() */
        size_t n_groups;
};

/* Frees the groups, and sets all members to 0. */
void caller_clear(struct caller *caller);
/* The umask of the caller's process; 0077 if it cannot be read. */
mode_t caller_umask(const struct caller *caller);
/* A process, which the caller's pid may be a thread of. */
struct caller_process {
        pid_t pid;     /* 0: it cannot be seen (any more) */
        char name[16]; /* of its command, at most 15 bytes and terminated */
};
void caller_process(const struct caller *caller, struct caller_process *out);

/* Whether uid 0 of that process has CAP_DAC_OVERRIDE in our user namespace, as far as we can
 * see. */
bool caller_has_power(pid_t pid);
/* Whether that process has CAP_SYS_ADMIN there: only then it sees trusted attributes. */
bool caller_administers(pid_t pid);

/*
 * Looks up at once what is otherwise looked up when it matters.  For a caller whose identity will
 * be stored.  The caller must be waiting for us, so that its process still exists.
 */
void caller_resolve(struct caller *caller);

/* Whether the caller is uid 0 with its power.  The first call looks it up. */
bool caller_is_root(struct caller *caller);

/* As the kernel's generic_permission(), access lists included; uid 0 with its power may do
 * everything.  mask: ACCESS_… bits. */
bool access_allows(const struct tree *tree, struct caller *caller, const struct node *node,
                   unsigned int mask);
/* Whether the caller may remove an entry of dir that names node: write and search, sticky bit.
 * 0, -EACCES, -EPERM. */
int access_unlink(const struct tree *tree, struct caller *caller, const struct node *dir,
                  const struct node *node);
/* Whether the caller is in the group, or is root. */
bool access_in_group(struct caller *caller, gid_t gid);
/* Whether the caller is the owner, or root. */
bool access_owns(struct caller *caller, const struct node *node);
/* Whether the caller is root with its power, or the user who mounted. */
bool access_is_admin(const struct settings *settings, struct caller *caller);
/* The mode that a file has after somebody without privileges has changed its content. */
uint32_t access_without_setid(uint32_t mode);

/* Whether access_walk() accepts the path: 0, -EINVAL, -ENAMETOOLONG. */
int access_check_path(const char *path);

/*
 * Walks path, relative to dir, as the caller: every directory on the way needs search permission.
 * *out_dir is the directory of the last component; *name and *length are that component, within
 * path.  -EINVAL: an absolute path, or a component that is "", ".", ".." or the name of .ctl.
 * -ELOOP: a symbolic link on the way.  Otherwise 0, -ENOENT, -ENOTDIR, -EACCES, -ENAMETOOLONG.
 */
int access_walk(const struct tree *tree, struct caller *caller, struct node *dir, const char *path,
                struct node **out_dir, const char **name, size_t *length);
