/* SPDX-License-Identifier: MIT */

/*
 * The walk over regions: what it meets and what it passes over, that it visits no more than it may,
 * and that it goes on where it was, whatever has become of the tree meanwhile.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "control/walk.h"

#define NAME(name) (name), strlen(name)

enum { ENOUGH = 100000 };

struct world {
        struct journal *journal;
        struct tree *tree;
        struct node *root;
        struct caller root_user, user;
        int budget;
        struct walk walk;
        char *met; /* paths, each with a newline */
};

static bool on_release(void *userdata, struct node *node) {
        (void)userdata;
        (void)node;
        return true;
}

static int world_new(void **state) {
        struct world *world = calloc(1, sizeof(*world));

        assert_non_null(world);
        assert_int_equal(journal_create(&world->journal, layout_spec()), 0);
        ((struct root *)journal_root(world->journal))->settings.root_mode = 0755;
        assert_int_equal(tree_new(&world->tree, world->journal, on_release, world), 0);
        world->root = tree_node(world->tree, LAYOUT_ROOT_ID);
        world->root_user = (struct caller){.has_groups = true};
        world->user = (struct caller){.uid = 1000, .gid = 1000, .has_groups = true};
        *state = world;
        return 0;
}

static int world_free(void **state) {
        struct world *world = *state;

        free(world->met);
        tree_free(world->tree);
        journal_free(world->journal);
        free(world);
        return 0;
}

static struct node *make(struct world *world, struct node *dir, const char *name, mode_t mode) {
        struct create_attrs attrs = {.mode = mode};
        struct node *node = NULL;

        assert_int_equal(tree_create(world->tree, dir, NAME(name), &attrs, &node), 0);
        return node;
}

static struct node *make_dir(struct world *world, struct node *dir, const char *name) {
        return make(world, dir, name, S_IFDIR | 0755);
}

static void move(struct world *world, struct node *dir, const char *name, struct node *to,
                 const char *new_name) {
        struct create_attrs attrs = {0};

        assert_int_equal(tree_rename(world->tree, dir, NAME(name), to, NAME(new_name), 0, &attrs),
                         0);
}

static void begin(struct world *world, struct caller *caller, const struct node *top) {
        free(world->met);
        world->met = strdup("");
        world->walk.tree = world->tree;
        world->walk.caller = caller;
        world->walk.budget = &world->budget;
        walk_begin(&world->walk, top);
}

/* What is kept in the records is all that a later turn has. */
static void interrupt(struct world *world) {
        struct walk *fresh = malloc(sizeof(*fresh));

        memset(fresh, 0xa5, sizeof(*fresh));
        fresh->tree = world->walk.tree;
        fresh->caller = world->walk.caller;
        fresh->budget = world->walk.budget;
        fresh->too_long = world->walk.too_long;
        fresh->depth = world->walk.depth;
        memcpy(fresh->levels, world->walk.levels, fresh->depth * sizeof(*fresh->levels));
        world->walk = *fresh;
        free(fresh);
}

static void note(struct world *world) {
        char *longer = NULL;

        assert_int_equal(world->walk.length, strlen(world->walk.path));
        assert_true(asprintf(&longer, "%s%s\n", world->met, world->walk.path) > 0);
        free(world->met);
        world->met = longer;
}

/* One turn with that budget; false: the walk is over. */
static bool turn(struct world *world, int budget) {
        world->budget = budget;
        walk_resume(&world->walk);
        while (walk_next(&world->walk))
                note(world);
        interrupt(world);
        return !walk_is_over(&world->walk);
}

static void all(struct world *world, int budget) {
        while (turn(world, budget))
                ;
}

static void build(struct world *world) {
        struct node *a = make_dir(world, world->root, "a"), *b;

        make(world, world->root, "1", S_IFREG | 0600);
        make(world, a, "2", S_IFREG | 0600);
        make(world, a, "fifo", S_IFIFO | 0600);
        b = make_dir(world, a, "b");
        make(world, b, "3", S_IFREG | 0600);
        make_dir(world, a, "empty");
        make(world, a, "4", S_IFREG | 0600);
        make(world, world->root, "5", S_IFREG | 0600);
}

static const char built[] = "a/2\na/b/3\na/4\n1\n5\n";

