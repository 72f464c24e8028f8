# SPDX-License-Identifier: MIT
"""Regions by name: the module's functions, and Region."""

import asyncio
import datetime
import errno
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import iomem
from conftest import LIMIT, wait_for


def fails(number, text, function, *arguments, **keywords):
    with pytest.raises(OSError) as caught:
        function(*arguments, **keywords)
    assert caught.value.errno == number, caught.value
    assert text in str(caught.value)
    return caught.value


def names(directory=None):
    return sorted(info.name for info in iomem.list(directory))


def test_create_and_open():
    with iomem.create("frames", 10_000, mode=0o640, fixed=True) as made:
        made.buf[9_996:] = b"seen"
        with iomem.open("frames") as opened:
            assert bytes(opened.buf[-4:]) == b"seen"
            assert (opened.size, opened.name, opened.writable) == (10_000, "frames", True)
        info = iomem.stat("frames")
        assert (info.size, info.mode, info.flags) == (10_000, 0o640, ("fixed",))
        assert info.seals == ("shrink", "grow")
        assert (info.uid, info.creator_pid) == (os.getuid(), os.getpid())
        age = datetime.datetime.now(datetime.timezone.utc) - info.created
        assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=5)
        assert info == iomem.list()[0].__class__(**{**vars(iomem.list()[0]), "refs": info.refs})
        fails(errno.EPERM, "fixed", iomem.resize, "frames", 1)
    assert made.closed and "closed" in repr(made)
    made.close()


def test_reading_only():
    iomem.create("a", 4096).close()
    with iomem.open("a", write=False) as reader:
        assert reader.buf.readonly and not reader.writable
        with pytest.raises(TypeError):
            reader.buf[0] = 1
        fails(errno.EBADF, "", os.write, reader.fileno(), b"x")


def test_made_for_nobody_to_write():
    with iomem.create("a", 4096, mode=0o444) as region:
        assert len(region.buf) == 4096


def test_size_zero_and_remap():
    with iomem.create("a", 0) as region:
        assert len(region.buf) == 0
        iomem.resize("a", 8192)
        assert len(region.buf) == 0
        assert len(region.remap()) == 8192
    fails(errno.EINVAL, "", iomem.stat, ".")


def test_resize_seal_remove():
    iomem.create("a", 4096).close()
    iomem.resize("a", 8192)
    iomem.seal("a", "shrink", "write")
    info = iomem.stat("a")
    assert (info.size, info.seals) == (8192, ("shrink", "write"))
    fails(errno.EPERM, "sealed", iomem.resize, "a", 1)
    fails(errno.EINVAL, "seals are", iomem.seal, "a", "thaw")
    iomem.remove("a")
    for function in (iomem.remove, iomem.stat, iomem.open):
        assert isinstance(fails(errno.ENOENT, "a", function, "a"), FileNotFoundError)


def test_populate():
    iomem.create("a", 64 << 10, populate=True).close()
    assert iomem.stat("a").allocated == 64 << 10


