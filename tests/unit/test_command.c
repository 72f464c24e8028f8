/* SPDX-License-Identifier: MIT */

/*
 * The command language, and the rooms that run it: command, access, ctl and report over a real
 * journal, tree and region, without a mount.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/words.h"
#include "control/ctl_private.h"
#include "control/report.h"

enum { LIMIT = 64 * 1024 * 1024 };

/* A file system without its kernel side. */
struct house {
        struct journal *journal;
        struct root *root;
        struct loop *loop;
        struct allocator *allocator;
        struct job_queue *helper;
        struct volume *volume;
        struct ctl *ctl;
        struct node *dir; /* the root directory */
        struct caller boss;
        struct caller user;
};

static int house_open(void **state) {
        struct house *house = calloc(1, sizeof(*house));

        assert_non_null(house);
        assert_int_equal(journal_create(&house->journal, layout_spec()), 0);
        house->root = journal_root(house->journal);
        house->root->settings.root_mode = 01777;
        house->root->settings.owner = 500;
        house->root->settings.size = LIMIT;
        house->root->fuse_fd = -1;
        assert_int_equal(loop_new(&house->loop), 0);
        assert_int_equal(allocator_new(&house->allocator, house->loop), 0);
        assert_int_equal(job_queue_new(&house->helper, house->loop, "test"), 0);
        assert_int_equal(volume_new(&house->volume, house->journal, house->loop, house->allocator,
                                    house->helper),
                         0);
        assert_int_equal(ctl_new(&house->ctl, house->volume), 0);
        house->dir = tree_node(house->volume->tree, LAYOUT_ROOT_ID);
        house->boss = (struct caller){.pid = getpid()};
        house->user = (struct caller){.uid = 1000, .gid = 1000, .has_groups = true};
        *state = house;
        return 0;
}

static bool stop_when_told(void *userdata) {
        struct house *house = userdata;

        if (journal_used(house->journal, TABLE_INVALIDATION) == 0)
                loop_stop(house->loop, 0);
        return false;
}

static int house_close(void **state) {
        struct house *house = *state;

        loop_set_idle(house->loop, stop_when_told, house);
        assert_int_equal(loop_run(house->loop), 0);
        ctl_free(house->ctl);
        job_queue_free(house->helper);
        volume_free(house->volume);
        close_range((unsigned int)house->root->descriptors_from, ~0U, 0); /* of regions */
        allocator_free(house->allocator);
        loop_free(house->loop);
        journal_free(house->journal);
        caller_clear(&house->boss);
        caller_clear(&house->user);
        free(house);
        return 0;
}

static void commit(struct house *house) {
        assert_int_equal(txn_commit(house->volume->txn), 0);
}

/* One command in a transaction of its own. */
static int run_at(struct house *house, struct node *dir, struct caller *caller,
                  enum command_verb verb, const char *line) {
        static struct command command;
        struct command_error error = {""};
        int r;

        r = command_parse(&command, verb, line, strlen(line), &error);
        if (r == 0)
                r = command_run(house->volume, dir, caller, &command, NULL, &error);
        commit(house);
        if (r < 0) {
                assert_true(error.text[0] != '\0');
                assert_null(strchr(error.text, '\n'));
        }
        return r;
}

static int run_as(struct house *house, struct caller *caller, enum command_verb verb,
                  const char *line) {
        return run_at(house, house->dir, caller, verb, line);
}

static struct node *find(struct house *house, const char *name) {
        struct node *node = NULL;

        return tree_lookup(house->volume->tree, house->dir, name, strlen(name), &node) == 0 ? node
                                                                                            : NULL;
}

static struct node *make(struct house *house, struct node *dir, const char *name, uint32_t mode,
                         uint32_t uid, uint32_t gid) {
        struct create_attrs attrs = {.mode = mode, .uid = uid, .gid = gid};
        struct node *node;

        assert_int_equal(tree_create(house->volume->tree, dir, name, strlen(name), &attrs, &node),
                         0);
        commit(house);
        return node;
}

/* Parsing */

static int parse(struct command *out, enum command_verb verb, const char *line) {
        struct command_error error = {""};
        int r = command_parse(out, verb, line, strlen(line), &error);

        assert_int_equal(r < 0, error.text[0] != '\0');
        return r;
}