static void all_are_met_once(void **state) {
        struct world *world = *state;

        build(world);
        begin(world, &world->root_user, world->root);
        all(world, ENOUGH);
        assert_string_equal(world->met, built);
        /* In turns of every length that is enough for the way to where it was, and a step. */
        for (int budget = 1; budget < 20; budget++) {
                begin(world, &world->root_user, world->root);
                all(world, budget);
                assert_string_equal(world->met, built);
        }
}

static void relative_to_the_top(void **state) {
        struct world *world = *state;
        struct node *a;

        build(world);
        assert_int_equal(tree_lookup(world->tree, world->root, NAME("a"), &a), 0);
        begin(world, &world->root_user, a);
        all(world, ENOUGH);
        assert_string_equal(world->met, "2\nb/3\n4\n");
}

static void hidden_directories_are_passed_over(void **state) {
        struct world *world = *state;
        struct node *secret, *search;

        build(world);
        secret = make(world, world->root, "secret", S_IFDIR | 0700);
        make(world, secret, "in", S_IFREG | 0666);
        /* To know a name is not to be shown it. */
        search = make(world, world->root, "search", S_IFDIR | 0711);
        make(world, search, "in", S_IFREG | 0666);
        begin(world, &world->user, world->root);
        all(world, ENOUGH);
        assert_string_equal(world->met, built);
        begin(world, &world->root_user, world->root);
        all(world, ENOUGH);
        assert_non_null(strstr(world->met, "secret/in\nsearch/in\n"));
        begin(world, &world->user, secret);
        assert_true(walk_is_over(&world->walk));
}

/* A directory whose rights went while the walk was elsewhere is not gone into. */
static void rights_are_those_of_now(void **state) {
        struct world *world = *state;
        struct node *a;

        build(world);
        assert_int_equal(tree_lookup(world->tree, world->root, NAME("a"), &a), 0);
        begin(world, &world->user, world->root);
        a->mode = S_IFDIR | 0700;
        all(world, ENOUGH);
        assert_string_equal(world->met, "1\n5\n");
}

static void no_turn_visits_more_than_it_may(void **state) {
        struct world *world = *state;
        struct node *dir = world->root;
        char name[32];
        unsigned int turns = 0, files = 0;

        for (int depth = 0; depth < 20; depth++)
                dir = make_dir(world, dir, "d");
        for (int i = 0; i < 1000; i++) {
                snprintf(name, sizeof(name), "%d", i);
                make(world, dir, name, S_IFREG | 0600);
        }
        begin(world, &world->root_user, world->root);
        while (!walk_is_over(&world->walk)) {
                unsigned int met = 0;

                world->budget = 64;
                walk_resume(&world->walk);
                while (walk_next(&world->walk))
                        met++;
                assert_true(met <= 64);
                files += met;
                turns++;
                assert_true(turns < 1000);
        }
        assert_int_equal(files, 1000);
        assert_in_range(turns, 1000 / 64, 1000 / 40 + 3);
}

/* The way back down is longer than all that a turn may visit. */
static void deep_walks_end(void **state) {
        struct world *world = *state;
        struct node *dir = world->root;
        char name[32];
        int turns = 0, files = 0;

        for (int depth = 0; depth < 1000; depth++)
                dir = make_dir(world, dir, "d");
        for (int i = 0; i < 1000; i++) {
                snprintf(name, sizeof(name), "%d", i);
                make(world, dir, name, S_IFREG | 0600);
        }
        begin(world, &world->root_user, world->root);
        for (; !walk_is_over(&world->walk); turns++) {
                world->budget = 256;
                walk_resume(&world->walk);
                while (walk_next(&world->walk))
                        files++;
                assert_true(world->budget >= 256 - 1000 - 1000 / WALK_LEVELS_PER_STEP - 2);
                interrupt(world);
        }
        assert_int_equal(files, 1000);
        assert_true(turns < 100);
}

static void changes_on_the_way(void **state) {
        struct world *world = *state;
        struct node *a, *b;

        build(world);
        assert_int_equal(tree_lookup(world->tree, world->root, NAME("a"), &a), 0);
        assert_int_equal(tree_lookup(world->tree, a, NAME("b"), &b), 0);
        begin(world, &world->root_user, world->root);
        while (!strstr(world->met, "a/2\n"))
                assert_true(turn(world, 4));
        /* What was met comes no second time, what was not goes, and what is new may come. */
        assert_int_equal(tree_unlink(world->tree, a, NAME("2")), 0);
        assert_int_equal(tree_unlink(world->tree, b, NAME("3")), 0);
        make(world, a, "6", S_IFREG | 0600);
        all(world, 6);
        assert_string_equal(world->met, "a/2\na/4\na/6\n1\n5\n");
}

