# SPDX-License-Identifier: MIT
"""The same memory for everybody, and the daemon not in its path."""

import ctypes
import mmap
import os
import signal
import time

import pytest
from support import LIMIT, wait_for

MIB = 1024 * 1024
BULK = 256 * MIB
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[os.uname().machine]
FUTEX_WAIT, FUTEX_WAKE = 0, 1


class Mapping:
    """A shared mapping of a whole file that keeps no descriptor of ours open."""

    def __init__(self, path, protection=mmap.PROT_READ | mmap.PROT_WRITE):
        flags = os.O_RDWR if protection & mmap.PROT_WRITE else os.O_RDONLY
        self.fd = os.open(path, flags)
        self.memory = mmap.mmap(self.fd, 0, mmap.MAP_SHARED, protection)

    def __enter__(self):
        return self.memory

    def __exit__(self, *_):
        self.memory.close()
        os.close(self.fd)


def in_child(function):
    """Runs function in a child; returns its pid.  The child exits 0 if it returns."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(int(LIMIT))
            function()
            status = 0
        finally:
            os._exit(status)
    return pid


def ended_well(pid):
    return os.waitpid(pid, 0)[1] == 0


def make(mount, name, size, how):
    """A region by command, or a file as any program makes it."""
    if how == "command":
        return mount.create(name, size)
    path = mount / name
    with open(path, "wb") as stream:
        stream.truncate(size)
    return path


both_ways = pytest.mark.parametrize("how", ["command", "file"])


def data_requests(mount):
    stats = mount.stats()
    return tuple(stats[f'iomemfs_requests_total{{opcode="{name}"}}'] for name in ("READ", "WRITE"))


def data_requests_of_looking(mount):
    """How many of them reading the counters takes."""
    before = data_requests(mount)
    after = data_requests(mount)
    return tuple(b - a for a, b in zip(before, after))


def assert_no_data_requests(mount, work):
    expected = data_requests_of_looking(mount)
    before = data_requests(mount)
    work()
    after = data_requests(mount)
    assert tuple(b - a for a, b in zip(before, after)) == expected


@pytest.mark.modes("passthrough")
@both_ways
def test_no_request_while_mapped_data_moves(mount, how):
    path = make(mount, "bulk", BULK, how)

    def work():
        with Mapping(path) as memory:
            anchor = ctypes.c_char.from_buffer(memory)
            ctypes.memset(ctypes.addressof(anchor), 0x5A, BULK)
            del anchor
            assert memory[:8] == memory[-8:] == b"Z" * 8
        with Mapping(path, mmap.PROT_READ) as memory:
            assert memory[BULK // 2 : BULK // 2 + MIB] == b"Z" * MIB

    assert_no_data_requests(mount, work)


@pytest.mark.modes("passthrough")
@both_ways
def test_no_request_while_data_is_read_and_written(mount, how):
    path = make(mount, "bulk", BULK, how)

    def work():
        block = os.urandom(MIB)
        fd = os.open(path, os.O_RDWR)
        try:
            for offset in range(0, BULK, MIB):
                assert os.pwrite(fd, block, offset) == MIB
            for offset in range(0, BULK, MIB):
                assert os.pread(fd, MIB, offset) == block
            for offset in range(0, MIB, 4096):
                os.pwrite(fd, block[:4096], offset + 1)
        finally:
            os.close(fd)

    assert_no_data_requests(mount, work)


@pytest.mark.modes("cached")
def test_counters_count(mount):
    """That the tests above see none is no fault of the counters."""
    path = mount.create("x", MIB)
    before = data_requests(mount)
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, b"x" * 65536, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    assert data_requests(mount)[1] > before[1]


@both_ways
def test_two_processes_see_each_others_stores(mount, how):
    """Each answers the other's number a thousand times, without a call between them."""
    path = make(mount, "x", 4096, how)
    rounds = 1000

    def play(mine, theirs):
        with Mapping(path) as memory:
            words = ctypes.c_uint32 * 64
            cells = words.from_buffer(memory)
            end = time.monotonic() + LIMIT
            for number in range(1, rounds + 1):
                cells[mine] = number
                while cells[theirs] < number:
                    assert time.monotonic() < end
                    os.sched_yield()
            del cells

    pid = in_child(lambda: play(0, 32))
    try:
        play(32, 0)
    finally:
        assert ended_well(pid)


