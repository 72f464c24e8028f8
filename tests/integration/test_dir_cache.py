# SPDX-License-Identifier: MIT
"""The kernel keeps what it has read of a directory, and nobody is ever shown an old listing."""

import contextlib
import ctypes
import os
import pathlib
import random
import select
import signal
import subprocess
import sys

import pytest

import support
from posix_trace import getdents
from socket_client import Client, socket_of
from support import NOBODY, run, wait_for, worker_pid

EXCHANGE = 2
AT_FDCWD = -100
LIST = "import os, sys\nwhile True: os.listdir(sys.argv[1])\n"
# Reads a directory that is open already, in one getdents(2), on one processor.
READER = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
fd = int(sys.argv[2])
os.fstat(fd)
print("ready", flush=True)
sys.stdin.readline()
print(len(os.listdir(fd)), flush=True)
"""
BUSY = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
print("busy", flush=True)
while True: pass
"""


def listings(mount):
    """How many requests for entries of a directory there have been."""
    stats = mount.stats()
    return sum(stats.get(f'iomemfs_requests_total{{opcode="{opcode}"}}', 0)
               for opcode in ("READDIR", "READDIRPLUS"))


def prime(directory):
    """Has the kernel keep a listing, and shows that it does what a second reader gets."""
    names = set(os.listdir(directory))
    assert set(os.listdir(directory)) == names
    return names


@pytest.fixture
def directory(mount):
    path = mount / "d"
    path.mkdir()
    for i in range(50):
        (path / f"f{i}").touch()
    (path / "sub").mkdir()
    return path


@pytest.mark.parametrize("count", [0, 50, 5000])
def test_a_second_listing_asks_for_nothing(mount, count):
    path = mount / "d"
    path.mkdir()
    for i in range(count):
        (path / f"f{i}").touch()
    names = prime(path)
    assert len(names) == count
    before = listings(mount)
    for _ in range(10):
        assert set(os.listdir(path)) == names
        # For everybody: it is one listing.
        assert set(support.as_user(NOBODY, os.listdir, path)) == names
    assert listings(mount) == before


def test_control_directories_are_not_kept(mount):
    """What they show depends on who asks."""
    prime(mount.ctl)
    before = listings(mount)
    os.listdir(mount.ctl)
    assert listings(mount) > before


@pytest.mark.log_allows("was killed by signal 9")
@pytest.mark.parametrize("killed", [False, True], ids=["", "worker killed"])
def test_one_at_a_time_has_the_kernel_keep_it(mount, directory, killed):
    """While one has it open, what others read is not kept; it is again when that one has closed it."""
    with os.scandir(directory) as first:
        next(first)
        if killed:
            os.kill(worker_pid(mount), signal.SIGKILL)
        os.listdir(directory)
        before = listings(mount)
        os.listdir(directory)
        assert listings(mount) > before
        if killed:
            os.kill(worker_pid(mount), signal.SIGKILL)
    prime(directory)
    before = listings(mount)
    os.listdir(directory)
    assert listings(mount) == before


def exchange(one, other):
    libc = ctypes.CDLL(None, use_errno=True)
    r = libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), EXCHANGE)
    assert r == 0, os.strerror(ctypes.get_errno())


def ask(mount, line):
    with Client(socket_of(mount)) as client:
        return client.ask(line)


