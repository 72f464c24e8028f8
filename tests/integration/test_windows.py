# SPDX-License-Identifier: MIT
"""Writes without passthrough that go through the worker's windows: as pwrite(2) in all but speed."""

import errno
import fcntl
import os
import pathlib
import random
import re
import threading
import time

import crash_load
import pytest

from support import run, wait_for, worker_pid

pytestmark = pytest.mark.modes("cached")

KIB, MIB = 1024, 1024 * 1024
WINDOW = 2 * MIB


def windows(mount):
    """How many windows the worker has open."""
    maps = pathlib.Path(f"/proc/{worker_pid(mount)}/maps").read_text(encoding="utf-8")
    ranges = re.findall(r"^(\w+)-(\w+) rw-s .*/memfd:iomemfs \(deleted\)$", maps, re.M)
    return sum(int(end, 16) - int(start, 16) for start, end in ranges) // WINDOW


def rewrite(path, size=256 * KIB, offset=0, times=3):
    """Writes other bytes each time; returns the last."""
    fd = os.open(path, os.O_RDWR)
    try:
        for _ in range(times):
            data = os.urandom(size)
            assert os.pwrite(fd, data, offset) == size
    finally:
        os.close(fd)
    return data


def test_bytes_arrive(mount, client):
    """Compared with what holders of the memory itself see, of sizes and places of all kinds."""
    size = 4 * WINDOW
    path = mount.create("a", size)
    choice = random.Random(1)
    expected = bytearray(size)
    fd = os.open(path, os.O_RDWR)
    try:
        for _ in range(150):
            length = choice.choice([1, 4096, 16 * KIB, 16 * KIB + 1, 64 * KIB, MIB, 3 * MIB])
            offset = choice.choice([0, 13, 4096, WINDOW - 5000, WINDOW, choice.randrange(size)])
            data = choice.randbytes(min(length, size - offset))
            assert os.pwrite(fd, data, offset) == len(data)
            expected[offset : offset + len(data)] = data
        assert windows(mount) > 0
    finally:
        os.close(fd)
    assert path.read_bytes() == expected
    with client.opened("open a") as memory:
        assert os.pread(memory, size, 0) == expected
    assert path.stat().st_size == size


def test_growing_files(mount):
    path = mount / "a"
    path.write_bytes(b"")
    expected = bytearray()
    fd = os.open(path, os.O_RDWR)
    try:
        for i in range(40):
            offset = i * 100 * KIB
            data = os.urandom(150 * KIB)  # half of it for the second time
            assert os.pwrite(fd, data, offset) == len(data)
            expected[offset:] = data
            os.pwrite(fd, data, offset)
        assert windows(mount) > 0
    finally:
        os.close(fd)
    assert path.read_bytes() == expected


def test_times_change(mount):
    path = mount.create("a", MIB)
    rewrite(path)
    assert windows(mount) == 1
    fd = os.open(path, os.O_RDWR)
    try:
        for _ in range(3):
            before = os.fstat(fd)
            time.sleep(0.02)
            os.pwrite(fd, os.urandom(256 * KIB), 0)
            after = os.fstat(fd)
            assert after.st_mtime_ns > before.st_mtime_ns
            assert after.st_ctime_ns > before.st_ctime_ns
            assert after.st_atime_ns == before.st_atime_ns
    finally:
        os.close(fd)


def test_memory_is_given_back(mount):
    path = mount.create("a", MIB)
    rewrite(path)
    assert windows(mount) == 1
    path.unlink()
    wait_for(lambda: windows(mount) == 0, "the window's end")


def test_holes_stay_holes(mount):
    path = mount.create("a", 8 * MIB)
    other = mount.create("b", 8 * MIB)
    rewrite(path, 64 * KIB, MIB)
    assert windows(mount) == 1
    rewrite(other, 4 * KIB, MIB)
    assert windows(mount) == 1  # small writes need none
    rewrite(other, 4 * KIB, MIB + 60 * KIB)
    with open(other, "r+b", buffering=0) as file:
        for i in range(16):
            os.pwrite(file.fileno(), b"x", MIB + i * 4 * KIB)
    assert path.stat().st_blocks == other.stat().st_blocks