static void test_parse_errors(void **state) {
        static const struct {
                enum command_verb verb;
                const char *line;
                int result;
        } cases[] = {
                {COMMAND_CREATE, "", -EINVAL},
                {COMMAND_CREATE, "   ", -EINVAL},
                {COMMAND_CREATE, "a", -EINVAL},
                {COMMAND_CREATE, "a -0", -EINVAL},
                {COMMAND_CREATE, "a 1x", -EINVAL},
                {COMMAND_CREATE, "a 1 bogus", -EINVAL},
                {COMMAND_CREATE, "a 1 FIXED", -EINVAL},
                {COMMAND_CREATE, "a 1 mode=", -EINVAL},
                {COMMAND_CREATE, "a 1 mode=8", -EINVAL},
                {COMMAND_CREATE, "a 1 mode=rw", -EINVAL},
                {COMMAND_CREATE, "a 1 mode=1777", -EINVAL},
                {COMMAND_CREATE, "a 1 mode=77777777777777777777", -EINVAL},
                {COMMAND_CREATE, "a 1 mode=600 mode=600", -EINVAL},
                {COMMAND_CREATE, "a 9999999t", -EFBIG},
                {COMMAND_CREATE, "/a 1", -EINVAL},
                {COMMAND_CREATE, "a/ 1", -EINVAL},
                {COMMAND_CREATE, "a//b 1", -EINVAL},
                {COMMAND_CREATE, "../a 1", -EINVAL},
                {COMMAND_CREATE, "a/../b 1", -EINVAL},
                {COMMAND_CREATE, ". 1", -EINVAL},
                {COMMAND_CREATE, "./a 1", -EINVAL},
                {COMMAND_CREATE, ".. 1", -EINVAL},
                {COMMAND_CREATE, "a\\ 1", -EINVAL},
                {COMMAND_CREATE, "a\\04 1", -EINVAL},
                {COMMAND_CREATE, "a\\08x 1", -EINVAL},
                {COMMAND_CREATE, "a\\400 1", -EINVAL},
                {COMMAND_CREATE, "a\\000 1", -EINVAL},
                {COMMAND_CREATE, "a\\057b 1", -EINVAL},
                {COMMAND_CREATE, "\\056\\056 1", -EINVAL},
                {COMMAND_RESIZE, "a", -EINVAL},
                {COMMAND_RESIZE, "a 1 2", -EINVAL},
                {COMMAND_RESIZE, "a -1", -EINVAL},
                {COMMAND_SEAL, "a", -EINVAL},
                {COMMAND_SEAL, "a bogus", -EINVAL},
                {COMMAND_SEAL, "a shrink,", -EINVAL},
                {COMMAND_SEAL, "a ,shrink", -EINVAL},
                {COMMAND_SEAL, "a shrink,,grow", -EINVAL},
                {COMMAND_SEAL, "a shrink grow", -EINVAL},
                {COMMAND_REMOVE, "", -EINVAL},
                {COMMAND_REMOVE, "a b", -EINVAL},
                {COMMAND_OPEN, "", -EINVAL},
                {COMMAND_OPEN, "wo a", -EINVAL},
                {COMMAND_OPEN, "rw a b", -EINVAL},
                {COMMAND_WAIT, "a x", -EINVAL},
                {COMMAND_WAIT, "a 1k", -EINVAL},
                {COMMAND_WAIT, "a .5", -EINVAL},
                {COMMAND_WAIT, "a 1.2345", -EINVAL},
                {COMMAND_WAIT, "a -1", -EINVAL},
                {COMMAND_ADMIN, "", -EINVAL},
                {COMMAND_ADMIN, "remount", -EINVAL},
                {COMMAND_ADMIN, "remount mode=7", -EINVAL},
                {COMMAND_ADMIN, "remount size=", -EINVAL},
                {COMMAND_ADMIN, "remount rx", -EINVAL},
                {COMMAND_ADMIN, "upgrade now", -EINVAL},
                {COMMAND_ADMIN, "crash", -EINVAL},
        };
        struct command *command = malloc(sizeof(*command));

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                int r = parse(command, cases[i].verb, cases[i].line);

                if (r != cases[i].result)
                        fail_msg("\"%s\": %d", cases[i].line, r);
        }
        free(command);
}