# Each changes the listing of d: by a call, by a command or over the socket.
CHANGES = {
    "create": lambda m, d: (d / "new").touch(),
    "mkdir": lambda m, d: (d / "new").mkdir(),
    "symlink": lambda m, d: (d / "new").symlink_to("f1"),
    "link": lambda m, d: (d / "new").hardlink_to(d / "f1"),
    "mknod": lambda m, d: os.mkfifo(d / "new"),
    "unlink": lambda m, d: (d / "f1").unlink(),
    "rmdir": lambda m, d: (d / "sub").rmdir(),
    "rename": lambda m, d: (d / "f1").rename(d / "new"),
    "rename over": lambda m, d: (d / "f1").rename(d / "f2"),
    "rename in": lambda m, d: (m / "other").rename(d / "new"),
    "rename out": lambda m, d: (d / "f1").rename(m / "new"),
    "create by command": lambda m, d: m.command("create", "d/new 4k"),
    "create here": lambda m, d: (d / ".ctl/create").write_text("new 4k\n"),
    "create populated": lambda m, d: m.command("create", "d/new 4k populate"),
    "two by one write": lambda m, d: (d / ".ctl/create").write_text("new 4k\nnew2 4k\n"),
    "remove by command": lambda m, d: m.command("remove", "d/f1"),
    "create by socket": lambda m, d: ask(m, "create d/new 4k"),
    "remove by socket": lambda m, d: ask(m, "remove d/f1"),
}  # fmt: skip


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("known", [True, False], ids=["names known", "names unknown"])
def test_a_change_is_seen_at_once(mount, directory, how, known):
    """known: whether the kernel has looked the names up, too."""
    (mount / "other").touch()
    expected = prime(directory)
    if known:
        for name in expected:
            os.lstat(directory / name)
    with os.scandir(directory) as under_way:
        next(under_way)
        CHANGES[how](mount, directory)
        if how == "two by one write":
            expected |= {"new", "new2"}
        else:
            if "create" in how or how in ("mkdir", "symlink", "link", "mknod", "rename", "rename in"):
                expected.add("new")
            if how in ("unlink", "rename", "rename over", "rename out") or "remove" in how:
                expected.discard("f1")
            if how == "rmdir":
                expected.discard("sub")
        assert set(os.listdir(directory)) == expected
        assert set(support.as_user(NOBODY, os.listdir, directory)) == expected
        assert set(os.listdir(directory)) == expected


def test_inodes_of_exchanged_names(directory):
    def inodes():
        with os.scandir(directory) as scan:
            return {entry.name: entry.inode() for entry in scan}

    before = inodes()
    assert inodes() == before
    exchange(directory / "f1", directory / "sub")
    after = inodes()
    assert after["f1"] == before["sub"] and after["sub"] == before["f1"]


def test_a_name_that_goes_by_itself(mount, directory):
    """An ephemeral region goes when its last user has gone, and nobody asked for that."""
    mount.command("create", "d/brief 4k ephemeral")
    fd = os.open(directory / "brief", os.O_RDWR)
    assert "brief" in prime(directory)
    os.close(fd)
    wait_for(lambda: "brief" not in os.listdir(directory), "the end of the name")


def test_rewound(directory):
    """Who goes back to the start sees what has changed; who does not, need not."""
    prime(directory)
    fd = os.open(directory, os.O_RDONLY)
    try:
        first = getdents(fd, 1 << 16)
        (directory / "new").touch()
        assert getdents(fd, 1 << 16) == []
        os.lseek(fd, 0, os.SEEK_SET)
        assert {e[0] for e in getdents(fd, 1 << 16)} - {e[0] for e in first} == {"new"}
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [100, 500, 5000])
@pytest.mark.parametrize("by", ["call", "command"])
def test_entries_that_stay_are_met_once(mount, size, by):
    """While others come and go, and somebody else has the kernel read it all again and again."""
    directory = mount / "d"
    directory.mkdir()
    stay = [f"stay{i}" for i in range(200)]
    go = [f"go{i}" for i in range(200)]
    names = stay + go
    random.Random(size).shuffle(names)
    for name in names:
        (directory / name).touch()
    prime(directory)
    fd = os.open(directory, os.O_RDONLY)
    met = []
    try:
        for step in range(1000):
            chunk = getdents(fd, size)
            if not chunk:
                break
            met += [entry[0] for entry in chunk]
            if by == "call":
                (directory / f"new{step}").touch()
                if go:
                    (directory / go.pop()).unlink()
            else:
                mount.command("create", f"d/new{step} 4k")
                if go:
                    mount.command("remove", f"d/{go.pop()}")
            if step % 3:
                os.listdir(directory)
    finally:
        os.close(fd)
    assert len(met) == len(set(met))
    assert set(stay) <= set(met)


@pytest.mark.parametrize("by", ["command", "socket"])
def test_changes_while_others_list(mount, directory, by):
    """Changes of which the kernel does not know, many within a tick of the clock, and readers
    who are in the middle of a listing at each of them."""
    argv = [sys.executable, "-c", LIST, directory]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(socket_of(mount)))
        command = os.open(mount.ctl / "create", os.O_WRONLY)
        stack.callback(os.close, command)
        for _ in range(2):
            lister = stack.enter_context(subprocess.Popen(argv))
            stack.callback(lister.kill)
        for i in range(1000):
            if by == "command":
                os.write(command, f"d/new{i} 4k\n".encode())
            else:
                client.ask(f"create d/new{i} 4k")
            assert f"new{i}" in os.listdir(directory)


