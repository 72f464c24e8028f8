# SPDX-License-Identifier: MIT
"""noatime, relatime and strictatime: when reading moves the time of access."""

import mmap
import os
import time

import pytest

from posix_trace import tick
from support import Mount, TmpfsMount

DAY = 86400


def read(path):
    with open(path, "rb") as stream:
        stream.read(1)


def read_mapping(path):
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as memory:
        assert memory[0] >= 0


# Each begins with a file that was read after it was written, and looks what moves.
STEPS = {
    "read": read,
    "mmap": read_mapping,
    "written_read": lambda path: (path.write_bytes(b"y" * 4096), tick(), read(path)),
    "chmod_read": lambda path: (path.chmod(0o600), tick(), read(path)),
    "old_read": lambda path: (os.utime(path, (time.time() - 2 * DAY, time.time() - 3 * DAY)), tick(), read(path)),
    "utime": lambda path: os.utime(path, (5, 5)),
    "utime_read": lambda path: (os.utime(path, (5, 5)), tick(), read(path)),
    "not_read": lambda path: (os.stat(path), path.exists()),
}  # fmt: skip


def play(path, step):
    """Whether the time of access moves, three times in a row; the first time is before any look."""
    path.write_bytes(b"x" * 4096)
    tick()
    read(path)
    moved = []
    for _ in range(3):
        before = os.stat(path).st_atime_ns
        tick()
        STEPS[step](path)
        moved.append(os.stat(path).st_atime_ns != before)
    return moved


def play_directory(path):
    path.mkdir()
    moved = []
    for change in (False, False, True, False):
        before = os.stat(path).st_atime_ns
        tick()
        if change:
            (path / "new").touch()
            tick()
        os.listdir(path)
        moved.append(os.stat(path).st_atime_ns != before)
    return moved


@pytest.fixture(scope="module", params=["", "noatime", "relatime", "strictatime"])
def pair(request):
    ours, theirs = Mount(request.param, passthrough="on"), TmpfsMount(request.param)
    yield ours, theirs, request.param
    ours.stop()
    theirs.stop()


@pytest.mark.parametrize("how", ["file", "command"])
@pytest.mark.parametrize("step", STEPS)
def test_as_on_tmpfs(pair, step, how):
    ours, theirs, _ = pair
    name = f"{how}-{step}"
    if how == "command":
        ours.create(name, 4096)
    assert play(ours / name, step) == play(theirs / name, step)


def test_directories(pair):
    ours, theirs, option = pair
    expected = play_directory(theirs / "d")
    found = play_directory(ours / "d")
    if option == "strictatime":
        # A listing that the kernel has in its memory is read without the daemon.
        assert found[0] and found[2]
    else:
        assert found == expected


def test_without_passthrough():
    """The kernel does not tell when it reads from the page cache; noatime holds all the same."""
    mount = Mount("noatime", passthrough="off")
    try:
        (mount / "f").write_bytes(b"x" * 4096)
        before = os.stat(mount / "f").st_atime_ns
        tick()
        read(mount / "f")
        assert os.stat(mount / "f").st_atime_ns == before
    finally:
        mount.stop()
