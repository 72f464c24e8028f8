/* SPDX-License-Identifier: MIT */

/*
 * How much memory may be taken, told from copies of the kernel's files: both versions of cgroups,
 * limits on the way up, and mounts that show a part of the hierarchy only.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "memory/headroom.h"

#define MIB (UINT64_C(1) << 20)
#define NO_LIMIT "9223372036854771712"

static char root[64];

/* Makes a file below the root, with its folders. */
static void put(const char *path, const char *text) {
        char full[PATH_MAX];
        FILE *file;

        snprintf(full, sizeof(full), "%s%s", root, path);
        for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
             slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                mkdir(full, 0700);
                *slash = '/';
        }
        file = fopen(full, "w");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void put_number(const char *group, const char *name, uint64_t value) {
        char path[PATH_MAX], text[32];

        snprintf(path, sizeof(path), "%s/%s", group, name);
        snprintf(text, sizeof(text), "%llu\n", (unsigned long long)value);
        put(path, text);
}

/* A group of version 2: limits of 0 are none. */
static void put_group(const char *group, uint64_t max, uint64_t high, uint64_t current) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/memory.max", group);
        put(path, "max\n");
        snprintf(path, sizeof(path), "%s/memory.high", group);
        put(path, "max\n");
        if (max)
                put_number(group, "memory.max", max);
        if (high)
                put_number(group, "memory.high", high);
        put_number(group, "memory.current", current);
}

static uint64_t available(void) {
        struct cgroup group;

        headroom_find_group(&group, root, 0);
        return headroom_available(&group);
}

static int set_up(void **state) {
        (void)state;
        strcpy(root, "/tmp/iomemfs-memory-XXXXXX");
        if (!mkdtemp(root))
                return -1;
        put("/proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n");
        return 0;
}

static int tear_down(void **state) {
        char command[128];

        (void)state;
        snprintf(command, sizeof(command), "rm -r %s", root);
        return system(command);
}

static const uint64_t machine = 4096 * MIB - 128 * MIB;

static void without_groups(void **state) {
        (void)state;
        assert_int_equal(available(), machine);
        put("/proc/self/cgroup", "0::/a\n");
        put("/proc/self/mountinfo", "20 1 0:5 / / rw - ext4 /dev/x rw\n");
        assert_int_equal(available(), machine);
        put("/proc/meminfo", "MemTotal: 8388608 kB\n");
        assert_int_equal(available(), UINT64_MAX);
        put("/proc/meminfo", "MemAvailable: 1024 kB\n");
        assert_int_equal(available(), 0);
}

static void version_2(void **state) {
        (void)state;
        put("/proc/self/cgroup", "0::/a/b\n");
        put("/proc/self/mountinfo",
            "20 1 0:5 / / rw - ext4 /dev/x rw\n"
            "30 20 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n");
        put_group("/sys/fs/cgroup/a", 0, 0, 100 * MIB);
        put_group("/sys/fs/cgroup/a/b", 0, 0, 100 * MIB);
        assert_int_equal(available(), machine);
        /* A sixteenth of the limit is left to the group. */
        put_group("/sys/fs/cgroup/a/b", 256 * MIB, 0, 100 * MIB);
        assert_int_equal(available(), 140 * MIB);
        /* Caches are as good as free, shared memory is not. */
        put("/sys/fs/cgroup/a/b/memory.stat", "anon 1\nfile 99999999\nshmem 1048576\n"
                                              "inactive_file 20971520\nactive_file 10485760\n"
                                              "inactive_anon 4096\nslab_reclaimable 1048576\n");
        assert_int_equal(available(), 171 * MIB);
        put_group("/sys/fs/cgroup/a/b", 256 * MIB, 128 * MIB, 100 * MIB);
        assert_int_equal(available(), (128 - 8 - 100 + 31) * MIB);
        put_group("/sys/fs/cgroup/a/b", 256 * MIB, 64 * MIB, 100 * MIB);
        assert_int_equal(available(), 0);
}