def futex(memory, operation, value):
    cell = ctypes.c_uint32.from_buffer(memory)
    result = LIBC.syscall(SYS_FUTEX, ctypes.byref(cell), operation, value, None, None, 0)
    del cell
    return result


@both_ways
def test_futex_wakes_another_process(mount, how):
    path = make(mount, "x", 4096, how)

    def sleep():
        with Mapping(path) as memory:
            assert futex(memory, FUTEX_WAIT, 0) == 0

    pid = in_child(sleep)
    try:
        with Mapping(path) as memory:
            wait_for(lambda: futex(memory, FUTEX_WAKE, 1) == 1, "a sleeper to wake")
    finally:
        assert ended_well(pid)


@both_ways
def test_read_and_write_agree_with_a_mapping(mount, how):
    path = make(mount, "x", 64 * 1024, how)
    fd = os.open(path, os.O_RDWR)
    try:
        with Mapping(path) as memory:
            for offset in (0, 1, 4095, 4096, 50000):
                os.pwrite(fd, b"written", offset)
                assert memory[offset : offset + 7] == b"written"
                memory[offset : offset + 6] = b"stored"
                assert os.pread(fd, 7, offset) == b"storedn"
    finally:
        os.close(fd)
    assert path.read_bytes()[50000:50007] == b"storedn"


def test_two_descriptors_of_two_processes(mount):
    """write(2) in one process, read(2) in another, both open all the time."""
    path = make(mount, "x", 4096, "command")
    reader, writer = os.pipe()
    back_reader, back_writer = os.pipe()

    def child():
        fd = os.open(path, os.O_RDWR)
        for number in range(20):
            assert os.read(reader, 1) == b"g"
            assert os.pread(fd, 8, 64) == b"%08d" % number
            os.pwrite(fd, b"%08d" % (number + 1000), 128)
            os.write(back_writer, b"r")

    pid = in_child(child)
    fd = os.open(path, os.O_RDWR)
    try:
        for number in range(20):
            os.pwrite(fd, b"%08d" % number, 64)
            os.write(writer, b"g")
            assert os.read(back_reader, 1) == b"r"
            assert os.pread(fd, 8, 128) == b"%08d" % (number + 1000)
    finally:
        for one in (fd, reader, writer, back_reader, back_writer):
            os.close(one)
        assert ended_well(pid)


@both_ways
def test_content_outlives_all_users(mount, how):
    path = make(mount, "x", MIB, how)
    with Mapping(path) as memory:
        memory[1000:1005] = b"hello"
    assert path.read_bytes()[1000:1005] == b"hello"
    with Mapping(path, mmap.PROT_READ) as memory:
        assert memory[1000:1005] == b"hello"
        assert memory[:1000] == bytes(1000)


@both_ways
def test_mapping_outlives_name_and_descriptor(mount, how):
    path = make(mount, "x", 4096, how)
    fd = os.open(path, os.O_RDWR)
    memory = mmap.mmap(fd, 4096)
    os.close(fd)
    path.unlink()
    try:
        memory[:4] = b"mine"
        assert memory[:4] == b"mine"
    finally:
        memory.close()
    assert not path.exists()


def test_private_mapping_stays_private(mount):
    path = mount.create("x", 4096)
    fd = os.open(path, os.O_RDWR)
    try:
        with mmap.mmap(fd, 4096, mmap.MAP_PRIVATE) as memory:
            memory[:4] = b"mine"
            assert os.pread(fd, 4, 0) == bytes(4)
    finally:
        os.close(fd)


@both_ways
def test_mapping_is_inherited(mount, how):
    path = make(mount, "x", 4096, how)
    with Mapping(path) as memory:

        def child():
            memory[:5] = b"child"

        assert ended_well(in_child(child))
        assert memory[:5] == b"child"


@both_ways
def test_growth_is_seen_by_all(mount, how):
    """A file grown by one process has its new size for another that has it open."""
    path = make(mount, "x", 4096, how)
    fd = os.open(path, os.O_RDWR)
    try:
        assert ended_well(in_child(lambda: os.truncate(path, 3 * 4096)))
        assert os.fstat(fd).st_size == 3 * 4096
        assert os.lseek(fd, 0, os.SEEK_END) == 3 * 4096
        os.pwrite(fd, b"end", 3 * 4096)
        assert os.fstat(fd).st_size == path.stat().st_size == 3 * 4096 + 3
    finally:
        os.close(fd)
