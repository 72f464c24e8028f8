/* SPDX-License-Identifier: MIT */
#include "volume/access.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/peer.h"
#include "base/process.h"
#include "volume/acl.h"

/* Callers */

void caller_clear(struct caller *caller) {
        free(caller->groups);
        *caller = (struct caller){0};
}

/* The whole content of a file of /proc/PID, terminated; the caller frees it.  NULL if it cannot be
 * read. */
static char *proc_read(pid_t pid, const char *name) {
        char path[64], *text = NULL;
        size_t size = 0, used = 0;
        ssize_t n = 1;
        int fd;

        if (pid <= 0)
                return NULL;
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return NULL;
        while (n > 0) {
                if (size - used < 2) {
                        char *grown = realloc(text, size + 4096);

                        if (!grown)
                                break;
                        text = grown;
                        size += 4096;
                }
                n = read(fd, text + used, size - used - 1);
                if (n > 0)
                        used += (size_t)n;
        }
        close(fd);
        if (n != 0) {
                free(text);
                return NULL;
        }
        text[used] = '\0';
        return text;
}

/* The text after "\nKEY:" in a status file, or NULL. */
static const char *status_find(const char *status, const char *key) {
        const char *line = strstr(status, key);

        return line ? line + strlen(key) : NULL;
}

