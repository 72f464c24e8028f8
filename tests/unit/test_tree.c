/* SPDX-License-Identifier: MIT */

/*
 * The tree: each operation and its errors, reading a directory that changes, and a kill at every
 * crash point of a long scenario, after which the tree must be as after one of its steps.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "tree/tree.h"

#define NAME(name) (name), strlen(name)

struct world {
        struct journal *journal;
        struct tree *tree;
        struct node *root;
        unsigned int released;
};

static bool on_release(void *userdata, struct node *node) {
        struct world *world = userdata;

        (void)node;
        world->released++;
        return true;
}

static void world_open(struct world *world) {
        assert_int_equal(tree_new(&world->tree, world->journal, on_release, world), 0);
        journal_commit(world->journal);
        world->root = tree_node(world->tree, LAYOUT_ROOT_ID);
        assert_non_null(world->root);
}

static void world_new(struct world *world) {
        struct root *root;

        memset(world, 0, sizeof(*world));
        assert_int_equal(journal_create(&world->journal, layout_spec()), 0);
        root = journal_root(world->journal);
        root->settings.root_mode = 01777;
        strcpy(root->settings.ctl_name, ".ctl");
        world_open(world);
}

static void world_clear(struct world *world) {
        tree_free(world->tree);
        journal_free(world->journal);
}

static struct node *make(struct world *world, struct node *dir, const char *name, mode_t mode) {
        struct create_attrs attrs = {.mode = mode, .uid = 1, .gid = 2};
        struct node *node = NULL;

        assert_int_equal(tree_create(world->tree, dir, NAME(name), &attrs, &node), 0);
        return node;
}

static int try_make(struct world *world, struct node *dir, const char *name) {
        struct create_attrs attrs = {.mode = S_IFREG | 0644};
        struct node *node;

        return tree_create(world->tree, dir, NAME(name), &attrs, &node);
}

static struct node *find(struct world *world, struct node *dir, const char *name) {
        struct node *node;

        return tree_lookup(world->tree, dir, NAME(name), &node) == 0 ? node : NULL;
}

/* The tree as text, and that every count in it is right. */
static void describe(struct world *world, struct node *dir, unsigned int depth, FILE *out) {
        const struct dentry *dentry;
        unsigned int entries = 0, dirs = 0;

        for (uint64_t at = 0; (dentry = tree_next(world->tree, dir, at)); at = dentry->cookie) {
                struct node *node = tree_node(world->tree, dentry->node);

                assert_non_null(node);
                assert_true(dentry->cookie > at);
                assert_ptr_equal(find(world, dir, dentry->name), node);
                fprintf(out, "%*s%s %o %u\n", (int)depth * 2, "", dentry->name, node->mode,
                        node->nlink);
                entries++;
                if (node_is_dir(node)) {
                        dirs++;
                        assert_int_equal(node->parent, dir->id);
                        assert_ptr_equal(tree_name_of(world->tree, node), dentry);
                        describe(world, node, depth + 1, out);
                }
        }
        assert_int_equal(entries, dir->children);
        assert_int_equal(dir->nlink, 2 + dirs);
}

static char *described(struct world *world) {
        char *text = NULL;
        size_t length;
        FILE *out = open_memstream(&text, &length);

        assert_non_null(out);
        describe(world, world->root, 0, out);
        fprintf(out, "%u nodes %u names %u texts\n", journal_used(world->journal, TABLE_NODE),
                journal_used(world->journal, TABLE_DENTRY),
                journal_used(world->journal, TABLE_TEXT));
        fclose(out);
        return text;
}