@pytest.mark.parametrize("how", ["cut", "punched"])
def test_memory_is_taken_from_below(mount, how):
    """It comes back as zeros, and only where something is written."""
    path = mount.create("a", WINDOW)
    rewrite(path, WINDOW)
    assert windows(mount) == 1
    if how == "cut":
        os.truncate(path, 8 * KIB)
        os.truncate(path, WINDOW)
    else:
        run(["fallocate", "-p", "-o", "8K", "-l", str(WINDOW - 8 * KIB), path], check=True)
    assert windows(mount) == 0
    data = rewrite(path, 64 * KIB, MIB)
    expected = bytearray(WINDOW)
    expected[MIB : MIB + 64 * KIB] = data
    content = path.read_bytes()
    assert content[8 * KIB :] == expected[8 * KIB :]
    assert windows(mount) == 1


def test_limit_holds(mounts):
    """Files that grow by large writes count at once, not when somebody looks at them."""
    mount = mounts("size=8m", passthrough="off")
    opened = [os.open(mount / f"f{i}", os.O_RDWR | os.O_CREAT, 0o600) for i in range(16)]
    try:
        written = []
        for fd in opened:
            try:
                written.append(os.pwrite(fd, os.urandom(MIB), 0))
            except OSError as error:
                assert error.errno == errno.ENOSPC
                written.append(0)
        assert sum(written) == 8 * MIB
        mount.stats()
        assert [os.fstat(fd).st_size for fd in opened] == written
        assert mount.stats()["iomemfs_cut_back_total"] == 0
    finally:
        for fd in opened:
            os.close(fd)


def test_can_be_sealed(mount):
    path = mount.create("a", MIB)
    data = rewrite(path)
    assert windows(mount) == 1

    def sealed():
        try:
            mount.command("seal", "a write")
        except OSError as error:
            assert error.errno == errno.EBUSY  # the file is closed a moment later
            return False
        return True

    wait_for(sealed, "the seal")
    assert windows(mount) == 0
    assert path.read_bytes()[: len(data)] == data


def test_is_not_used_while_somebody_holds_it(mount, client):
    path = mount.create("a", MIB)
    rewrite(path)
    assert windows(mount) == 1
    with client.opened("open rw a") as memory:
        assert windows(mount) == 0
        rewrite(path)
        assert windows(mount) == 0
        with pytest.raises(PermissionError):
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_holder_that_cuts_the_region(mount, client):
    """While it is written to: what is lent is not mapped, so that no worker dies of it."""
    path = mount.create("a", MIB)
    rewrite(path)
    stop = threading.Event()
    with client.opened("open rw a") as memory:

        def cut():
            while not stop.is_set():
                os.ftruncate(memory, 0)
                os.ftruncate(memory, MIB)

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            for _ in range(50):
                rewrite(path)
        finally:
            stop.set()
            thread.join()
    assert mount.stats()["iomemfs_restarts_total"] == 0


def test_killed_while_writing(mount, client):
    """Workers die in the middle of copies: what was answered is there, whole."""
    size = 8 * MIB
    path = mount.create("a", size)
    choice = random.Random(2)
    expected = bytearray(size)
    daemon = crash_load.Daemon(mount)
    stop = threading.Event()

    def kill():
        while not stop.wait(0.02):
            daemon.kill_worker()

    thread = threading.Thread(target=kill)
    thread.start()
    fd = os.open(path, os.O_RDWR)
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            length = choice.choice([16 * KIB, 64 * KIB, 256 * KIB, MIB])
            offset = choice.randrange(size - length)
            data = choice.randbytes(length)
            assert os.pwrite(fd, data, offset) == length
            expected[offset : offset + length] = data
    finally:
        stop.set()
        thread.join()
        os.close(fd)
    assert mount.stats()["iomemfs_restarts_total"] > 0
    with client.opened("open a") as memory:
        assert os.pread(memory, size, 0) == expected


def test_not_more_than_its_share(mount):
    path = mount.create("a", 16 * WINDOW)
    rewrite(path, 16 * WINDOW)
    assert windows(mount) == 16
    other = mount.create("b", 2 * WINDOW)
    data = rewrite(other, 2 * WINDOW)
    assert other.read_bytes() == data
    assert windows(mount) == 16
    # What does not fit is not mapped in vain.
    path = mount.create("c", 40 * WINDOW)
    rewrite(path, 40 * WINDOW, times=2)
    assert windows(mount) == 0
