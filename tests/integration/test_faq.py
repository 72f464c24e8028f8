# SPDX-License-Identifier: MIT
"""What docs/faq.md calls tried."""

import ctypes
import errno
import mmap
import os
import re
import shutil
import subprocess

import pytest

from support import LIMIT, ROOT, build_dir, run

MIB = 1 << 20
MUTEX = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t *map(int fd) {
        void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (memory == MAP_FAILED)
                _exit(3);
        return memory;
}

/* MUTEX FILE [DESCRIPTOR]: a child that has mapped the other one dies while it holds the mutex. */
int main(int argc, char **argv) {
        int fd = open(argv[1], O_RDWR), other = argc > 2 ? atoi(argv[2]) : open(argv[1], O_RDWR);
        pthread_mutex_t *mutex = map(fd);
        pthread_mutexattr_t attributes;

        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        if (pthread_mutex_init(mutex, &attributes) != 0)
                return 3;
        if (fork() == 0)
                _exit(pthread_mutex_lock(map(other)));
        wait(NULL);
        if (pthread_mutex_lock(mutex) != EOWNERDEAD)
                return 1;
        return pthread_mutex_consistent(mutex) == 0 && pthread_mutex_unlock(mutex) == 0 ? 0 : 2;
}
"""


@pytest.fixture(scope="module")
def mutex_program(tmp_path_factory):
    source = tmp_path_factory.mktemp("faq") / "mutex.c"
    source.write_text(MUTEX)
    program = source.with_suffix("")
    subprocess.run(["cc", "-o", program, source, "-pthread"], check=True)
    return program


def test_robust_mutex(mount, mutex_program):
    mount.create("a", 4096)
    assert run([mutex_program, mount / "a"]).returncode == 0


@pytest.mark.modes("passthrough")
def test_robust_mutex_with_the_socket(mount, mutex_program):
    mount.create("a", 4096)
    result = run([
        build_dir() / "src/cli/iomem", "-m", mount, "exec", "a", "--", "sh", "-c",
        'exec "$0" "$1" $IOMEM_FD', mutex_program, mount / "a",
    ])  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_mlock_and_mbind(mount):
    mount.create("a", MIB)
    libc = ctypes.CDLL(None, use_errno=True)
    with open(mount / "a", "r+b") as region, mmap.mmap(region.fileno(), MIB) as view:
        holder = ctypes.c_char.from_buffer(view)
        address = ctypes.c_void_p(ctypes.addressof(holder))
        assert libc.mlock(address, ctypes.c_size_t(MIB)) == 0
        assert libc.munlock(address, ctypes.c_size_t(MIB)) == 0
        mask = ctypes.c_ulong(1)
        result = libc.syscall(237, address, ctypes.c_ulong(MIB), 2, ctypes.byref(mask), 64, 0)
        assert result == 0 or ctypes.get_errno() == errno.ENOSYS  # mbind(2) of x86-64; a kernel without NUMA
        del holder


def test_sparse(mount):
    (mount / ".ctl/default").write_text("sparse\n")
    fd = os.open(mount / "big", os.O_RDWR | os.O_CREAT)
    try:
        os.ftruncate(fd, 1 << 40)
        os.pwrite(fd, b"x", 1 << 39)
        assert os.fstat(fd).st_size == 1 << 40
        assert os.fstat(fd).st_blocks * 512 <= 2 * MIB
    finally:
        os.close(fd)


def test_direct(mount):
    mount.create("a", MIB)
    fd = os.open(mount / "a", os.O_RDWR | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 4096) as page:
            page[:5] = b"hello"
            assert os.pwritev(fd, [page], 8192) == 4096
            page[:5] = b"     "
            assert os.preadv(fd, [page], 8192) == 4096
            assert page[:5] == b"hello"
    finally:
        os.close(fd)


@pytest.mark.skipif(not shutil.which("fio"), reason="fio is not installed")
def test_io_uring(mount):
    """Few writes: each is done by a thread of the kernel, which takes long on a busy machine."""
    mount.create("a", MIB)
    result = run(["fio", "--name=x", "--ioengine=io_uring", f"--filename={mount}/a", "--size=64k", "--rw=randwrite",
                  "--bs=4k", "--verify=crc32c"], cwd=mount.home, timeout=2 * LIMIT)  # fmt: skip
    assert result.returncode == 0 and "err= 0" in result.stdout, result.stdout + result.stderr


def test_the_page_says_what_is_tried():
    text = (ROOT / "docs/faq.md").read_text()
    for word in ("mlock", "mbind", "robust", "Sparse", "O_DIRECT, io_uring"):
        assert word in text
    assert len(re.findall(r"\*[Tt]ried:\*", text)) >= 5
    # Each question that newcomers ask has its answer.
    for word in ("distribution", "Docker", "Kubernetes", "SELinux", "AppArmor", "swapped", "NUMA", "pthread", "GPU", "RDMA",
                 "32-bit", "ARM", "musl", "reboot", "/dev/shm", "vineyard", "Ray", "famfs", "Boost", "iceoryx"):
        assert word in text, word