static void test_parse(void **state) {
        struct command *command = malloc(sizeof(*command));

        (void)state;
        assert_int_equal(parse(command, COMMAND_CREATE, " \tdir/frames\t64M  mode=0640 fixed "), 0);
        assert_string_equal(command->name, "dir/frames");
        assert_true(command->size == 64u << 20 && command->has_mode && command->mode == 0640);
        assert_int_equal(command->flags, NODE_FIXED);
        assert_int_equal(
                parse(command, COMMAND_CREATE, "a\\040b\\011\\012\\134\\377 1 huge populate"), 0);
        assert_string_equal(command->name, "a b\t\n\\\377");
        assert_int_equal(command->flags, NODE_HUGE | NODE_POPULATE);
        assert_false(command->has_mode);
        assert_int_equal(parse(command, COMMAND_RESIZE, "... 0"), 0);
        assert_string_equal(command->name, "...");
        assert_int_equal(parse(command, COMMAND_SEAL, "a shrink,grow,write"), 0);
        assert_int_equal(command->seals, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        assert_int_equal(parse(command, COMMAND_OPEN, "rw a"), 0);
        assert_true(command->writable);
        assert_int_equal(parse(command, COMMAND_OPEN, "rw"), 0);
        assert_string_equal(command->name, "rw");
        assert_false(command->writable);
        assert_int_equal(parse(command, COMMAND_LIST, ""), 0);
        assert_int_equal(parse(command, COMMAND_WAIT, "a 2.05"), 0);
        assert_int_equal(command->timeout_ms, 2050);
        assert_int_equal(parse(command, COMMAND_ADMIN, "remount size=1g nr_inodes=10"), 0);
        assert_true(command->has_limit_bytes && command->limit_bytes == 1u << 30);
        assert_true(command->has_limit_nodes && command->limit_nodes == 10);
        free(command);
}

static void test_names_of_every_length(void **state) {
        struct command *command = malloc(sizeof(*command));
        char line[2 * PATH_MAX];

        (void)state;
        for (size_t length = 254; length <= 257; length++) {
                memset(line, 'n', length);
                strcpy(line + length, " 1");
                assert_int_equal(parse(command, COMMAND_CREATE, line),
                                 length <= 255 ? 0 : -ENAMETOOLONG);
        }
        for (size_t length = PATH_MAX - 2; length <= PATH_MAX + 1; length++) {
                for (size_t i = 0; i < length; i++)
                        line[i] = i % 100 == 99 && i + 1 < length ? '/' : 'n';
                line[length] = '\0';
                assert_int_equal(parse(command, COMMAND_REMOVE, line),
                                 length < PATH_MAX ? 0 : -ENAMETOOLONG);
        }
        free(command);
}

static void test_escapes_return(void **state) {
        struct command *command = malloc(sizeof(*command));
        char name[256], line[4 * sizeof(name)];
        size_t length = 0;

        (void)state;
        for (int c = 1; c < 256; c++)
                if (c != '/')
                        name[length++] = (char)c;
        name[length] = '\0';
        words_escape(line, name, length);
        assert_null(strpbrk(line, " \t\n"));
        assert_int_equal(parse(command, COMMAND_REMOVE, line), 0);
        assert_string_equal(command->name, name);
        free(command);
}

static void test_verbs(void **state) {
        enum command_verb verb;
        const char *rest;
        size_t length;

        (void)state;
        assert_int_equal(command_verb_of("create a 1", 10, &verb, &rest, &length), 0);
        assert_int_equal(verb, COMMAND_CREATE);
        assert_int_equal(length, 4);
        assert_memory_equal(rest, " a 1", 4);
        assert_int_equal(command_verb_of("list", 4, &verb, &rest, &length), 0);
        assert_int_equal(verb, COMMAND_LIST);
        assert_int_equal(length, 0);
        assert_int_equal(command_verb_of("", 0, &verb, &rest, &length), -EINVAL);
        assert_int_equal(command_verb_of("admin upgrade", 13, &verb, &rest, &length), -EINVAL);
        assert_int_equal(command_verb_of("creat", 5, &verb, &rest, &length), -EINVAL);
}

/* Running */

static void test_create(void **state) {
        struct house *house = *state;
        mode_t mask = umask(027);
        struct node *node;
        struct stat st;

        /* By itself it is "test_command", or an emulator's name. */
        assert_int_equal(prctl(PR_SET_NAME, "creator"), 0);
        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "frames 64k"), 0);
        umask(mask);
        node = find(house, "frames");
        assert_non_null(node);
        assert_int_equal(node->size, 65536);
        assert_int_equal(node->mode, S_IFREG | 0640);
        assert_int_equal(node->nlink, 1);
        assert_int_equal(node->creator_pid, getpid());
        assert_memory_equal(node->creator_name, "creator", sizeof("creator"));
        assert_int_equal(fstat(node->fd, &st), 0);
        assert_int_equal(st.st_size, 65536);

        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "mine 1 mode=604"), 0);
        node = find(house, "mine");
        assert_int_equal(node->mode, S_IFREG | 0604);
        assert_int_equal(node->uid, 1000);
        /* A process that cannot be asked for its mask gets the strictest. */
        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "own 1"), 0);
        assert_int_equal(find(house, "own")->mode, S_IFREG | 0600);
}

/* What a failed command must leave as it was. */
struct snapshot {
        uint32_t nodes, names;
        uint64_t held, cookie;
        struct stamp mtime;
        int64_t next_fd;
};

static struct snapshot snapshot_take(struct house *house) {
        int fd;

        fd = dup(0);
        close(fd);
        return (struct snapshot){
                .nodes = journal_used(house->journal, TABLE_NODE),
                .names = journal_used(house->journal, TABLE_DENTRY),
                .held = limit_mount(house->journal)->charged,
                .cookie = house->dir->next_cookie,
                .mtime = house->dir->mtime,
                .next_fd = fd,
        };
}

static void test_failed_create_leaves_nothing(void **state) {
        static const struct {
                const char *line;
                int result;
        } cases[] = {
                {"there 1", -EEXIST},      {"missing/a 1", -ENOENT}, {"there/a 1", -ENOTDIR},
                {"link/a 1", -ELOOP},      {"link 1", -EEXIST},      {"closed/a 1", -EACCES},
                {"readonly/a 1", -EACCES}, {"a 65m", -ENOSPC},       {"a 65m fixed", -ENOSPC},
                {"a 1t", -ENOSPC},         {"a 8388607t", -EFBIG},
        };
        struct house *house = *state;
        struct snapshot before, after;

        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "there 1m"), 0);
        make(house, house->dir, "closed", S_IFDIR | 0700, 0, 0);
        make(house, house->dir, "readonly", S_IFDIR | 0755, 0, 0);
        make(house, house->dir, "link", S_IFLNK | 0777, 0, 0);
        before = snapshot_take(house);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                int r = run_as(house, &house->user, COMMAND_CREATE, cases[i].line);

                if (r != cases[i].result)
                        fail_msg("\"%s\": %d", cases[i].line, r);
                after = snapshot_take(house);
                assert_memory_equal(&before, &after, sizeof(before));
        }
        limit_mount(house->journal)->nodes = journal_used(house->journal, TABLE_NODE);
        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "a 1"), -ENOSPC);
        after = snapshot_take(house);
        assert_memory_equal(&before, &after, sizeof(before));
}

static void test_fixed(void **state) {
        struct house *house = *state;
        struct node *node;

        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "f 8k fixed"), 0);
        node = find(house, "f");
        assert_int_equal(node->seals, F_SEAL_SHRINK | F_SEAL_GROW);
        assert_int_equal(fcntl(node->fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
                         F_SEAL_SHRINK | F_SEAL_GROW);
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "f 4k"), -EPERM);
        assert_int_equal(run_as(house, &house->boss, COMMAND_RESIZE, "f 16k"), -EPERM);
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "f 8k"), 0);
        assert_int_equal(node->size, 8192);
}

