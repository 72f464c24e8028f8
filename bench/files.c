/* SPDX-License-Identifier: MIT */

/*
 * files: what the file system's side costs: read, write, and everything with names.
 */

#include "measure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
        BATCH = 32,
        GROW_MAX = 64 << 20,
        PACKAGE_FILES = 10,
        PACKAGE_FILE_SIZE = 2048,
        PACKAGES_MAX = 100, /* before they are removed again */
};

static void nothing(struct run *run) {
        (void)run;
}

static void buffer_prepare(struct run *run) {
        uint64_t size = run->request->block + PAGE;

        run->buffer = aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);
        if (!run->buffer)
                fail("aligned_alloc");
        memset(run->buffer, 1, size);
}

static void io_prepare(struct run *run) {
        const struct request *request = run->request;

        buffer_prepare(run);
        region_make(run);
        for (uint64_t at = 0; at < request->size; at += request->block)
                if (pwrite(run->fd, run->buffer, request->block, (off_t)at) < 0)
                        fail("pwrite");
}

/* The next place to read or write: forward, and from the start again. */
static off_t io_next(struct run *run) {
        const struct request *request = run->request;
        uint64_t at = run->position + request->skew;

        run->position += request->block;
        if (run->position + request->block + request->skew > request->size)
                run->position = 0;
        return (off_t)at;
}

static void pread_step(struct run *run) {
        uint64_t block = run->request->block;

        if (pread(run->fd, run->buffer, block, io_next(run)) != (ssize_t)block)
                fail("pread");
        run->work++;
}

static void pwrite_step(struct run *run) {
        uint64_t block = run->request->block;

        if (pwrite(run->fd, run->buffer, block, io_next(run)) != (ssize_t)block)
                fail("pwrite");
        run->work++;
}

/* Writes at the end, which makes the file grow. */
static void append_step(struct run *run) {
        uint64_t block = run->request->block;

        if (run->position + block > GROW_MAX) {
                run_pause(run);
                if (ftruncate(run->fd, 0) < 0)
                        fail("ftruncate");
                run->position = 0;
                run_resume(run);
        }
        if (pwrite(run->fd, run->buffer, block, (off_t)run->position) != (ssize_t)block)
                fail("pwrite");
        run->position += block;
        run->work++;
}

static void append_prepare(struct run *run) {
        buffer_prepare(run);
        region_make(run);
}

/* One of the files that are there already. */
static const char *some_name(struct run *run) {
        snprintf(run->path, sizeof(run->path), "%s/f%lu", run->request->dir,
                 random_next(run) % run->request->count);
        return run->path;
}

static void open_step(struct run *run) {
        int fd = open(some_name(run), O_RDWR | O_CLOEXEC);

        if (fd < 0)
                fail("open %s", run->path);
        if (close(fd) < 0)
                fail("close");
        run->work++;
}

static void open_map_step(struct run *run) {
        int fd = open(some_name(run), O_RDWR | O_CLOEXEC);
        char *map;

        if (fd < 0)
                fail("open %s", run->path);
        map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                fail("mmap");
        *(volatile char *)map = 1;
        munmap(map, PAGE);
        close(fd);
        run->work++;
}

static void stat_step(struct run *run) {
        struct stat st;

        if (lstat(some_name(run), &st) < 0)
                fail("lstat %s", run->path);
        run->work++;
}

/* Names that are not there, each only once, so that no cache knows the answer. */
static void lookup_step(struct run *run) {
        struct stat st;

        run_name(run, run->path);
        if (lstat(run->path, &st) == 0 || errno != ENOENT)
                fail("lstat %s", run->path);
        run->work++;
}

static void readdir_step(struct run *run) {
        DIR *dir = opendir(run->request->dir);
        const struct dirent *entry;
        struct stat st;

        if (!dir)
                fail("opendir");
        while ((entry = readdir(dir))) {
                if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        fail("fstatat %s", entry->d_name);
                run->work++;
        }
        closedir(dir);
}

/* The whole life of a region without a use of it. */
static void life_step(struct run *run) {
        region_make(run);
        region_drop(run);
        run->work++;
}

static void create_named(const char *path) {
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (fd < 0)
                fail("open %s", path);
        close(fd);
}

/* Creates, then removes; which half counts is what `creating` says. */
static void names_step(struct run *run, bool creating) {
        static char names[BATCH][PATH_MAX];

        for (int i = 0; i < BATCH; i++)
                run_name(run, names[i]);
        if (!creating)
                run_pause(run);
        for (int i = 0; i < BATCH; i++)
                create_named(names[i]);
        if (creating)
                run_pause(run);
        else
                run_resume(run);
        for (int i = 0; i < BATCH; i++)
                if (unlink(names[i]) < 0)
                        fail("unlink %s", names[i]);
        if (creating)
                run_resume(run);
        run->work += BATCH;
}

