# SPDX-License-Identifier: MIT
"""The events file: what is told, to whom, in which order, and that nothing is lost or doubled."""

import contextlib
import errno
import os
import select
import signal
import time

import pytest

import holders
from crash_load import Daemon
from support import DAEMON, NOBODY, wait_for

RING = 4096  # events that are kept for slow readers
LIMIT_MS = 30_000


class Reader:
    """One open events file."""

    def __init__(self, directory, flags=0):
        self.fd = os.open(directory / ".ctl/events", os.O_RDONLY | flags)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def line(self, size=65536):
        """The next line, in words; waits for it."""
        while b"\n" not in self.buffer:
            poll = select.poll()
            poll.register(self.fd, select.POLLIN)
            assert poll.poll(LIMIT_MS), "no event"
            self.buffer += os.read(self.fd, size)
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode().split(" ")

    def until(self, kind, name):
        """All lines up to the one of that kind and name."""
        lines = []
        while not lines or lines[-1][1:3] != [kind, name]:
            lines.append(self.line())
        return lines


def numbers(lines):
    return [int(line[0]) for line in lines]


def kinds(lines):
    return [tuple(line[1:3]) for line in lines]


def consecutive(lines):
    found = numbers(lines)
    assert found == list(range(found[0], found[0] + len(found))), found


def test_what_is_told(mount):
    with Reader(mount) as reader:
        mount.create("a", 4096)
        mount.command("resize", "a 8192")
        os.truncate(mount / "a", 4096)
        mount.command("seal", "a grow,shrink")
        with open(mount / "b\n", "wb"):
            pass
        os.rename(mount / "b\n", mount / "c")
        os.unlink(mount / "c")
        mount.create("e", 4096, "ephemeral")
        with holders.by_descriptor(mount, "e"):
            pass
        holders.wait_gone(mount / "e")
        mount.command("remove", "a")
        lines = reader.until("remove", "a")
    consecutive(lines)
    print("\n".join(" ".join(line) for line in lines))
    told = kinds(lines)
    # Closes are told when the kernel tells of them, which may be later.
    closes = [event for event in told if event[0] == "last-close"]
    assert [event for event in told if event[0] != "last-close"] == [
        ("create", "a"), ("resize", "a"), ("resize", "a"), ("seal", "a"), ("create", "b\\012"),
        ("rename", "c"), ("remove", "c"), ("create", "e"), ("remove", "e"), ("remove", "a"),
    ]  # fmt: skip
    assert ("last-close", "e") in closes
    assert lines[0][3:] == ["size=4096", "uid=0", f"pid={os.getpid()}"]
    assert "size=8192" in lines[1]


def test_scope(mount):
    """Names are relative to the reader's directory, and nothing outside of it is told."""
    (mount / "d/inner").mkdir(parents=True)
    with Reader(mount) as all_of_it, Reader(mount / "d") as below, Reader(
        mount / "d/inner"
    ) as innermost:
        for name in ("x", "d/x", "d/inner/x", "dx", "d/last", "last"):
            mount.create(name, 4096)
        (mount / "d/inner/last").touch()
        assert kinds(all_of_it.until("create", "last")) == [
            ("create", n) for n in ("x", "d/x", "d/inner/x", "dx", "d/last", "last")
        ]
        assert kinds(below.until("create", "last")) == [
            ("create", n) for n in ("x", "inner/x", "last")
        ]
        lines = innermost.until("create", "last")
        assert kinds(lines) == [("create", "x"), ("create", "last")]


def test_hidden_directories(mount):
    """What one may not list one is not told, but its owner and root are."""
    (mount / "private").mkdir(mode=0o700)
    os.chown(mount / "private", *NOBODY)
    readers = {
        user: as_user_open(mount, user) for user in (NOBODY, DAEMON, (0, 0))
    }
    try:
        mount.create("private/x", 4096)
        mount.create("last", 4096)
        told = {user: kinds(reader.until("create", "last")) for user, reader in readers.items()}
    finally:
        for reader in readers.values():
            os.close(reader.fd)
    assert told[NOBODY] == told[(0, 0)] == [("create", "private/x"), ("create", "last")]
    assert told[DAEMON] == [("create", "last")]


def as_user_open(mount, user):
    """A reader that was opened by another user."""
    os.seteuid(user[0])
    try:
        return Reader(mount)
    finally:
        os.seteuid(0)


def test_poll_and_non_blocking(mount):
    with Reader(mount, os.O_NONBLOCK) as reader:
        poll = select.poll()
        poll.register(reader.fd, select.POLLIN)
        for number in range(20):
            assert poll.poll(0) == []
            with pytest.raises(BlockingIOError):
                os.read(reader.fd, 100)
            pid = os.fork()
            if pid == 0:
                os._exit(0 if mount.create(f"r{number}", 4096) else 1)
            start = time.monotonic()
            assert poll.poll(LIMIT_MS) == [(reader.fd, select.POLLIN)]
            assert reader.line()[1:3] == ["create", f"r{number}"]
            took = time.monotonic() - start
            assert os.waitpid(pid, 0)[1] == 0
        print(f"told after {took * 1e3:.1f} ms")