static void test_resize(void **state) {
        struct house *house = *state;
        struct caller other = {.uid = 1001, .gid = 1001, .has_groups = true};
        struct node *node;

        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "r 8k mode=644"), 0);
        node = find(house, "r");
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "r 1m"), 0);
        assert_int_equal(node->size, 1 << 20);
        assert_int_equal(run_as(house, &other, COMMAND_RESIZE, "r 1k"), -EACCES);
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "r 65m"), -ENOSPC);
        assert_int_equal(node->size, 1 << 20);
        assert_int_equal(limit_mount(house->journal)->charged, 1 << 20);
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "r 0"), 0);
        assert_int_equal(limit_mount(house->journal)->charged, 0);
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "none 1"), -ENOENT);
        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "empty 0"), 0);
        assert_int_equal(find(house, "empty")->size, 0);
        assert_int_equal(limit_mount(house->journal)->charged, 0);

        make(house, house->dir, "d", S_IFDIR | 0777, 0, 0);
        make(house, house->dir, "p", S_IFIFO | 0666, 0, 0);
        make(house, house->dir, "l", S_IFLNK | 0777, 0, 0);
        assert_int_equal(run_as(house, &house->boss, COMMAND_RESIZE, "d 1"), -EISDIR);
        assert_int_equal(run_as(house, &house->boss, COMMAND_RESIZE, "p 1"), -EINVAL);
        assert_int_equal(run_as(house, &house->boss, COMMAND_RESIZE, "l 1"), -ELOOP);

        /* As truncate(2): somebody without privileges takes S_ISUID away. */
        node->mode = S_IFREG | 06775;
        assert_int_equal(run_as(house, &house->boss, COMMAND_RESIZE, "r 4k"), 0);
        assert_int_equal(node->mode, S_IFREG | 06775);
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "r 8k"), 0);
        assert_int_equal(node->mode, S_IFREG | 0775);
}

static void test_seal(void **state) {
        struct house *house = *state;
        struct caller other = {.uid = 1001, .gid = 1001, .has_groups = true};
        struct node *node;

        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "s 8k mode=666"), 0);
        node = find(house, "s");
        assert_int_equal(run_as(house, &other, COMMAND_SEAL, "s shrink"), -EPERM);
        assert_int_equal(run_as(house, &house->user, COMMAND_SEAL, "s shrink"), 0);
        assert_int_equal(node->seals, F_SEAL_SHRINK);
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "s 4k"), -EPERM);
        assert_int_equal(run_as(house, &house->user, COMMAND_RESIZE, "s 16k"), 0);
        node->writers = 1;
        assert_int_equal(run_as(house, &house->boss, COMMAND_SEAL, "s write"), -EBUSY);
        node->writers = 0;
        assert_int_equal(run_as(house, &house->boss, COMMAND_SEAL, "s write,grow"), 0);
        assert_int_equal(node->seals, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        assert_int_equal(run_as(house, &house->boss, COMMAND_SEAL, "none write"), -ENOENT);
}

static void test_remove(void **state) {
        struct house *house = *state;
        struct caller other = {.uid = 1001, .gid = 1001, .has_groups = true};
        struct node *shared;

        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "x 8k"), 0);
        assert_int_equal(run_as(house, &other, COMMAND_REMOVE, "x"), -EPERM); /* sticky */
        assert_non_null(find(house, "x"));
        assert_int_equal(run_as(house, &house->user, COMMAND_REMOVE, "x"), 0);
        assert_null(find(house, "x"));
        assert_int_equal(limit_mount(house->journal)->charged, 0);
        assert_int_equal(run_as(house, &house->user, COMMAND_REMOVE, "x"), -ENOENT);

        shared = make(house, house->dir, "d", S_IFDIR | 0777, 0, 0);
        assert_int_equal(run_as(house, &house->user, COMMAND_CREATE, "d/x 1"), 0);
        assert_int_equal(run_as(house, &house->boss, COMMAND_REMOVE, "d"), -EISDIR);
        assert_int_equal(run_at(house, shared, &other, COMMAND_REMOVE, "x"), 0);
        shared->mode = S_IFDIR | 0755;
        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "d/x 1"), 0);
        assert_int_equal(run_as(house, &other, COMMAND_REMOVE, "d/x"), -EACCES);
}

/* Access */

static void test_groups_decide(void **state) {
        struct house *house = *state;
        gid_t groups[] = {7, 2000, 9};
        struct caller member = {.uid = 5, .gid = 5, .has_groups = true};
        struct node *node;

        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "g 1 mode=060"), 0);
        node = find(house, "g");
        node->uid = 1;
        node->gid = 2000;
        assert_false(access_allows(house->volume->tree, &member, node, ACCESS_READ));
        member.groups = groups;
        member.n_groups = 3;
        assert_true(access_allows(house->volume->tree, &member, node, ACCESS_READ | ACCESS_WRITE));
        assert_false(access_allows(house->volume->tree, &member, node, ACCESS_SEARCH));
        /* The class of the group decides even where others may more. */
        node->mode = S_IFREG | 0606;
        assert_false(access_allows(house->volume->tree, &member, node, ACCESS_READ));
        /* And so does the owner's. */
        node->mode = S_IFREG | 0066;
        node->uid = 5;
        assert_false(access_allows(house->volume->tree, &member, node, ACCESS_READ));
        assert_true(access_allows(house->volume->tree, &house->boss, node, ACCESS_WRITE));
}