static bool same_user_namespace(pid_t pid) {
        struct stat ours, theirs;
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
        return stat("/proc/self/ns/user", &ours) == 0 && stat(path, &theirs) == 0 &&
               ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

static bool has_capability(pid_t pid, unsigned int capability) {
        char *status = proc_read(pid, "status");
        const char *value = status ? status_find(status, "\nCapEff:") : NULL;
        unsigned long long capabilities = value ? strtoull(value, NULL, 16) : 0;

        free(status);
        return (capabilities >> capability & 1) && same_user_namespace(pid);
}

bool caller_has_power(pid_t pid) {
        return has_capability(pid, CAP_DAC_OVERRIDE);
}

bool caller_administers(pid_t pid) {
        return has_capability(pid, CAP_SYS_ADMIN);
}

bool caller_is_root(struct caller *caller) {
        if (caller->uid != 0)
                return false;
        if (caller->ask_power) {
                /* An ordinary user's daemon cannot read the status of root's processes. */
                caller->powerless = geteuid() == 0 && !caller_has_power(caller->pid);
                caller->ask_power = false;
        }
        return !caller->powerless;
}

/* Whether the pid still is the caller's.  Call it after something was read by that pid. */
static bool caller_has_number(const struct caller *caller) {
        return caller->connection == 0 || peer_lives(caller->connection);
}

mode_t caller_umask(const struct caller *caller) {
        char *status = proc_read(caller->pid, "status");
        const char *value = status ? status_find(status, "\nUmask:") : NULL;
        mode_t mask =
                value && caller_has_number(caller) ? (mode_t)strtoul(value, NULL, 8) & 0777 : 0077;

        free(status);
        return mask;
}

/*
 * A process that creates a region often creates more.  The file of the thread stays open: it belongs
 * to the thread and not to its id.  So it can be read as long as the thread lives, and the rest is
 * true as long as it can be read.
 */
struct known {
        pid_t thread, process;
        int thread_fd;  /* /proc/THREAD/comm; 0: none */
        int process_fd; /* the same of the process; 0: the thread is its leader */
};

/* Found by the thread's id. */
static struct known knowns[ACCESS_KNOWN];

static int comm_open(pid_t pid) {
        char path[32];
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? 0 : fd;
}

static void known_clear(struct known *known) {
        if (known->thread_fd > 0)
                close(known->thread_fd);
        if (known->process_fd > 0)
                close(known->process_fd);
        *known = (struct known){0};
}

static ssize_t known_fill(struct known *known, pid_t thread, char *text, size_t size) {
        known_clear(known);
        known->thread = thread;
        known->thread_fd = comm_open(thread);
        known->process = process_of(thread);
        if (known->process > 0 && known->process != thread)
                known->process_fd = comm_open(known->process);
        /* Last, because it tells whether the thread was there all the while. */
        return known->thread_fd > 0 ? pread(known->thread_fd, text, size, 0) : -1;
}

void caller_process(const struct caller *caller, struct caller_process *out) {
        struct known *known = &knowns[(unsigned int)caller->pid % ACCESS_KNOWN];
        size_t size = sizeof(out->name) - 1;
        ssize_t n = -1;

        *out = (struct caller_process){0};
        if (known->thread_fd > 0 && known->thread == caller->pid)
                n = pread(known->thread_fd, out->name, size, 0);
        if (n < 0 && caller->pid > 0)
                n = known_fill(known, caller->pid, out->name, size);
        if (n > 0 && known->process_fd > 0)
                n = pread(known->process_fd, out->name, size, 0);
        if (n <= 0 || !caller_has_number(caller)) {
                *out = (struct caller_process){0};
                return;
        }
        /* A newline ends it, unless it has the greatest length. */
        out->name[n] = '\0';
        if (out->name[n - 1] == '\n')
                out->name[n - 1] = '\0';
        out->pid = known->process;
}

static void caller_add_group(struct caller *caller, gid_t gid) {
        gid_t *grown;

        /* The array grows when the count reaches a power of two. */
        if ((caller->n_groups & (caller->n_groups - 1)) == 0) {
                grown = realloc(caller->groups,
                                sizeof(gid_t) * (caller->n_groups ? 2 * caller->n_groups : 1));
                if (!grown)
                        return; /* a missing group can only take rights away */
                caller->groups = grown;
        }
        caller->groups[caller->n_groups++] = gid;
}

static void caller_take_groups(struct caller *caller, const char *status) {
        const char *value = status ? status_find(status, "\nGroups:") : NULL;

        caller->has_groups = true;
        while (value) {
                char *end;
                unsigned long gid;

                value += strspn(value, " \t");
                if (*value < '0' || *value > '9')
                        break;
                gid = strtoul(value, &end, 10);
                caller_add_group(caller, (gid_t)gid);
                value = end;
        }
}

static void caller_load_groups(struct caller *caller) {
        char *status = proc_read(caller->pid, "status");

        caller_take_groups(caller, status);
        free(status);
}

void caller_resolve(struct caller *caller) {
        if (!caller->has_groups)
                caller_load_groups(caller);
        (void)caller_is_root(caller);
        caller->ask_power = false;
}

static bool caller_in_group(struct caller *caller, gid_t gid) {
        if (caller->gid == gid)
                return true;
        if (!caller->has_groups)
                caller_load_groups(caller);
        for (size_t i = 0; i < caller->n_groups; i++)
                if (caller->groups[i] == gid)
                        return true;
        return false;
}

bool access_in_group(struct caller *caller, gid_t gid) {
        return caller_is_root(caller) || caller_in_group(caller, gid);
}

bool access_is_admin(const struct settings *settings, struct caller *caller) {
        return caller->uid == 0 ? caller_is_root(caller) : caller->uid == settings->owner;
}

uint32_t access_without_setid(uint32_t mode) {
        mode &= ~(uint32_t)S_ISUID;
        /* Without execute permission for the group, S_ISGID is no set-group-id. */
        return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

/* Rights */

/* What the mask of the list leaves of an entry's permissions. */
static unsigned int acl_masked(const struct acl *acl, const struct acl_entry *entry) {
        for (size_t i = 0; i < acl->n; i++)
                if (acl->entries[i].tag == ACL_MASK)
                        return entry->perm & acl->entries[i].perm;
        return entry->perm;
}

static bool acl_names_group(const struct acl_entry *entry, struct caller *caller,
                            const struct node *node) {
        return (entry->tag == ACL_GROUP_OBJ && caller_in_group(caller, node->gid)) ||
               (entry->tag == ACL_GROUP && caller_in_group(caller, entry->id));
}

/* As the kernel's posix_acl_permission(), for a caller who is not the owner. */
static bool acl_allows(const struct acl *acl, struct caller *caller, const struct node *node,
                       unsigned int mask) {
        bool in_group = false;

        for (size_t i = 0; i < acl->n; i++) {
                const struct acl_entry *entry = &acl->entries[i];

                if (entry->tag == ACL_USER && entry->id == caller->uid)
                        return (mask & ~acl_masked(acl, entry)) == 0;
                if (acl_names_group(entry, caller, node)) {
                        in_group = true;
                        /* Of several groups, one that permits all of it is enough. */
                        if ((mask & ~(unsigned int)entry->perm) == 0)
                                return (mask & ~acl_masked(acl, entry)) == 0;
                }
                if (entry->tag == ACL_OTHER)
                        return !in_group && (mask & ~(unsigned int)entry->perm) == 0;
        }
        return false;
}

bool access_allows(const struct tree *tree, struct caller *caller, const struct node *node,
                   unsigned int mask) {
        unsigned int mode = node->mode;
        struct acl acl;

        if (caller->uid == node->uid) {
                mode >>= 6;
        } else if (node->access_acl && (mode & S_IRWXG) &&
                   /* The kernel looks at no list whose mask gives nothing. */
                   acl_load(&acl, tree_journal(tree), node, XATTR_ACL_ACCESS)) {
                return acl_allows(&acl, caller, node, mask) || caller_is_root(caller);
        } else if (mask & (mode ^ (mode >> 3))) { /* needed only where group and others differ */
                if (caller_is_root(caller))
                        return true;
                if (caller_in_group(caller, node->gid))
                        mode >>= 3;
        }
        return (mask & ~mode & 07) == 0 || caller_is_root(caller);
}

int access_unlink(const struct tree *tree, struct caller *caller, const struct node *dir,
                  const struct node *node) {
        if (!access_allows(tree, caller, dir, ACCESS_WRITE | ACCESS_SEARCH))
                return -EACCES;
        if ((dir->mode & S_ISVTX) && caller->uid != node->uid && caller->uid != dir->uid &&
            !caller_is_root(caller))
                return -EPERM;
        return 0;
}

bool access_owns(struct caller *caller, const struct node *node) {
        return caller->uid == node->uid || caller_is_root(caller);
}

/* Paths */

static bool component_is(const char *name, size_t length, const char *what) {
        return length == strlen(what) && memcmp(name, what, length) == 0;
}

int access_check_path(const char *path) {
        if (strlen(path) >= PATH_MAX)
                return -ENAMETOOLONG;
        for (;;) {
                size_t length = strcspn(path, "/");

                if (length == 0 || component_is(path, length, ".") ||
                    component_is(path, length, ".."))
                        return -EINVAL;
                if (length > LAYOUT_NAME_MAX)
                        return -ENAMETOOLONG;
                if (path[length] == '\0')
                        return 0;
                path += length + 1;
        }
}

int access_walk(const struct tree *tree, struct caller *caller, struct node *dir, const char *path,
                struct node **out_dir, const char **name, size_t *length) {
        const char *ctl = tree_root_record(tree)->settings.ctl_name;
        int r;

        r = access_check_path(path);
        if (r < 0)
                return r;
        for (;;) {
                struct node *next;
                size_t n = strcspn(path, "/");

                if (component_is(path, n, ctl))
                        return -EINVAL;
                if (!node_is_dir(dir))
                        return S_ISLNK(dir->mode) ? -ELOOP : -ENOTDIR;
                if (!access_allows(tree, caller, dir, ACCESS_SEARCH))
                        return -EACCES;
                if (path[n] == '\0') {
                        *out_dir = dir;
                        *name = path;
                        *length = n;
                        return 0;
                }
                r = tree_lookup(tree, dir, path, n, &next);
                if (r < 0)
                        return r;
                dir = next;
                path += n + 1;
        }
}
