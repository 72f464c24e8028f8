# SPDX-License-Identifier: MIT
"""A region that write(2) makes longer than the limit allows: it is cut back, and everybody is told."""

import errno
import os
import re

import pytest

from support import fails_with, wait_for

MIB = 1 << 20


def grow(path, size):
    """By write(2), which the kernel does not ask the daemon about."""
    with open(path, "r+b", buffering=0) as stream:
        stream.seek(0, os.SEEK_END)
        while os.fstat(stream.fileno()).st_size < size:
            if not stream.write(b"x" * 65536):
                break
            if stream.tell() > size:
                break


def told(fd):
    try:
        return os.read(fd, 65536).decode().splitlines()
    except BlockingIOError:
        return []


@pytest.mark.modes("passthrough")
@pytest.mark.options("size=8m")
def test_told(mount):
    path = mount.create("r", "1M")
    mount.create("other", "6M")
    events = os.open(mount.ctl / "events", os.O_RDONLY | os.O_NONBLOCK)
    lines = []

    def cut():
        lines.extend(line for line in told(events) if " resize r " in line)
        return lines

    with open(path, "r+b", buffering=0) as stream:
        stream.seek(0, os.SEEK_END)
        for _ in range(64):
            stream.write(b"x" * 65536)
        wait_for(cut, "the event")
    os.close(events)
    # Nobody has asked for it, so it has no user and no process.
    assert re.fullmatch(r"\d+ resize r size=2097152 cut=1", lines[0]), lines
    assert os.stat(path).st_size == 2 * MIB
    assert mount.stats()["iomemfs_cut_back_total"] >= 1
    wait_for(lambda: "region 'r' was cut back to 2097152 bytes" in mount.log(), "the line in the log")
    assert mount.log().count("was cut back") == 1


@pytest.mark.modes("passthrough")
@pytest.mark.options("size=8m")
def test_growth_that_fits_stays(mount):
    path = mount.create("r", "1M")
    grow(path, 3 * MIB)
    assert os.stat(path).st_size >= 3 * MIB
    assert mount.stats()["iomemfs_cut_back_total"] == 0


@pytest.mark.options("size=8m")
def test_fixed_ones_refuse(mount):
    path = mount.create("r", "1M", "fixed")
    with open(path, "r+b", buffering=0) as stream:
        stream.seek(0, os.SEEK_END)
        fails_with(errno.EPERM, stream.write, b"x")
    assert os.stat(path).st_size == MIB


@pytest.mark.modes("cached")
@pytest.mark.options("size=8m")
def test_refused_without_passthrough(mount):
    path = mount.create("r", "1M")
    mount.create("other", "6M")
    with open(path, "r+b", buffering=0) as stream:
        stream.seek(2 * MIB)
        fails_with(errno.ENOSPC, stream.write, b"x")
    assert os.stat(path).st_size == MIB