static void test_groups_of_a_process(void **state) {
        gid_t groups[64];
        int n = getgroups(64, groups);
        struct caller self = {.uid = 4242, .gid = (gid_t)-2, .pid = getpid()};
        struct node node = {.mode = S_IFREG | 0040};

        (void)state;
        for (int i = 0; i < n; i++) {
                node.gid = groups[i];
                assert_true(access_allows(NULL, &self, &node, ACCESS_READ));
        }
        assert_true(self.has_groups || n <= 0);
        assert_int_equal(self.n_groups, n > 0 ? n : 0);
        node.gid = 987654;
        assert_false(access_allows(NULL, &self, &node, ACCESS_READ));
        caller_clear(&self);
}

/* The files of .ctl */

static uint32_t ctl_open_as(struct house *house, enum ctl_kind kind, struct caller *caller) {
        uint32_t handle = 0;

        assert_int_equal(ctl_open(house->ctl, kind, house->dir, caller, false, &handle), 0);
        commit(house);
        return handle;
}

static ssize_t write_text(struct house *house, uint32_t handle, struct caller *caller,
                          const char *text, size_t size) {
        static uint64_t unique;
        ssize_t r = ctl_write(house->ctl, handle, caller, ++unique, text, size, true);

        commit(house);
        return r;
}

/* A read, in as many turns as it takes. */
static ssize_t read_in_turns(struct house *house, uint32_t handle, char *buffer, size_t size,
                             uint64_t offset) {
        ssize_t n = ctl_read(house->ctl, handle, buffer, size, offset, false);

        while (n == -EINPROGRESS) {
                commit(house);
                turns_next(house->ctl->turns);
                n = ctl_read(house->ctl, handle, buffer, size, offset, true);
        }
        commit(house);
        return n;
}

/* All that can be read from offset on, in pieces of `step` bytes; the caller's. */
static char *read_steps(struct house *house, uint32_t handle, uint64_t offset, size_t step) {
        size_t size = 1 << 20, used = 0;
        char *text = malloc(size);
        ssize_t n;

        do {
                n = read_in_turns(house, handle, text + used,
                                  size - used > step ? step : size - used - 1, offset + used);
                assert_true(n >= 0);
                used += (size_t)n;
        } while (n > 0);
        text[used] = '\0';
        return text;
}

static char *read_text(struct house *house, uint32_t handle, uint64_t offset) {
        return read_steps(house, handle, offset, 100);
}

static void expect_text(struct house *house, uint32_t handle, uint64_t offset, const char *want) {
        char *text = read_text(house, handle, offset);

        assert_non_null(want);
        if (!strstr(text, want))
                fail_msg("\"%s\" is not in \"%s\"", want, text);
        free(text);
}

static void test_ctl_names(void **state) {
        struct house *house = *state;
        struct node *sub = make(house, house->dir, "d", S_IFDIR | 0755, 0, 0);
        struct stat st;

        assert_int_equal(ctl_lookup(house->ctl, house->dir, "create", 6), CTL_CREATE);
        assert_int_equal(ctl_lookup(house->ctl, house->dir, "admin", 5), CTL_ADMIN);
        assert_int_equal(ctl_lookup(house->ctl, sub, "admin", 5), CTL_NONE);
        assert_int_equal(ctl_lookup(house->ctl, sub, "regions.json", 12), CTL_REGIONS_JSON);
        assert_int_equal(ctl_lookup(house->ctl, sub, "creat", 5), CTL_NONE);
        assert_int_equal(ctl_lookup(house->ctl, sub, ".ctl", 4), CTL_NONE);
        assert_int_equal(ctl_lookup(house->ctl, sub, "socket", 6), CTL_NONE);
        strcpy(house->root->settings.socket, "/run/x");
        assert_int_equal(ctl_lookup(house->ctl, sub, "socket", 6), CTL_SOCKET);
        ctl_stat(house->ctl, CTL_SOCKET, sub, &st);
        assert_true(S_ISLNK(st.st_mode) && st.st_size == 6);
        ctl_stat(house->ctl, CTL_ADMIN, house->dir, &st);
        assert_int_equal(st.st_uid, 500);
}

static void test_ctl_write(void **state) {
        struct house *house = *state;
        uint32_t handle = ctl_open_as(house, CTL_CREATE, &house->boss);

        expect_text(house, handle, 0, "usage: NAME SIZE");
        assert_int_equal(write_text(house, handle, &house->boss, "a 1\nb 2\n", 8), 8);
        assert_true(find(house, "a") && find(house, "b"));
        assert_int_equal(write_text(house, handle, &house->boss, "c 1\na 1\nd 1\n", 12), -EEXIST);
        assert_true(find(house, "c") && !find(house, "d"));
        /* Wherever the writes before have left the file's position. */
        expect_text(house, handle, 8, "line 2: a: exists already\n");
        expect_text(house, handle, 0, "line 2: a: exists already\n");
        assert_int_equal(write_text(house, handle, &house->boss, "e 1\n", 4), 4);
        expect_text(house, handle, 12, "exists already\n");
        assert_int_equal(write_text(house, handle, &house->boss, "f 1x\n", 5), -EINVAL);
        expect_text(house, handle, 12, "1x: not a size");
        ctl_close(house->ctl, handle);
        commit(house);
        /* What is left is the last error, for .ctl/error. */
        assert_int_equal(journal_used(house->journal, TABLE_HANDLE), 1);
        assert_int_equal(journal_used(house->journal, TABLE_TEXT), 1);
}

