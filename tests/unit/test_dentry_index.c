/* SPDX-License-Identifier: MIT */

/*
 * The index over names against a plain list of what was made: whatever is added, removed and rolled
 * back, in whatever order, names are found, directories are read in order, and nothing is deep.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sodium/crypto_shorthash.h>
#include "tree/tree.h"

enum {
        NAMES = 2000,
        STEPS = 40000,
        MANY = 100000,
        DEPTH_MAX = 100, /* of a random order of MANY: 45 is expected */
        CHAIN_MAX = 32,  /* of names that share a bucket by chance */
};

struct world {
        struct journal *journal;
        struct tree *tree;
        struct node *root;
};

static void world_new(struct world *world) {
        struct root *root;

        assert_int_equal(journal_create(&world->journal, layout_spec()), 0);
        root = journal_root(world->journal);
        root->settings.root_mode = 0755;
        assert_int_equal(tree_new(&world->tree, world->journal, NULL, NULL), 0);
        journal_commit(world->journal);
        world->root = tree_node(world->tree, LAYOUT_ROOT_ID);
}

static void world_clear(struct world *world) {
        tree_free(world->tree);
        journal_free(world->journal);
}

static struct node *make(struct world *world, const char *name) {
        struct create_attrs attrs = {.mode = S_IFIFO | 0600};
        struct node *node;

        assert_int_equal(tree_create(world->tree, world->root, name, strlen(name), &attrs, &node),
                         0);
        return node;
}

/* Both ways through the directory, name by name; both tell the same, and as much as there is. */
static void check_order(const struct world *world) {
        const struct dentry *dentry;
        uint64_t forward = 0, backward = UINT64_MAX, at = 0;
        uint32_t n = 0;

        for (; (dentry = tree_next(world->tree, world->root, at)); at = dentry->cookie, n++) {
                assert_true(dentry->cookie > at);
                forward += dentry->cookie * (n + 1);
        }
        assert_int_equal(n, world->root->children);
        for (at = UINT64_MAX, backward = 0; (dentry = tree_before(world->tree, world->root, at));
             at = dentry->cookie, n--) {
                assert_true(dentry->cookie < at);
                backward += dentry->cookie * n;
        }
        assert_int_equal(n, 0);
        assert_int_equal(forward, backward);
}

/* A node's names are as many as it has links, and each is its own. */
static void check_names(const struct world *world, const struct node *node) {
        const struct dentry *dentry = tree_name_of(world->tree, node);
        uint32_t n = 0;

        for (; dentry; n++) {
                assert_int_equal(dentry->node, node->id);
                dentry = journal_get(world->journal, TABLE_DENTRY, dentry->name_next);
        }
        assert_int_equal(n, node->nlink);
}

static uint32_t random_state;
static uint32_t draw(uint32_t below) {
        random_state = random_state * 1664525 + 1013904223;
        return (random_state >> 8) % below;
}

/* One change of a name that may be there: made, linked to another's node, removed, or moved. */
static void change(struct world *world, uint32_t nodes[NAMES]) {
        const struct create_attrs attrs = {.mode = S_IFIFO | 0600};
        uint32_t which = draw(NAMES), other = draw(NAMES);
        char name[16], other_name[16];
        struct node *node;
        int length = snprintf(name, sizeof(name), "n%u", which);
        int other_length = snprintf(other_name, sizeof(other_name), "n%u", other);

        if (nodes[which] == 0 && nodes[other] != 0 && draw(2)) {
                node = tree_node(world->tree, nodes[other]);
                assert_int_equal(tree_link(world->tree, node, world->root, name, (size_t)length),
                                 0);
                nodes[which] = nodes[other];
        } else if (nodes[which] == 0) {
                nodes[which] = make(world, name)->id;
        } else if (draw(3) == 0) {
                assert_int_equal(tree_rename(world->tree, world->root, name, (size_t)length,
                                             world->root, other_name, (size_t)other_length, 0,
                                             &attrs),
                                 0);
                if (nodes[other] == nodes[which])
                        return; /* two names of one node: nothing happens */
                nodes[other] = nodes[which];
                nodes[which] = 0;
        } else {
                assert_int_equal(tree_unlink(world->tree, world->root, name, (size_t)length), 0);
                nodes[which] = 0;
        }
}