static void create_step(struct run *run) {
        names_step(run, true);
}

static void unlink_step(struct run *run) {
        names_step(run, false);
}

static void rename_prepare(struct run *run) {
        run_name(run, run->path);
        run_name(run, run->other_path);
        create_named(run->path);
}

static void rename_step(struct run *run) {
        if (rename(run->path, run->other_path) < 0 || rename(run->other_path, run->path) < 0)
                fail("rename");
        run->work += 2;
}

static void df_step(struct run *run) {
        struct statvfs st;

        if (statvfs(run->request->dir, &st) < 0)
                fail("statvfs");
        run->work++;
}

/* A package as npm(1) unpacks one: small files in directories of a name of its own, which is renamed
 * when all are there; a link to its program; and then it is read. */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
        (void)st;
        (void)type;
        (void)at;
        return remove(path);
}

static void remove_tree(const char *path) {
        if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
                fail("remove %s", path);
}

static void package_make_dir(const char *base, const char *name) {
        char path[2 * PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", base, name);
        if (mkdir(path, 0755) < 0)
                fail("mkdir %s", path);
}

static void package_make_file(struct run *run, const char *base, int i) {
        static const char *const places[] = {"", "lib/", "dist/"};
        char path[2 * PATH_MAX];
        int fd;

        snprintf(path, sizeof(path), "%s/%sfile%d.js", base, places[i % 3], i);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, run->buffer, PACKAGE_FILE_SIZE) != PACKAGE_FILE_SIZE)
                fail("write %s", path);
        close(fd);
}

static void package_read(struct run *run, const char *base) {
        char path[2 * PATH_MAX];
        int fd;

        snprintf(path, sizeof(path), "%s/file0.js", base);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, run->buffer, PACKAGE_FILE_SIZE) != PACKAGE_FILE_SIZE)
                fail("read %s", path);
        close(fd);
}

static void install_begin(struct run *run) {
        run_name(run, run->path);
        if (mkdir(run->path, 0755) < 0)
                fail("mkdir %s", run->path);
        package_make_dir(run->path, ".bin");
        run->position = 0;
}

static void install_prepare(struct run *run) {
        run->buffer = calloc(1, PACKAGE_FILE_SIZE);
        if (!run->buffer)
                fail("calloc");
        install_begin(run);
}

static void install_step(struct run *run) {
        char staging[PATH_MAX + 32], final[PATH_MAX + 32], link[PATH_MAX + 32];

        snprintf(staging, sizeof(staging), "%s/.p%lu-x", run->path, run->position);
        snprintf(final, sizeof(final), "%s/p%lu", run->path, run->position);
        snprintf(link, sizeof(link), "%s/.bin/p%lu", run->path, run->position);
        if (mkdir(staging, 0755) < 0)
                fail("mkdir %s", staging);
        package_make_dir(staging, "lib");
        package_make_dir(staging, "dist");
        for (int i = 0; i < PACKAGE_FILES; i++)
                package_make_file(run, staging, i);
        if (rename(staging, final) < 0 || symlink(final, link) < 0)
                fail("rename %s", staging);
        package_read(run, final);
        run->work++;
        if (++run->position < PACKAGES_MAX)
                return;
        run_pause(run);
        remove_tree(run->path);
        install_begin(run);
        run_resume(run);
}

static void install_finish(struct run *run) {
        remove_tree(run->path);
}

const struct workload file_workloads[] = {
        {"pread", "call", io_prepare, pread_step, region_drop},
        {"pwrite", "call", io_prepare, pwrite_step, region_drop},
        {"append", "call", append_prepare, append_step, region_drop},
        {"open-close", "pair", nothing, open_step, NULL},
        {"open-map-close", "round", nothing, open_map_step, NULL},
        {"stat", "call", nothing, stat_step, NULL},
        {"lookup", "call", nothing, lookup_step, NULL},
        {"floor", "call", floor_prepare, lookup_step, NULL},
        {"readdir", "entry", nothing, readdir_step, NULL},
        {"life", "region", nothing, life_step, NULL},
        {"create", "file", nothing, create_step, NULL},
        {"unlink", "file", nothing, unlink_step, NULL},
        {"rename", "call", rename_prepare, rename_step, region_drop},
        {"df", "call", nothing, df_step, NULL},
        {"install", "package", install_prepare, install_step, install_finish},
        {},
};