static void test_ctl_framing(void **state) {
        struct house *house = *state;
        uint32_t handle = ctl_open_as(house, CTL_CREATE, &house->boss);
        uint32_t listing = ctl_open_as(house, CTL_REGIONS, &house->boss);
        size_t size = 80 * 1024, used = 0;
        char *text = malloc(size);
        struct snapshot before = snapshot_take(house), after;

        assert_int_equal(write_text(house, handle, &house->boss, "a 1", 3), -EINVAL);
        assert_int_equal(write_text(house, handle, &house->boss, "a 1\nb 1", 7), -EINVAL);
        assert_int_equal(write_text(house, handle, &house->boss, "a 1\n\n", 5), -EINVAL);
        assert_int_equal(write_text(house, handle, &house->boss, "\na 1\n", 5), -EINVAL);
        assert_int_equal(write_text(house, handle, &house->boss, "a 1\n\0\n", 6), -EINVAL);
        assert_int_equal(write_text(house, handle, &house->boss, "a\0 1\n", 5), -EINVAL);
        assert_int_equal(write_text(house, handle, &house->boss, "", 0), -EINVAL);
        assert_int_equal(write_text(house, listing, &house->boss, "a 1\n", 4), -EBADF);
        assert_int_equal(write_text(house, 77, &house->boss, "a 1\n", 4), -EBADF);
        memset(text, ' ', size);
        memcpy(text, "a 1\nb 1", 7);
        text[size - 1] = '\n';
        assert_int_equal(write_text(house, handle, &house->boss, text, size), -EINVAL);
        for (int line = 0; line < 1025; line++)
                used += (size_t)sprintf(text + used, "a%d 1\n", line);
        assert_int_equal(write_text(house, handle, &house->boss, text, used), -EINVAL);
        after = snapshot_take(house);
        assert_memory_equal(&before, &after, sizeof(before));
        free(text);
}

/* The most that one write may do fits a transaction, there and back. */
static void test_ctl_longest_write(void **state) {
        struct house *house = *state;
        uint32_t create = ctl_open_as(house, CTL_CREATE, &house->boss);
        uint32_t drop = ctl_open_as(house, CTL_REMOVE, &house->boss);
        char *text = malloc(65536), *names = malloc(65536);
        size_t used = 0, named = 0;

        for (int i = 0; i < 1024; i++) {
                used += (size_t)sprintf(text + used, "name-%d 1\n", i);
                named += (size_t)sprintf(names + named, "name-%d\n", i);
        }
        for (int round = 0; round < 2; round++) {
                assert_int_equal(write_text(house, create, &house->boss, text, used), used);
                assert_int_equal(journal_used(house->journal, TABLE_DENTRY), 1024);
                assert_int_equal(write_text(house, drop, &house->boss, names, named), named);
                assert_int_equal(journal_used(house->journal, TABLE_DENTRY), 0);
        }
        assert_int_equal(limit_mount(house->journal)->charged, 0);
        free(text);
        free(names);
}

static void test_ctl_listings(void **state) {
        struct house *house = *state;
        struct node *secret = make(house, house->dir, "secret", S_IFDIR | 0711, 0, 0);
        uint32_t table = ctl_open_as(house, CTL_REGIONS, &house->boss);
        uint32_t json = ctl_open_as(house, CTL_REGIONS_JSON, &house->user);
        char *text;

        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "with\\040space 4k fixed"), 0);
        assert_int_equal(run_at(house, secret, &house->boss, COMMAND_CREATE, "in 1"), 0);
        expect_text(house, table, 0, "with\\040space");
        expect_text(house, table, 0, "secret/in");
        expect_text(house, table, 0, "shrink,grow");
        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "\\377\\042\\303\\244 1"), 0);
        expect_text(house, table, 0, "\n\\377\"\303\244 ");
        text = read_text(house, json, 0);
        assert_non_null(strstr(text, "{\"name\": \"\357\277\275\\\"\303\244\", "
                                     "\"name_escaped\": \"\\\\377\\\"\303\244\", \"size\": 1,"));
        assert_non_null(strstr(text, "\"flags\": [\"fixed\"], \"seals\": [\"shrink\", \"grow\"]"));
        assert_null(strstr(text, "secret"));
        free(text);
        ctl_close(house->ctl, table);
        ctl_close(house->ctl, json);
        commit(house);
}