static void test_create_errors(void **state) {
        struct world world;
        char name[LAYOUT_NAME_MAX + 2];
        struct node *dir, *file, *out;

        (void)state;
        world_new(&world);
        dir = make(&world, world.root, "dir", S_IFDIR | 0755);
        file = make(&world, world.root, "file", S_IFREG | 0644);
        assert_int_equal(try_make(&world, world.root, "file"), -EEXIST);
        assert_int_equal(try_make(&world, world.root, ".ctl"), -EEXIST);
        assert_int_equal(try_make(&world, world.root, ""), -EINVAL);
        assert_int_equal(try_make(&world, world.root, "."), -EINVAL);
        assert_int_equal(try_make(&world, world.root, ".."), -EINVAL);
        assert_int_equal(try_make(&world, world.root, "a/b"), -EINVAL);
        assert_int_equal(try_make(&world, file, "x"), -ENOTDIR);

        memset(name, 'n', sizeof(name));
        name[LAYOUT_NAME_MAX + 1] = '\0';
        assert_int_equal(try_make(&world, world.root, name), -ENAMETOOLONG);
        assert_int_equal(tree_lookup(world.tree, world.root, NAME(name), &out), -ENAMETOOLONG);
        name[LAYOUT_NAME_MAX] = '\0';
        assert_int_equal(try_make(&world, world.root, name), 0);
        assert_non_null(find(&world, world.root, name));

        tree_lookup_ref(world.tree, dir);
        assert_int_equal(tree_rmdir(world.tree, world.root, NAME("dir")), 0);
        assert_int_equal(try_make(&world, dir, "x"), -ENOENT);
        tree_lookup_unref(world.tree, dir, 1);
        assert_int_equal(tree_rmdir(world.tree, world.root, NAME("file")), -ENOTDIR);
        assert_int_equal(tree_unlink(world.tree, world.root, NAME("none")), -ENOENT);
        free(described(&world));
        world_clear(&world);
}

static void test_limit_of_nodes(void **state) {
        struct world world;

        (void)state;
        world_new(&world);
        limit_mount(world.journal)->nodes = 3;
        assert_int_equal(try_make(&world, world.root, "a"), 0);
        assert_int_equal(try_make(&world, world.root, "b"), 0);
        assert_int_equal(try_make(&world, world.root, "c"), -ENOSPC);
        assert_int_equal(tree_unlink(world.tree, world.root, NAME("a")), 0);
        assert_int_equal(try_make(&world, world.root, "c"), 0);
        world_clear(&world);
}

static void test_lifetime(void **state) {
        struct world world;
        struct node *node;
        uint64_t id;

        (void)state;
        world_new(&world);
        node = make(&world, world.root, "f", S_IFREG | 0644);
        id = node->id;
        tree_lookup_ref(world.tree, node);
        tree_opened(world.tree, node, true);
        assert_int_equal(tree_link(world.tree, node, world.root, NAME("g")), 0);
        assert_int_equal(node->nlink, 2);
        assert_int_equal(tree_unlink(world.tree, world.root, NAME("f")), 0);
        assert_int_equal(tree_unlink(world.tree, world.root, NAME("g")), 0);
        assert_int_equal(world.released, 0);
        tree_closed(world.tree, node, true);
        assert_int_equal(world.released, 1);
        assert_int_equal(tree_link(world.tree, node, world.root, NAME("h")), -ENOENT);
        assert_non_null(tree_node(world.tree, id));
        tree_lookup_unref(world.tree, node, 1);
        assert_null(tree_node(world.tree, id));
        assert_int_equal(world.released, 1);
        world_clear(&world);
}

static void test_group_of_setgid_directory(void **state) {
        struct world world;
        struct node *dir;

        (void)state;
        world_new(&world);
        dir = make(&world, world.root, "dir", S_IFDIR | S_ISGID | 0775);
        dir->gid = 77;
        assert_int_equal(make(&world, dir, "f", S_IFREG | 0644)->gid, 77);
        assert_int_equal(make(&world, dir, "d", S_IFDIR | 0755)->mode, S_IFDIR | S_ISGID | 0755);
        world_clear(&world);
}