def test_owner():
    """The name goes after the end of the process that made it, and not before."""
    code = (
        "import iomem, os\n"
        "iomem.create('a', 4096, owner='process').close()\n"
        "iomem.open('a').close()\n"
        "assert iomem.stat('a').flags == ('owner=process',), iomem.stat('a').flags\n"
        "print('made', flush=True)\n"
        "input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout.readline() == "made\n"
        assert names() == ["a"]
        maker.kill()
    wait_for(lambda: not names(), "the end of the region")


def test_what_the_daemon_says_is_shown():
    iomem.create("a", 4096).close()
    error = fails(errno.EEXIST, "exists already", iomem.create, "a", 4096)
    assert isinstance(error, FileExistsError) and error.filename == "a"
    fails(errno.EINVAL, "mode=", iomem.create, "b", 1, mode=0o7777)
    fails(errno.EINVAL, "owner=nobody", iomem.create, "b", 1, owner="nobody")
    fails(errno.EINVAL, "exclude", iomem.create, "b", 1, owner="process", ephemeral=True)
    fails(errno.ENOSPC, "size=", iomem.create, "b", 2 << 30)
    with pytest.raises(ValueError):
        iomem.create("b", -1)
    assert names() == ["a"]


def test_names():
    strange = ["with space", "tab\tnew\nline", "back\\slash", "häßlich", "\udcff\udcfe", "-", "a: b"]
    for name in strange:
        iomem.create(name, 1).close()
        assert iomem.stat(name).name == name
    assert names() == sorted(strange)
    for name in ("", "/a", "a/", "a//b", "..", "a/../b", ".ctl", ".ctl/create"):
        fails(errno.EINVAL, "", iomem.create, name, 1)
        fails(errno.EINVAL, "", iomem.open, name)
    with pytest.raises(ValueError):
        iomem.open("a\0b")


def test_directories():
    os.mkdir(f"{iomem.mount_point()}/d")
    iomem.create("d/a", 1).close()
    iomem.create("b", 1).close()
    assert (names(), names("d")) == (["b", "d/a"], ["a"])
    assert iomem.stat("d/a").name == "d/a"
    iomem.remove("d/a")
    fails(errno.EISDIR, "", iomem.wait, "d", 1)


def test_stat_where_attributes_are_off(monkeypatch):
    os.mkdir(f"{iomem.mount_point()}/d")
    iomem.create("d/a", 5).close()
    expected = iomem.stat("d/a")

    def refuse(*arguments, **keywords):
        raise OSError(errno.EOPNOTSUPP, "as with xattr=off")

    monkeypatch.setattr(os, "getxattr", refuse)
    assert iomem.stat("d/a") == expected
    fails(errno.ENOENT, "d/b", iomem.stat, "d/b")


def waiting(function, *arguments, **keywords):
    """A thread that calls function, and the list that gets its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments, **keywords)))
    thread.start()
    return thread, results


def test_wait():
    error = fails(errno.ETIMEDOUT, "late", iomem.open, "late", wait=0.05)
    assert isinstance(error, TimeoutError)
    thread, results = waiting(iomem.open, "late", wait=LIMIT)
    with iomem.create("early", 4096) as early:
        early.buf[:4] = b"here"
        os.rename(f"{iomem.mount_point()}/early", f"{iomem.mount_point()}/late")
        thread.join()
    with results[0] as late:
        assert bytes(late.buf[:4]) == b"here"
    iomem.wait("late")


def test_wait_below_a_directory_that_is_not_there_yet():
    thread, results = waiting(iomem.open, "d/late", wait=True)
    os.mkdir(f"{iomem.mount_point()}/d")
    iomem.create("d/late", 5).close()
    thread.join()
    assert results[0].size == 5
    results[0].close()


def test_events():
    with iomem.events() as events:
        assert events.get(0) is None
        iomem.create("a b", 4096).close()
        iomem.resize("a b", 8192)
        iomem.remove("a b")
        seen = [events.get(LIMIT) for _ in range(4)]
        assert [e.kind for e in seen] == ["create", "last-close", "resize", "remove"]
        assert {e.name for e in seen} == {"a b"}
        assert seen[0].details == {"size": 4096, "uid": os.getuid(), "pid": os.getpid()}
        assert [e.sequence for e in seen] == sorted(e.sequence for e in seen)
        iomem.create("b", 1).close()
        assert next(iter(events)).name == "b"
        os.rename(f"{iomem.mount_point()}/b", f"{iomem.mount_point()}/c")
        assert select.select([events], [], [], LIMIT)[0] == [events]


def test_events_in_an_event_loop():
    async def first():
        loop = asyncio.get_running_loop()
        with iomem.events() as events:
            future = loop.create_future()
            loop.add_reader(events, lambda: future.set_result(events.get(0)))
            await loop.run_in_executor(None, lambda: iomem.create("a", 1).close())
            event = await asyncio.wait_for(future, LIMIT)
            loop.remove_reader(events)
            return event

    assert asyncio.run(first()).name == "a"


def test_numpy():
    numpy = pytest.importorskip("numpy")
    with iomem.create("a", 8000, fixed=True) as region:
        array = numpy.frombuffer(region.buf, dtype=numpy.int64)
        array[:] = range(1000)
    # The array keeps the memory mapped.
    array[999] = -1
    with iomem.open("a", write=False) as region:
        other = numpy.frombuffer(region.buf, dtype=numpy.int64)
        assert (other[998], other[999]) == (998, -1)
        assert not other.flags.writeable
        del other
    del array


def test_anonymous_memory_goes_through_a_socket(no_mount):
    with iomem.anonymous(4096, fixed=True) as region:
        fails(errno.EPERM, "", os.ftruncate, region.fileno(), 1)
        region.buf[:4] = b"sent"
        here, there = socket.socketpair()
        with here, there:
            socket.send_fds(here, [b"x"], [region.fileno()])
            _, fds, _, _ = socket.recv_fds(there, 1, 1)
        with iomem.Region.from_fd(fds[0]) as received:
            assert bytes(received.buf[:4]) == b"sent" and received.writable
            assert received.name is None
    with iomem.anonymous(0) as region:
        assert len(region.buf) == 0


def test_without_a_mount(no_mount):
    for call in (
        lambda: iomem.create("a", 1),
        lambda: iomem.open("a"),
        lambda: iomem.open("a", wait=1),
        iomem.list,
        iomem.events,
        lambda: iomem.remove("a"),
        lambda: iomem.SharedMemory("a", create=True, size=1),
        lambda: iomem.SharedMemory("a"),
        lambda: iomem.SharedMemory(create=True, size=1),
    ):
        fails(errno.ENODEV, "no iomemfs", call)


def test_a_killed_holder_leaves_nothing():
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        kept = [iomem.create("alone", 4096, ephemeral=True),
                iomem.create("shared", 4096, ephemeral=True)]
        kept[0].buf[:1] = kept[1].buf[:1] = b"x"
        os.write(tell, b"1")
        time.sleep(3600)
    os.read(ready, 1)
    other = iomem.open("shared")
    memory = other.buf
    fd = os.dup(other.fileno())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for(lambda: names() == ["shared"], "the end of what only the dead one had")
    assert memory[0] == ord("x")
    other.close()
    assert names() == ["shared"]  # the second descriptor
    with mmap.mmap(fd, 4096) as mapping:
        os.close(fd)
        assert mapping[0] == ord("x") and names() == ["shared"]
    wait_for(lambda: names() == [], "its end")
    os.close(ready)
    os.close(tell)