/* The same bytes in whatever pieces they are read, and whoever reads on after a worker's death. */
static void test_ctl_listing_in_pieces(void **state) {
        struct house *house = *state;
        uint32_t json = ctl_open_as(house, CTL_REGIONS_JSON, &house->user);
        char line[64], *whole, *parts, *at;
        ssize_t n;

        for (int i = 0; i < 40; i++) {
                snprintf(line, sizeof(line), "dir%d", i);
                make(house, house->dir, line, S_IFDIR | 0755, 0, 0);
                for (int j = 0; j < 8; j++) {
                        snprintf(line, sizeof(line), "dir%d/region%d 4k", i, j);
                        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, line), 0);
                }
        }
        whole = read_steps(house, json, 0, 1 << 20);
        assert_non_null(strstr(whole, "\"dir39/region7\""));
        for (size_t step = 1; step < 5000; step = step * 3 + 1) {
                parts = read_steps(house, json, 0, step);
                assert_string_equal(parts, whole);
                free(parts);
        }
        /* From somewhere else: as of a file. */
        parts = read_text(house, json, 5000);
        assert_string_equal(parts, whole + 5000);
        free(parts);
        parts = calloc(1, strlen(whole) + 1000);
        for (at = parts; (n = read_in_turns(house, json, at, 999, (uint64_t)(at - parts))) > 0;
             at += n) {
                ctl_free(house->ctl);
                assert_int_equal(ctl_new(&house->ctl, house->volume), 0);
        }
        assert_string_equal(parts, whole);
        free(parts);
        free(whole);
        ctl_close(house->ctl, json);
        commit(house);
        assert_int_equal(journal_used(house->journal, TABLE_TEXT), 0);
        assert_int_equal(journal_used(house->journal, TABLE_HANDLE), 0);
}

static void test_ctl_stats(void **state) {
        struct house *house = *state;
        uint32_t all = ctl_open_as(house, CTL_STATS, &house->boss);
        uint32_t stats = ctl_open_as(house, CTL_STATS, &house->user);
        char *text;

        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "a 5000"), 0);
        house->root->counters.requests[1] = 42;
        expect_text(house, all, 0, "\niomemfs_used_bytes 8192\n");
        expect_text(house, all, 0, "\niomemfs_regions 1\n");
        expect_text(house, all, 0, "\niomemfs_requests_total{opcode=\"LOOKUP\"} 42\n");
        /* What others do is not told. */
        expect_text(house, stats, 0, "\niomemfs_used_bytes 8192\n");
        expect_text(house, stats, 0, "\niomemfs_size_bytes 67108864\n");
        expect_text(house, stats, 0, "\niomemfs_own_ctl_handles 1\n");
        text = read_text(house, stats, 0);
        assert_null(strstr(text, "iomemfs_regions"));
        assert_null(strstr(text, "requests_total"));
        assert_null(strstr(text, "_pid"));
        free(text);
}

/* Who opened a file is who writes, and no other; its rights are those of then. */
static void test_ctl_is_the_openers(void **state) {
        struct house *house = *state;
        gid_t groups[] = {77, 4242};
        struct caller member = {
                .uid = 1001, .gid = 1001, .has_groups = true, .groups = groups, .n_groups = 2};
        struct caller other = {.uid = 1001, .gid = 5};
        struct caller same = {.uid = 1001, .gid = 1001, .has_groups = true};
        struct node *hers = make(house, house->dir, "hers", S_IFDIR | 0770, 2000, 4242);
        uint32_t create = ctl_open_as(house, CTL_CREATE, &member);

        assert_non_null(hers);
        assert_int_equal(write_text(house, create, &house->boss, "a 1\n", 4), -EPERM);
        assert_int_equal(write_text(house, create, &other, "a 1\n", 4), -EPERM);
        assert_null(find(house, "a"));
        /* The groups are those of the opener, whoever of his processes writes. */
        assert_int_equal(write_text(house, create, &same, "hers/a 1\n", 9), 9);
        create = ctl_open_as(house, CTL_CREATE, &same);
        assert_int_equal(write_text(house, create, &member, "hers/b 1\n", 9), -EACCES);
}

/* As many as a quarter of what is left, and root is not bound. */
static void test_ctl_handles_are_shared(void **state) {
        struct house *house = *state;
        struct caller users[2] = {{.uid = 1, .has_groups = true}, {.uid = 2, .has_groups = true}};
        uint32_t id, taken[2] = {0, 0};

        for (int i = 0; i < 2; i++)
                while (ctl_open(house->ctl, CTL_STATS, house->dir, &users[i], false, &id) == 0) {
                        taken[i]++;
                        commit(house);
                }
        assert_int_equal(taken[0], HANDLES_MAX / 5);
        assert_in_range(taken[1], (HANDLES_MAX - taken[0]) / 5 - 1,
                        (HANDLES_MAX - taken[0]) / 5 + 1);
        expect_text(house, ctl_open_as(house, CTL_STATS, &house->boss), 0, "iomemfs_regions");
}

/* The text of the last error is for who made it, and for the directory where it was made. */
static void test_ctl_last_error(void **state) {
        struct house *house = *state;
        struct node *sub = make(house, house->dir, "sub", S_IFDIR | 0777, 0, 0);
        uint32_t create = ctl_open_as(house, CTL_CREATE, &house->user), error;
        char *text;

        assert_int_equal(write_text(house, create, &house->user, "a 1x\n", 5), -EINVAL);
        ctl_close(house->ctl, create);
        expect_text(house, ctl_open_as(house, CTL_ERROR, &house->user), 0, "1x: not a size");
        text = read_text(house, ctl_open_as(house, CTL_ERROR, &house->boss), 0);
        assert_string_equal(text, "");
        free(text);
        assert_int_equal(ctl_open(house->ctl, CTL_ERROR, sub, &house->user, false, &error), 0);
        text = read_text(house, error, 0);
        assert_string_equal(text, "");
        free(text);
        assert_int_equal(ctl_open(house->ctl, CTL_ERROR, sub, &house->user, true, &error), -EACCES);
}

