/* SPDX-License-Identifier: MIT */

/*
 * read_records: prints the names in the records of descriptor 0, and checks that they hold together.
 *
 * For records of earlier releases, see tests/records/record.  A line is a name's mode, owner, group,
 * inode number, links and size, with what a symbolic link points to, and the path.
 */

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tree/tree.h"

static bool keep(void *userdata, struct node *node) {
        (void)userdata;
        (void)node;
        return false;
}

static int print_entry(const struct tree *tree, const char *path, const struct dentry *dentry) {
        const struct node *node = tree_node(tree, dentry->node);
        char target[PATH_MAX] = "";

        if (!node)
                return -ENOENT;
        if (S_ISLNK(node->mode))
                tree_readlink(tree, node, target);
        printf("%" PRIo32 " %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu32 " %" PRIu64
               " %s\t%s/%s\n",
               node->mode, node->uid, node->gid, node->ino, node_is_dir(node) ? 0 : node->nlink,
               node_is_region(node) ? node->size : 0, target, path, dentry->name);
        return 0;
}

/* The hash must find what the order has, and the order must have what the directory counts. */
static int print_directory(const struct tree *tree, const struct node *dir, const char *path) {
        const struct dentry *dentry;
        char below[PATH_MAX];
        struct node *node;
        uint32_t n = 0;
        int r = 0;

        for (dentry = tree_next(tree, dir, 0); r == 0 && dentry;
             dentry = tree_next(tree, dir, dentry->cookie)) {
                n++;
                r = print_entry(tree, path, dentry);
                if (r == 0)
                        r = tree_lookup(tree, dir, dentry->name, dentry->length, &node);
                if (r == 0 && node->id != dentry->node)
                        r = -EIO;
                snprintf(below, sizeof(below), "%s/%s", path, dentry->name);
                if (r == 0 && node_is_dir(node))
                        r = print_directory(tree, node, below);
        }
        return r == 0 && n != dir->children ? -EIO : r;
}

int main(void) {
        struct journal *journal;
        struct tree *tree;
        int r = journal_attach(&journal, dup(STDIN_FILENO), layout_spec());

        if (r == 0)
                r = tree_new(&tree, journal, keep, NULL);
        if (r == 0)
                r = print_directory(tree, tree_node(tree, LAYOUT_ROOT_ID), "");
        if (r == 0)
                printf("inodes %" PRIu64 "\n", tree_inodes(tree));
        if (r < 0)
                fprintf(stderr, "read_records: %s\n", strerror(-r));
        return r < 0;
}