static void groups_above(void **state) {
        (void)state;
        put("/proc/self/cgroup", "0::/a/b/c\n");
        put("/proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        put_group("/sys/fs/cgroup/a/b/c", 1024 * MIB, 0, 0);
        put_group("/sys/fs/cgroup/a/b", 0, 0, 512 * MIB);
        put_group("/sys/fs/cgroup/a", 512 * MIB, 0, 400 * MIB);
        assert_int_equal(available(), 80 * MIB);
        put_group("/sys/fs/cgroup/a", 0, 0, 400 * MIB);
        assert_int_equal(available(), 960 * MIB);
        /* The mount point's own: in a container that is a group like others. */
        put_group("/sys/fs/cgroup", 320 * MIB, 0, 300 * MIB);
        assert_int_equal(available(), 0);
        put_group("/sys/fs/cgroup", 16384 * MIB, 0, 0);
        put_group("/sys/fs/cgroup/a/b/c", 0, 0, 0);
        assert_int_equal(available(), machine);
}

static void version_1(void **state) {
        (void)state;
        put("/proc/self/cgroup", "9:name=systemd:/s\n4:cpu,memory:/m/n\n3:cpuset:/c\n0::/u\n");
        put("/proc/self/mountinfo", "31 20 0:28 / /cg/unified rw - cgroup2 cgroup2 rw\n"
                                    "32 20 0:29 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
                                    "33 20 0:30 / /cg/memory rw - cgroup cgroup rw,cpu,memory\n");
        /* Of the other hierarchy, which does not count memory here. */
        put_group("/cg/unified/u", MIB, 0, MIB);
        put("/cg/memory/m/memory.limit_in_bytes", NO_LIMIT "\n");
        put_number("/cg/memory/m", "memory.usage_in_bytes", 300 * MIB);
        put("/cg/memory/m/n/memory.limit_in_bytes", NO_LIMIT "\n");
        put_number("/cg/memory/m/n", "memory.usage_in_bytes", 200 * MIB);
        assert_int_equal(available(), machine);
        put_number("/cg/memory/m/n", "memory.limit_in_bytes", 256 * MIB);
        assert_int_equal(available(), 40 * MIB);
        put("/cg/memory/m/n/memory.stat",
            "inactive_file 1048576\n"
            "total_inactive_file 4194304\ntotal_active_file 1048576\n");
        assert_int_equal(available(), 45 * MIB);
        put_number("/cg/memory/m", "memory.limit_in_bytes", 320 * MIB);
        assert_int_equal(available(), 0);
}

static void mounts_of_a_part(void **state) {
        (void)state;
        /* Another container's, and ours, on a path with a space. */
        put("/proc/self/cgroup", "0::/docker/abc/x\n");
        put("/proc/self/mountinfo",
            "31 20 0:28 /docker/abcd /other rw - cgroup2 cgroup2 rw\n"
            "32 20 0:28 /docker/abc /my\\040group rw - cgroup2 cgroup2 rw\n");
        put_group("/other", 16 * MIB, 0, 16 * MIB);
        put_group("/my group/x", 512 * MIB, 0, 0);
        assert_int_equal(available(), 480 * MIB);
        put_group("/my group", 256 * MIB, 0, 0);
        assert_int_equal(available(), 240 * MIB);
        /* The group itself is what is mounted. */
        put("/proc/self/cgroup", "0::/docker/abc\n");
        assert_int_equal(available(), 240 * MIB);
        /* Outside of our cgroup namespace: what is mounted is the nearest. */
        put("/proc/self/cgroup", "0::/../def\n");
        put("/proc/self/mountinfo", "32 20 0:28 / /my\\040group rw - cgroup2 cgroup2 rw\n");
        assert_int_equal(available(), 240 * MIB);
        put("/proc/self/cgroup", "0::/\n");
        assert_int_equal(available(), 240 * MIB);
}

static void what_cannot_be_read(void **state) {
        (void)state;
        put("/proc/self/cgroup", "nonsense\n\n0:\n0::/a\n");
        put("/proc/self/mountinfo", "\nnonsense - \n30 20 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
        assert_int_equal(available(), machine);
        put("/cg/a/memory.max", "nonsense\n");
        assert_int_equal(available(), machine);
        put_number("/cg/a", "memory.max", 256 * MIB); /* of how much nobody knows */
        assert_int_equal(available(), machine);
        put_number("/cg/a", "memory.current", 0);
        assert_int_equal(available(), 240 * MIB);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(without_groups, set_up, tear_down),
                cmocka_unit_test_setup_teardown(version_2, set_up, tear_down),
                cmocka_unit_test_setup_teardown(groups_above, set_up, tear_down),
                cmocka_unit_test_setup_teardown(version_1, set_up, tear_down),
                cmocka_unit_test_setup_teardown(mounts_of_a_part, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_cannot_be_read, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