static void test_symlink(void **state) {
        static const size_t lengths[] = {1, 126, 127, 128, 129, 1000, PATH_MAX - 1};
        struct create_attrs attrs = {.mode = S_IFLNK | 0777};
        struct world world;
        char target[PATH_MAX + 1], read[PATH_MAX];
        struct node *node;

        (void)state;
        world_new(&world);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
                for (size_t c = 0; c < lengths[i]; c++)
                        target[c] = (char)('a' + c % 26);
                target[lengths[i]] = '\0';
                assert_int_equal(
                        tree_symlink(world.tree, world.root, NAME("l"), &attrs, target, &node), 0);
                tree_readlink(world.tree, node, read);
                assert_string_equal(read, target);
                assert_int_equal(journal_used(world.journal, TABLE_TARGET),
                                 lengths[i] >= LAYOUT_TARGET_LEAST);
                assert_int_equal(tree_unlink(world.tree, world.root, NAME("l")), 0);
                assert_int_equal(journal_used(world.journal, TABLE_TEXT), 0);
                assert_int_equal(journal_used(world.journal, TABLE_TARGET), 0);
        }
        memset(target, 'x', PATH_MAX);
        target[PATH_MAX] = '\0';
        assert_int_equal(tree_symlink(world.tree, world.root, NAME("l"), &attrs, target, &node),
                         -ENAMETOOLONG);
        world_clear(&world);
}

static int move(struct world *world, struct node *dir, const char *name, struct node *to,
                const char *new_name, unsigned int flags) {
        return tree_rename(world->tree, dir, NAME(name), to, NAME(new_name), flags,
                           &(struct create_attrs){0});
}

static void test_rename(void **state) {
        struct world world;
        struct node *a, *b, *f, *g;

        (void)state;
        world_new(&world);
        a = make(&world, world.root, "a", S_IFDIR | 0755);
        b = make(&world, a, "b", S_IFDIR | 0755);
        f = make(&world, world.root, "f", S_IFREG | 0644);
        g = make(&world, world.root, "g", S_IFREG | 0644);

        assert_int_equal(move(&world, world.root, "none", a, "x", 0), -ENOENT);
        assert_int_equal(move(&world, world.root, "a", b, "a", 0), -EINVAL);
        assert_int_equal(move(&world, world.root, "f", world.root, "a", 0), -EISDIR);
        assert_int_equal(move(&world, world.root, "a", world.root, "f", 0), -ENOTDIR);
        assert_int_equal(move(&world, a, "b", world.root, "a", 0), -ENOTEMPTY);
        assert_int_equal(move(&world, world.root, "f", world.root, "g", RENAME_NOREPLACE), -EEXIST);
        assert_int_equal(move(&world, world.root, "f", a, "x", RENAME_EXCHANGE), -ENOENT);
        assert_int_equal(move(&world, world.root, "f", a, "x", RENAME_EXCHANGE | RENAME_NOREPLACE),
                         -EINVAL);
        assert_int_equal(move(&world, world.root, "f", a, "x", 1u << 7), -EINVAL);

        assert_int_equal(move(&world, world.root, "f", world.root, "g", RENAME_EXCHANGE), 0);
        assert_ptr_equal(find(&world, world.root, "f"), g);
        assert_int_equal(move(&world, world.root, "f", a, "b", RENAME_EXCHANGE), 0);
        assert_ptr_equal(find(&world, world.root, "f"), b);
        assert_int_equal(b->parent, LAYOUT_ROOT_ID);
        assert_int_equal(a->nlink, 2);
        free(described(&world));

        assert_int_equal(move(&world, world.root, "g", world.root, "w", RENAME_WHITEOUT), 0);
        assert_ptr_equal(find(&world, world.root, "w"), f);
        assert_true(S_ISCHR(find(&world, world.root, "g")->mode));

        assert_int_equal(move(&world, world.root, "w", a, "b", 0), 0);
        assert_int_equal(world.released, 1);
        assert_ptr_equal(find(&world, a, "b"), f);
        assert_int_equal(move(&world, world.root, "f", a, "moved", 0), 0);
        assert_int_equal(a->nlink, 3);
        free(described(&world));
        world_clear(&world);
}

