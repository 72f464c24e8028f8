# SPDX-License-Identifier: MIT
"""A caller in a memory cgroup: what the daemon makes for it is charged there, what does not fit its
limit is refused, and nobody is killed."""

import contextlib
import errno
import mmap
import os
import pathlib
import re

import pytest

import holders
from memory_jobs import Creation, hold_half_way, listed
from support import wait_for, worker_pid

MIB = 1 << 20
LIMIT = 256 * MIB


class Group:
    """A memory cgroup below our own, of whichever version has the memory controller here."""

    def __init__(self):
        self.version, parent = self._parent()
        self.path = parent / f"iomemfs-test-{os.getpid()}"
        try:
            self.path.mkdir()
            name = "memory.limit_in_bytes" if self.version == 1 else "memory.max"
            (self.path / name).write_text(str(LIMIT))
        except OSError as error:
            pytest.fail(f"no memory cgroup can be made here, which these tests need: {error}")

    @staticmethod
    def _mounts():
        """(mount point, what of the hierarchy is mounted, version) of memory's hierarchy."""
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split(" - ")[0].split()
            kind, _, options = line.split(" - ")[1].split()[:3]
            if kind == "cgroup" and "memory" in options.split(","):
                yield pathlib.Path(fields[4]), fields[3], 1
            elif kind == "cgroup2":
                yield pathlib.Path(fields[4]), fields[3], 2

    @classmethod
    def _parent(cls):
        """Version, and a group that can have children with limits."""
        groups = {}
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                groups[1] = path
            elif controllers == "":
                groups[2] = path
        version = 1 if 1 in groups else 2
        for point, top, kind in cls._mounts():
            if kind != version:
                continue
            below = os.path.relpath(groups[version], top)
            group = point / below if not below.startswith("..") else point
            if version == 1:
                return version, group
            # Of version 2, only a group whose children have the controller.
            for candidate in (group, *group.parents):
                control = candidate / "cgroup.subtree_control"
                if control.exists() and "memory" in control.read_text().split():
                    return version, candidate
        return pytest.fail("there is no memory cgroup here, which these tests need")

    def join(self):
        """Moves the calling process there."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def has(self, pid):
        return str(pid) in (self.path / "cgroup.procs").read_text().split()

    def used(self):
        name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return int((self.path / name).read_text())

    def kills(self):
        """How often the OOM killer has struck in it."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return int(re.search(r"^oom_kill (\d+)", (self.path / name).read_text(), re.M)[1])

    def end(self):
        wait_for(lambda: not (self.path / "cgroup.procs").read_text(), "an empty group")
        self.path.rmdir()


@pytest.fixture
def group():
    one = Group()
    yield one
    one.end()


@pytest.fixture
def limited(group, mounts):
    """A mount whose callers are in the group, and whose daemon is not; its worker must live on."""
    mount = mounts("size=0")
    worker = worker_pid(mount)
    assert not group.has(worker)
    yield mount
    assert worker_pid(mount) == worker
    assert group.kills() == 0


@pytest.mark.parametrize("options", ["populate", "huge"])
def test_more_than_the_limit_is_refused(limited, group, options):
    assert Creation(limited.path, f"x 512m {options}", group).end() == errno.ENOSPC
    assert (limited.ctl / "error").read_text() == "x: not enough memory to populate it\n"
    assert os.listdir(limited) == [] and listed(limited.path) == {}
    assert limited.stats()["iomemfs_used_bytes"] == 0
    before = group.used()
    assert Creation(limited.path, f"y 64m {options}", group).end() == 0
    assert os.stat(limited / "y").st_blocks * 512 == 64 * MIB
    assert group.used() - before >= 60 * MIB, "charged to whoever asked"


def allocate(group, path, size):
    """fallocate(2) of a new file by a process in the group; its errno, 0 if all was well."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            holders.die_with_parent()
            group.join()
            os.posix_fallocate(os.open(path, os.O_CREAT | os.O_RDWR), 0, size)
            status = 0
        except OSError as error:
            status = error.errno
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_fallocate_is_the_callers(limited, group):
    before = group.used()
    assert allocate(group, limited / "small", 64 * MIB) == 0
    assert group.used() - before >= 60 * MIB
    assert allocate(group, limited / "large", 512 * MIB) == errno.ENOSPC
    assert os.stat(limited / "large").st_blocks == 0
    assert os.stat(limited / "small").st_blocks * 512 == 64 * MIB


@pytest.mark.parametrize("options", ["populate", "huge"])
def test_until_it_is_full(limited, group, options):
    """One after the other, and what was given back can be had again."""
    made = 0
    while True:
        creation = Creation(limited.path, f"x{made} 16m {options}", group)
        error = creation.end()
        if error:
            break
        made += 1
        assert made * 16 * MIB < LIMIT
    assert error == errno.ENOSPC
    assert made * 16 >= 128
    assert len(os.listdir(limited)) == made
    limited.command("remove", "x0")
    limited.command("remove", "x1")
    wait_for(lambda: Creation(limited.path, f"y 16m {options}", group).end() == 0, "room again")


def eat(group, size, ready, done):
    """Takes memory in the group, all of it at once, and keeps it until done is closed."""
    group.join()
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1
        os.write(ready, b"x")
        os.read(done, 1)


@contextlib.contextmanager
def eater(group, size):
    """A process that does that."""
    pipes = [os.pipe(), os.pipe()]
    pid = os.fork()
    if pid == 0:
        try:
            holders.die_with_parent()
            os.close(pipes[1][1])
            eat(group, size, pipes[0][1], pipes[1][0])
        finally:
            os._exit(0)
    os.close(pipes[0][1])
    try:
        assert os.read(pipes[0][0], 1) == b"x", "the eater died"
        yield
    finally:
        for fd in (pipes[0][0], *pipes[1]):
            os.close(fd)
        os.waitpid(pid, 0)


def test_memory_that_others_take_meanwhile(limited, group):
    """Half of it is there when there is no room for the rest any more."""
    creation, held = hold_half_way(
        limited, "x", 32 * MIB, Creation, limited.path, "x 128m huge", group
    )
    try:
        # Room for the piece that is under way, but not for one more beside the margin.
        with eater(group, LIMIT - group.used() - 40 * MIB):
            held.release()
            assert creation.end() == errno.ENOSPC
    finally:
        held.release()
    assert os.listdir(limited) == [] and listed(limited.path) == {}
    assert limited.stats()["iomemfs_used_bytes"] == 0
    wait_for(lambda: Creation(limited.path, "y 64m populate", group).end() == 0, "room again")