class Reader:
    """A process that has the directory open, and reads it when it is told to."""

    def __init__(self, stack, directory, processor):
        fd = os.open(directory, os.O_RDONLY)
        self.process = stack.enter_context(subprocess.Popen(
            [sys.executable, "-c", READER, str(processor), str(fd)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, pass_fds=[fd]))
        os.close(fd)
        stack.callback(self.process.kill)
        assert self.process.stdout.readline() == "ready\n"

    def begin(self):
        """Reads; returns when it has asked the daemon, who is stopped."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        wait_for(self.waits, "a reader who waits for the daemon")

    def waits(self):
        return "request_wait_answer" in pathlib.Path(f"/proc/{self.process.pid}/stack").read_text()

    def is_done(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def count(self):
        return int(self.process.stdout.readline())


def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: state_of(pid) == "T", "the worker's stop")


@contextlib.contextmanager
def occupied(processor):
    """Nobody else gets anything done on the processor, but for the kernel's few per cent."""
    argv = [sys.executable, "-c", BUSY, str(processor)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as busy:
        try:
            assert busy.stdout.readline() == "busy\n"
            yield busy
        finally:
            busy.kill()


@pytest.fixture
def two_places(mount):
    """A processor for the slow reader, and another one for all else."""
    slow, *others = sorted(os.sched_getaffinity(0))
    mine = os.sched_getaffinity(0)
    for pid in mount.pids():
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), others)
    os.sched_setaffinity(0, others)
    yield slow, others[0]
    os.sched_setaffinity(0, mine)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a reader is held on one of two")
@pytest.mark.parametrize("second", [False, True], ids=["alone", "with another reader"])
def test_a_reader_who_takes_in_the_answer_late(mount, directory, two_places, second):
    """The daemon answers a reader, then a command changes the directory and the kernel is told; and
    only then the reader takes in the answer, which is old by then.  It must not be kept: also not as
    that of a second reader, who has begun after the change."""
    number = 0

    def try_once():
        nonlocal number
        number += 1
        with contextlib.ExitStack() as stack:
            happened = take_in_late(stack, mount, directory, two_places, f"new{number}", second)
        assert f"new{number}" in os.listdir(directory)
        assert f"new{number}" in os.listdir(directory)
        return happened

    wait_for(try_once, "a reader who was late enough")


def take_in_late(stack, mount, directory, places, name, second):
    """False if the kernel let the late reader run too early."""
    slow, other = places
    worker = worker_pid(mount)
    (directory / name).touch()  # no listing is kept
    (directory / name).unlink()
    before = len(os.listdir(directory))
    (directory / name).touch()
    (directory / name).unlink()
    stack.callback(os.kill, worker, signal.SIGCONT)
    late = Reader(stack, directory, slow)
    stop(worker)
    late.begin()
    with occupied(slow):
        os.kill(worker, signal.SIGCONT)
        mount.command("create", f"d/{name} 4k")
        if second:
            another = Reader(stack, directory, other)
            stop(worker)
            another.begin()
        happened = not late.is_done()
    if second:
        wait_for(lambda: late.waits() or late.is_done(), "the late reader's question for more")
        happened = happened and not late.is_done()
        os.kill(worker, signal.SIGCONT)
        assert another.count() == before + 1
    return late.count() == before and happened


def state_of(pid):
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()[0].decode()


@pytest.mark.log_allows("was killed by signal 9")
def test_changes_around_the_death_of_the_worker(mount, directory):
    for i in range(20):
        prime(directory)
        os.kill(worker_pid(mount), signal.SIGKILL)
        if i % 2:
            mount.command("create", f"d/new{i} 4k")
        else:
            (directory / f"new{i}").touch()
        assert f"new{i}" in os.listdir(directory)


def test_removed_while_open(mount, directory):
    """As on any file system: an open directory that is gone is empty."""
    prime(directory / "sub")
    fd = os.open(directory / "sub", os.O_RDONLY)
    try:
        (directory / "sub").rmdir()
        with contextlib.suppress(FileNotFoundError):
            assert [e for e in getdents(fd, 1000) if e[0] not in (".", "..")] == []
    finally:
        os.close(fd)
    del mount


def test_remove_everything(mount, directory):
    """rm(1) reads in pieces and removes what it has read."""
    for i in range(3000):
        (directory / f"more{i}").touch()
    prime(directory)
    run(["rm", "-r", directory], check=True)
    assert "d" not in os.listdir(mount)