static void test_reading_while_changing(void **state) {
        struct world world;
        const struct dentry *dentry;
        unsigned int stayed[1000] = {0};
        uint64_t at = 0;
        char name[16];

        (void)state;
        world_new(&world);
        for (int i = 0; i < 1000; i++) {
                snprintf(name, sizeof(name), "%d", i);
                make(&world, world.root, name, S_IFREG | 0644);
        }
        /* After each entry one that was there goes (all odd ones, from the end), one comes. */
        for (int i = 999; (dentry = tree_next(world.tree, world.root, at)); i -= 2) {
                char *end;
                long n = strtol(dentry->name, &end, 10);

                at = dentry->cookie;
                if (*end == '\0')
                        stayed[n]++;
                if (i < 0)
                        continue;
                snprintf(name, sizeof(name), "%d", i);
                assert_int_equal(tree_unlink(world.tree, world.root, NAME(name)), 0);
                snprintf(name, sizeof(name), "new%d", i);
                make(&world, world.root, name, S_IFREG | 0644);
        }
        for (int i = 0; i < 1000; i += 2)
                assert_int_equal(stayed[i], 1);
        for (int i = 1; i < 1000; i += 2)
                assert_true(stayed[i] <= 1);
        world_clear(&world);
}

/* A reader who replaces each file that it meets, as rewriting tools do, meets each once. */
static void test_replacing_while_reading(void **state) {
        const struct dentry *dentry;
        uint64_t at = UINT64_MAX;
        unsigned int met = 0;
        struct world world;
        char name[LAYOUT_NAME_MAX + 1];

        (void)state;
        world_new(&world);
        for (int i = 0; i < 100; i++) {
                snprintf(name, sizeof(name), "%d", i);
                make(&world, world.root, name, S_IFREG | 0644);
        }
        for (; (dentry = tree_before(world.tree, world.root, at)); met++) {
                struct node *node = make(&world, world.root, "new", S_IFREG | 0600);

                assert_true(dentry->cookie < at);
                at = dentry->cookie;
                snprintf(name, sizeof(name), "%s", dentry->name);
                assert_int_equal(move(&world, world.root, "new", world.root, name, 0), 0);
                assert_ptr_equal(find(&world, world.root, name), node);
                assert_ptr_equal(tree_name_of(world.tree, node), dentry);
        }
        assert_int_equal(met, 100);
        free(described(&world));
        world_clear(&world);
}

/* One step of the scenario that is killed; false after the last. */
static bool step(struct world *world, unsigned int n) {
        struct create_attrs link = {.mode = S_IFLNK | 0777};
        struct node *a = find(world, world->root, "a"), *out;
        char target[600];

        switch (n) {
        case 0:
                make(world, world->root, "a", S_IFDIR | 0755);
                break;
        case 1:
                make(world, a, "f", S_IFREG | 0644);
                break;
        case 2:
                tree_link(world->tree, find(world, a, "f"), world->root, NAME("hard"));
                break;
        case 3:
                memset(target, 't', sizeof(target));
                target[sizeof(target) - 1] = '\0';
                tree_symlink(world->tree, a, NAME("soft"), &link, target, &out);
                break;
        case 4:
                move(world, world->root, "hard", a, "moved", 0);
                break;
        case 5:
                make(world, world->root, "b", S_IFDIR | 0755);
                break;
        case 6:
                move(world, world->root, "b", a, "soft", RENAME_EXCHANGE);
                break;
        case 7:
                move(world, a, "f", a, "white", RENAME_WHITEOUT);
                break;
        case 8:
                make(world, a, "victim", S_IFREG | 0600);
                break;
        case 9:
                move(world, a, "white", a, "victim", 0);
                break;
        case 10:
                tree_unlink(world->tree, world->root, NAME("b"));
                break;
        case 11:
                tree_rmdir(world->tree, a, NAME("soft"));
                break;
        case 12:
                tree_unlink(world->tree, a, NAME("moved"));
                break;
        default:
                return false;
        }
        return true;
}

enum { STEPS = 13 };

static void play(struct world *world) {
        uint32_t *done = journal_scratch(world->journal);

        for (unsigned int n = 0; step(world, n); n++) {
                journal_commit(world->journal);
                *done = n + 1;
        }
}