/* Goes on in the innermost directory that is still where it was. */
static void a_directory_that_moves_is_left(void **state) {
        struct world *world = *state;
        struct node *a, *b;

        build(world);
        assert_int_equal(tree_lookup(world->tree, world->root, NAME("a"), &a), 0);
        b = make_dir(world, world->root, "b");
        make(world, b, "7", S_IFREG | 0600);
        begin(world, &world->root_user, world->root);
        while (!strstr(world->met, "a/2\n"))
                assert_true(turn(world, 4));
        move(world, world->root, "a", b, "moved");
        all(world, 6);
        /* The rest of it is met where it is now, and that once. */
        assert_string_equal(world->met, "a/2\n1\n5\nb/7\nb/moved/2\nb/moved/b/3\nb/moved/4\n");
}

static void a_directory_that_goes_is_left(void **state) {
        struct world *world = *state;
        struct node *d = make_dir(world, world->root, "d"), *e;

        make(world, d, "1", S_IFREG | 0600);
        make(world, d, "2", S_IFREG | 0600);
        make(world, world->root, "3", S_IFREG | 0600);
        begin(world, &world->root_user, world->root);
        while (!strstr(world->met, "d/1\n"))
                assert_true(turn(world, 2));
        assert_int_equal(tree_unlink(world->tree, d, NAME("1")), 0);
        assert_int_equal(tree_unlink(world->tree, d, NAME("2")), 0);
        assert_int_equal(tree_rmdir(world->tree, world->root, NAME("d")), 0);
        /* Its record may be somebody else's by now. */
        e = make_dir(world, world->root, "e");
        make(world, e, "4", S_IFREG | 0600);
        all(world, 6);
        assert_string_equal(world->met, "d/1\n3\ne/4\n");
}

static void long_paths_are_counted(void **state) {
        struct world *world = *state;
        struct node *dir = world->root;
        char name[LAYOUT_NAME_MAX + 1];

        memset(name, 'n', LAYOUT_NAME_MAX);
        name[LAYOUT_NAME_MAX] = '\0';
        for (int depth = 0; depth < 17; depth++) {
                dir = make_dir(world, dir, name);
                make(world, dir, "f", S_IFREG | 0600);
        }
        begin(world, &world->root_user, world->root);
        all(world, 64);
        /* 15 * 256 + 255 bytes: the sixteenth directory has a path, what is in it has none. */
        assert_int_equal(world->walk.too_long, 2);
        assert_int_equal(strlen(world->met), 15 * 2 + 256 * (15 * 16 / 2));
}

static void paths_upwards(void **state) {
        struct world *world = *state;
        struct walk *walk = &world->walk;
        struct node *a, *b, *secret;

        build(world);
        assert_int_equal(tree_lookup(world->tree, world->root, NAME("a"), &a), 0);
        assert_int_equal(tree_lookup(world->tree, a, NAME("b"), &b), 0);
        begin(world, &world->user, world->root);
        world->budget = ENOUGH;
        assert_int_equal(walk_path(walk, world->root, b, NAME("x")), 0);
        assert_string_equal(walk->path, "a/b/x");
        assert_int_equal(walk_path(walk, a, b, NAME("x")), 0);
        assert_string_equal(walk->path, "b/x");
        assert_int_equal(walk_path(walk, b, a, NAME("x")), -EACCES);
        secret = make(world, b, "secret", S_IFDIR | 0700);
        assert_int_equal(walk_path(walk, world->root, secret, NAME("x")), -EACCES);
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, world_new, world_free)

int main(void) {
        const struct CMUnitTest tests[] = {
                WORLD_TEST(all_are_met_once),
                WORLD_TEST(relative_to_the_top),
                WORLD_TEST(hidden_directories_are_passed_over),
                WORLD_TEST(rights_are_those_of_now),
                WORLD_TEST(no_turn_visits_more_than_it_may),
                WORLD_TEST(deep_walks_end),
                WORLD_TEST(changes_on_the_way),
                WORLD_TEST(a_directory_that_moves_is_left),
                WORLD_TEST(a_directory_that_goes_is_left),
                WORLD_TEST(long_paths_are_counted),
                WORLD_TEST(paths_upwards),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