def test_edge_triggered(mount):
    """As Go, tokio and others wait: told once, then reading until there is nothing, for ever."""
    with Reader(mount.path, os.O_NONBLOCK) as reader, select.epoll() as epoll:
        epoll.register(reader.fd, select.EPOLLIN | select.EPOLLET)
        for number in range(20):
            mount.create(f"r{number}", 1)
            seen = b""
            while f" create r{number} ".encode() not in seen:
                assert epoll.poll(LIMIT_MS / 1000), f"event {number} is not told"
                with contextlib.suppress(BlockingIOError):
                    while True:
                        seen += os.read(reader.fd, 65536)


def test_small_reads(mount):
    with Reader(mount) as reader, Reader(mount) as other:
        for number in range(5):
            mount.create(f"r{number}", 4096)
        expected = other.until("create", "r4")
        assert [reader.line(size=1) for _ in range(5)] == expected


@contextlib.contextmanager
def blocked_reader(mount):
    """A process that waits in read(2) for an event."""
    @contextlib.contextmanager
    def read():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.siginterrupt(signal.SIGUSR1, True)
        with Reader(mount) as reader:
            yield reader
            # Reached when the pause of the holder ends by a signal: never.

    opened, opens = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            holders.die_with_parent()
            with read() as reader:
                os.write(opens, b"x")
                os._exit(0 if os.read(reader.fd, 1000) else 1)
        finally:
            os._exit(2)
    # Before that, it may sleep in open(2), and an event would come too early for it.
    os.close(opens)
    assert os.read(opened, 1) == b"x"
    os.close(opened)
    wait_for(lambda: "fuse" in wchan(pid) or "request_wait" in wchan(pid), "the reader's wait")
    yield pid


def wchan(pid):
    with open(f"/proc/{pid}/wchan", encoding="ascii") as stream:
        return stream.read()


def test_blocking_read(mount):
    with blocked_reader(mount) as pid:
        mount.create("x", 4096)
        assert os.waitpid(pid, 0)[1] == 0


def test_dead_readers_cost_nothing(mount):
    before = mount.stats()["iomemfs_ctl_handles"]
    pids = []
    for _ in range(10):
        with blocked_reader(mount) as pid:
            pids.append(pid)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    wait_for(lambda: mount.stats()["iomemfs_ctl_handles"] == before, "their handles")
    with Reader(mount) as reader:
        mount.create("x", 4096)
        assert reader.line()[1:3] == ["create", "x"]


def test_many_readers(mount):
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Reader(mount)) for _ in range(40)]
        for number in range(20):
            mount.create(f"r{number}", 4096)
        told = [reader.until("create", "r19") for reader in readers]
    assert len(told[0]) == 20 and all(lines == told[0] for lines in told)


def many_events(mount, count):
    """Makes as many events in few writes."""
    for start in range(0, count, 1000):
        lines = [f"x {4096 * (1 + i % 2)}" for i in range(start, min(start + 1000, count))]
        mount.command("resize", "\n".join(lines))


def test_overflow(mount):
    mount.create("x", 4096)
    with Reader(mount) as slow, Reader(mount) as half:
        many_events(mount, 10)
        assert half.line(size=100)[1] == "resize"
        many_events(mount, RING + 500)
        mount.create("last", 4096)
        lines = slow.until("create", "last")
        assert lines[0][1:3] == ["overflow", "-"]
        lost = int(lines[0][3].removeprefix("lost="))
        assert lost == 511 and len(lines) == RING + 1
        consecutive(lines[1:])
        # One that was in the middle of a line ends it, and is told what it missed.
        lines = half.until("create", "last")
        assert "overflow" in [line[1] for line in lines if len(line) > 1]
        mount.create("later", 4096)
        assert slow.line()[1:3] == ["create", "later"]


def test_nothing_is_lost_or_doubled_when_workers_die(mount):
    daemon = Daemon(mount)
    with Reader(mount) as reader, Reader(mount) as late:
        expected = []
        for number in range(60):
            mount.create(f"r{number}", 4096)
            expected.append(("create", f"r{number}"))
            if number % 3 == 0:
                daemon.kill_worker()
            mount.command("remove", f"r{number}")
            expected.append(("remove", f"r{number}"))
        lines = reader.until("remove", "r59")
        consecutive(lines)
        assert [event for event in kinds(lines) if event[0] != "restart"] == expected
        assert sum(line[1] == "restart" for line in lines) >= 1
        assert late.until("remove", "r59") == lines


def test_a_waiting_reader_outlives_the_worker(mount):
    daemon = Daemon(mount)
    with Reader(mount) as reader:
        poll = select.poll()
        poll.register(reader.fd, select.POLLIN)
        assert poll.poll(0) == []
        with blocked_reader(mount) as pid:
            daemon.kill_worker()
            assert poll.poll(LIMIT_MS)
            assert reader.line()[1:] == ["restart", "-"]
            assert os.waitpid(pid, 0)[1] == 0


def test_events_of_a_removed_directory(mount):
    (mount / "d").mkdir()
    with Reader(mount / "d", os.O_NONBLOCK) as reader:
        mount.create("d/x", 4096)
        mount.command("remove", "d/x")
        assert kinds(reader.until("remove", "x")) == [("create", "x"), ("remove", "x")]
        os.rmdir(mount / "d")
        with pytest.raises(OSError) as caught:
            os.read(reader.fd, 100)
        assert caught.value.errno in (errno.ESTALE, errno.EAGAIN)