static void test_kill_anywhere(void **state) {
        char *expected[STEPS + 1];
        struct world world;
        bool crashed;
        uint64_t n = 0;

        (void)state;
        world_new(&world);
        expected[0] = described(&world);
        for (unsigned int i = 0; step(&world, i); i++) {
                journal_commit(world.journal);
                expected[i + 1] = described(&world);
        }
        world_clear(&world);

        do {
                struct journal *again;
                uint32_t done;
                char *found;
                int status;
                pid_t pid;

                world_new(&world);
                journal_crash_after(world.journal, ++n);
                pid = fork();
                assert_true(pid >= 0);
                if (pid == 0) {
                        play(&world);
                        _exit(0);
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                crashed = WIFSIGNALED(status);
                if (!crashed)
                        assert_int_equal(WEXITSTATUS(status), 0);
                else
                        assert_int_equal(WTERMSIG(status), SIGKILL);

                assert_int_equal(
                        journal_attach(&again, dup(journal_fd(world.journal)), layout_spec()), 0);
                world_clear(&world);
                world.journal = again;
                journal_crash_after(again, 0);
                world_open(&world);
                done = *(uint32_t *)journal_scratch(again);
                found = described(&world);
                /* The step that was under way has happened wholly or not at all. */
                if (strcmp(found, expected[done]) != 0)
                        assert_string_equal(found, expected[done < STEPS ? done + 1 : done]);
                free(found);

                /* And it can be worked on. */
                make(&world, world.root, "afterwards", S_IFREG | 0644);
                assert_int_equal(tree_unlink(world.tree, world.root, NAME("afterwards")), 0);
                world_clear(&world);
        } while (crashed);
        assert_true(n > 200);
        for (unsigned int i = 0; i <= STEPS; i++)
                free(expected[i]);
}

/* The kernel keeps its listing of a directory for as long as mtime does not move. */
static void test_mtime_moves_at_every_change(void **state) {
        struct stamp last, long_ago = {1, 999999999}, far_off = {INT64_C(1) << 33, 0};
        struct world world;
        char name[16];

        (void)state;
        world_new(&world);
        last = world.root->mtime;
        for (int i = 0; i < 10000; i++) {
                snprintf(name, sizeof(name), "%d", i / 2);
                if (i % 2 == 0)
                        make(&world, world.root, name, S_IFREG | 0644);
                else
                        assert_int_equal(tree_unlink(world.tree, world.root, NAME(name)), 0);
                journal_commit(world.journal);
                stamp_end();
                assert_memory_not_equal(&world.root->mtime, &last, sizeof(last));
                last = stamp_max(last, world.root->mtime);
                assert_memory_equal(&world.root->mtime, &last, sizeof(last));
        }
        /* It does not run away from the clock, and what somebody has set does not stay. */
        stamp_end();
        last = stamp_now();
        assert_true(world.root->mtime.sec <= last.sec + 1);
        world.root->mtime = far_off;
        make(&world, world.root, "later", S_IFREG | 0644);
        stamp_end();
        assert_true(world.root->mtime.sec >= last.sec && world.root->mtime.sec <= last.sec + 60);
        world.root->mtime = long_ago;
        make(&world, world.root, "earlier", S_IFREG | 0644);
        assert_true(world.root->mtime.sec >= last.sec);
        world_clear(&world);
}

static void test_moved_stamps(void **state) {
        struct stamp now = stamp_now(), end = {now.sec, 999999999}, moved;

        (void)state;
        /* Right before a second ends, the next one begins. */
        do {
                stamp_end();
                now = stamp_now();
                end = (struct stamp){now.sec, 999999999};
                moved = stamp_moved(end);
        } while (now.nsec < 995000000);
        assert_true(moved.sec > end.sec && moved.nsec < 999999999);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_create_errors),
                cmocka_unit_test(test_limit_of_nodes),
                cmocka_unit_test(test_lifetime),
                cmocka_unit_test(test_group_of_setgid_directory),
                cmocka_unit_test(test_symlink),
                cmocka_unit_test(test_rename),
                cmocka_unit_test(test_reading_while_changing),
                cmocka_unit_test(test_replacing_while_reading),
                cmocka_unit_test(test_mtime_moves_at_every_change),
                cmocka_unit_test(test_moved_stamps),
                cmocka_unit_test(test_kill_anywhere),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