static void check_all(struct world *world, const uint32_t nodes[NAMES]) {
        char name[16];

        for (uint32_t i = 0; i < NAMES; i++) {
                int length = snprintf(name, sizeof(name), "n%u", i);
                struct node *node = NULL;
                int r = tree_lookup(world->tree, world->root, name, (size_t)length, &node);

                assert_int_equal(r, nodes[i] ? 0 : -ENOENT);
                assert_int_equal(r == 0 ? node->id : 0, nodes[i]);
                if (r == 0)
                        check_names(world, node);
        }
        check_order(world);
}

static void test_against_a_list(void **state) {
        static uint32_t nodes[NAMES], before[NAMES];
        struct world world;

        (void)state;
        world_new(&world);
        random_state = 1;
        for (int i = 1; i <= STEPS; i++) {
                memcpy(before, nodes, sizeof(nodes));
                change(&world, nodes);
                if (draw(4) == 0) {
                        journal_rollback(world.journal);
                        memcpy(nodes, before, sizeof(nodes));
                } else {
                        journal_commit(world.journal);
                }
                if (i % (STEPS / 10) == 0)
                        check_all(&world, nodes);
        }
        world_clear(&world);
}

static unsigned int depth_below(const struct world *world, uint32_t id) {
        const struct dentry *dentry = journal_get(world->journal, TABLE_DENTRY, id);
        unsigned int left, right;

        if (!dentry)
                return 0;
        left = depth_below(world, dentry->order_left);
        right = depth_below(world, dentry->order_right);
        return 1 + (left > right ? left : right);
}

static unsigned int longest_chain(const struct world *world) {
        const struct root *root = journal_root(world->journal);
        unsigned int longest = 0;

        for (uint32_t b = 0; b < root->n_buckets; b++) {
                const struct buckets *buckets =
                        journal_get(world->journal, TABLE_BUCKETS, b / LAYOUT_BUCKETS_EACH + 1);
                const struct dentry *dentry;
                uint32_t id = buckets->heads[b % LAYOUT_BUCKETS_EACH];
                unsigned int n = 0;

                for (; (dentry = journal_get(world->journal, TABLE_DENTRY, id)); n++)
                        id = dentry->hash_next;
                longest = n > longest ? n : longest;
        }
        return longest;
}

static void test_many_names(void **state) {
        struct world world;
        char name[16];

        (void)state;
        world_new(&world);
        for (int i = 0; i < MANY; i++) {
                snprintf(name, sizeof(name), "%d", i);
                make(&world, name);
                journal_commit(world.journal);
        }
        check_order(&world);
        assert_in_range(depth_below(&world, world.root->entries), 1, DEPTH_MAX);
        assert_in_range(longest_chain(&world), 1, CHAIN_MAX);
        /* From the oldest on, which is the worst order for a list. */
        for (int i = 0; i < MANY; i++) {
                int length = snprintf(name, sizeof(name), "%d", i);

                assert_int_equal(tree_unlink(world.tree, world.root, name, (size_t)length), 0);
                journal_commit(world.journal);
        }
        assert_int_equal(world.root->entries, 0);
        assert_int_equal(longest_chain(&world), 0);
        world_clear(&world);
}

/* Names that all fall into one bucket of a hash with a known key. */
static void test_chosen_names(void **state) {
        static const unsigned char known[crypto_shorthash_KEYBYTES];
        struct world world;
        struct {
                uint32_t dir;
                char name[16];
        } key = {.dir = LAYOUT_ROOT_ID};
        uint64_t hash;

        (void)state;
        world_new(&world);
        for (int i = 0, made = 0; made < 1000; i++) {
                int length = snprintf(key.name, sizeof(key.name), "%d", i);

                crypto_shorthash((unsigned char *)&hash, (const unsigned char *)&key,
                                 sizeof(key.dir) + (size_t)length, known);
                if (hash % 1024 != 0)
                        continue;
                make(&world, key.name);
                journal_commit(world.journal);
                made++;
        }
        assert_in_range(longest_chain(&world), 1, CHAIN_MAX);
        world_clear(&world);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_against_a_list),
                cmocka_unit_test(test_many_names),
                cmocka_unit_test(test_chosen_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