/* What is counted and listed on the heap is as before when a transaction is aborted. */
static void test_ctl_aborts(void **state) {
        struct house *house = *state;
        struct txn *txn = house->volume->txn;
        uint32_t create = ctl_open_as(house, CTL_CREATE, &house->user);
        struct node *sub = make(house, house->dir, "sub", S_IFDIR | 0777, 0, 0);
        struct handles *handles = house->ctl->handles;
        uint32_t texts, id;
        char *text;

        assert_int_equal(write_text(house, create, &house->user, "a 1x\n", 5), -EINVAL);
        texts = journal_used(house->journal, TABLE_TEXT);
        assert_int_equal(handles_used_by(handles, 1000), 1);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(ctl_open(house->ctl, CTL_CREATE, sub, &house->user, true, &id), 0);
                last_error_keep(house->ctl->errors, handles_get(handles, id), "lost\n", 5);
                ctl_close(house->ctl, create);
                txn_abort(txn);
                assert_int_equal(handles_used_by(handles, 1000), 1);
                assert_int_equal(handles_used(handles), 1);
                assert_int_equal(journal_used(house->journal, TABLE_TEXT), texts);
        }
        expect_text(house, ctl_open_as(house, CTL_ERROR, &house->user), 0, "1x: not a size");
        assert_int_equal(ctl_open(house->ctl, CTL_ERROR, sub, &house->user, false, &id), 0);
        text = read_text(house, id, 0);
        assert_string_equal(text, "");
        free(text);
}

static void test_ctl_admin(void **state) {
        struct house *house = *state;
        struct caller owner = {.uid = 500};
        uint32_t handle = 0;

        assert_int_equal(ctl_open(house->ctl, CTL_ADMIN, house->dir, &house->user, true, &handle),
                         -EACCES);
        handle = ctl_open_as(house, CTL_ADMIN, &owner);
        assert_int_equal(write_text(house, handle, &house->user, "upgrade\n", 8), -EPERM);
        assert_int_equal(house->root->upgrade_wanted, 0);
        assert_int_equal(write_text(house, handle, &owner, "remount size=1m nr_inodes=4\n", 28),
                         28);
        assert_int_equal(limit_mount(house->journal)->bytes, 1 << 20);
        assert_int_equal(limit_mount(house->journal)->nodes, 4);
        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "a 64k"), 0);
        assert_int_equal(run_as(house, &house->boss, COMMAND_CREATE, "b 1m"), -ENOSPC);
        assert_int_equal(write_text(house, handle, &owner, "remount size=4k\n", 16), -EINVAL);
        expect_text(house, handle, 0, "size= is less than what is in use\n");
        assert_int_equal(write_text(house, handle, &owner, "remount size=2m nr_inodes=1\n", 28),
                         -EINVAL);
        assert_int_equal(limit_mount(house->journal)->bytes, 1 << 20);
        assert_int_equal(write_text(house, handle, &owner, "remount ro\n", 11), 11);
        assert_int_equal(house->root->settings.read_only, 1);
        assert_int_equal(write_text(house, handle, &owner, "remount rw\n", 11), 11);
        assert_int_equal(house->root->settings.read_only, 0);
        assert_int_equal(write_text(house, handle, &owner, "crash 5\n", 8), -EPERM);
        assert_int_equal(write_text(house, handle, &owner, "upgrade\n", 8), 8);
        assert_int_equal(house->root->upgrade_wanted, 1);
}

/* User 0 without its power is not the administrator, and the reserve is not for it. */
static void test_ctl_powerless_root(void **state) {
        struct house *house = *state;
        struct caller weak = {.uid = 0, .powerless = true, .has_groups = true};
        uint32_t id, taken = 0;
        char *text;

        assert_int_equal(ctl_open(house->ctl, CTL_ADMIN, house->dir, &weak, true, &id), -EACCES);
        text = read_text(house, ctl_open_as(house, CTL_STATS, &weak), 0);
        assert_null(strstr(text, "iomemfs_regions"));
        free(text);
        while (ctl_open(house->ctl, CTL_STATS, house->dir, &weak, false, &id) == 0) {
                taken++;
                journal_commit(house->journal);
        }
        assert_int_equal(taken, HANDLES_MAX / 5 - 1);
}

#define HOUSE_TEST(test) cmocka_unit_test_setup_teardown(test, house_open, house_close)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_parse_errors),
                cmocka_unit_test(test_names_of_every_length),
                cmocka_unit_test(test_escapes_return),
                cmocka_unit_test(test_verbs),
                HOUSE_TEST(test_create),
                HOUSE_TEST(test_failed_create_leaves_nothing),
                HOUSE_TEST(test_fixed),
                HOUSE_TEST(test_resize),
                HOUSE_TEST(test_seal),
                HOUSE_TEST(test_remove),
                HOUSE_TEST(test_groups_decide),
                cmocka_unit_test(test_groups_of_a_process),
                HOUSE_TEST(test_ctl_names),
                HOUSE_TEST(test_ctl_write),
                HOUSE_TEST(test_ctl_framing),
                HOUSE_TEST(test_ctl_longest_write),
                HOUSE_TEST(test_ctl_listings),
                HOUSE_TEST(test_ctl_listing_in_pieces),
                HOUSE_TEST(test_ctl_stats),
                HOUSE_TEST(test_ctl_handles_are_shared),
                HOUSE_TEST(test_ctl_is_the_openers),
                HOUSE_TEST(test_ctl_last_error),
                HOUSE_TEST(test_ctl_aborts),
                HOUSE_TEST(test_ctl_admin),
                HOUSE_TEST(test_ctl_powerless_root),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
