# SPDX-License-Identifier: MIT
"""Everything that can be done with names and files goes as on tmpfs.

The cases are in posix_*.py.  Each family of them is played on a fresh tmpfs and on the mount under
test; the transcripts must be the same, line by line.
"""

import contextlib
import difflib
import functools
import os
import re
import signal
import threading

import crash_load
import posix_data
import posix_dirs
import posix_names
import posix_rename
import posix_rights
import posix_space
import posix_times
import posix_trace
import posix_xattr
import pytest
import support
from conftest import make_mount

# Importing them registers their families.
MODULES = (
    posix_data, posix_dirs, posix_names, posix_rename, posix_rights, posix_space, posix_times,
    posix_xattr,
)  # fmt: skip

ANY, CACHED = "", "cached"
# What differs, and why: (mode, family, pattern of the case's name).
ALLOWED = (
    # A region's whole size is reserved, so none can be larger than memory.
    (ANY, "allocation", r"^(0|keep)-\(9223372036854771712, 100\)"),
    (CACHED, "far_offsets", ""),
    # So a hole that is punched stays the region's.
    (ANY, "full", "^punch$"),
    # The kernel does not tell that it has followed a symbolic link: no atime.
    (ANY, "set_times", "^link-.*-path$"),
    # Nor that it read from the page cache, and what it reads ahead is nobody's.
    (CACHED, "read_moves", "^(read_nothing|noatime)-"),
    # tmpfs has no times to move where there was nothing to cut; POSIX leaves it open.
    (ANY, "truncation", "^truncate-0-0-"),
    # What a mapping of the page cache has stored is memory of the region's from msync() on.
    (CACHED, "mapping_moves", "^mmap-stat$"),
    # The page cache reports the first store into each page; tmpfs the first fault of a mapping.
    (CACHED, "stores_move", "-read_first-store$"),
)
if not support.kernel_is_from(6, 6):
    # tmpfs has no O_DIRECT there.
    ALLOWED += ((ANY, "direct", ""),)

SIZES = ("size=256M,mode=1777", "size=16M,nr_inodes=50,mode=1777")
SHOWN = 5  # cases of a family whose differences are printed


def _play(mounts, name):
    """On the mount that the family is made for: a large or a small one."""
    large, small = mounts
    if name in posix_space.SMALL or name == "xattr_space":
        return posix_trace.play(f"{small}/{name}", name, at_once=1)
    return posix_trace.play(f"{large}/{name}", name)


@pytest.fixture(scope="module")
def on_tmpfs():
    """The transcripts of a family on tmpfs: a function of its name."""
    mounts = [support.TmpfsMount(options) for options in SIZES]
    yield functools.cache(lambda name: _play(mounts, name))
    for mount in mounts:
        mount.stop()


@pytest.fixture(scope="module")
def played_on(mode):
    """The mounts under test."""
    mounts = [make_mount(mode, options) for options in SIZES]
    yield mounts
    for mount in mounts:
        mount.stop()


def _is_allowed(mode, name, case):
    return any(
        allowed in ("", mode) and family == name and re.search(pattern, case)
        for allowed, family, pattern in ALLOWED
    )


def _difference(case, expected, found):
    lines = difflib.unified_diff(expected, found, "tmpfs", "here", lineterm="", n=2)
    return "\n".join([f"--- {case}", *lines])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", posix_trace.FAMILIES)
def test_as_tmpfs(name, mode, played_on, on_tmpfs):
    expected = on_tmpfs(name)
    found = _play(played_on, name)
    broken = [case for case in expected if any("broke: " in line for line in expected[case])]
    assert not broken, expected[broken[0]]
    different = [c for c in expected if expected[c] != found[c] and not _is_allowed(mode, name, c)]
    shown = [_difference(case, expected[case], found[case]) for case in different[:SHOWN]]
    assert not different, f"{len(different)} of {len(expected)} cases:\n" + "\n".join(shown)


@contextlib.contextmanager
def _worker_dies(mount):
    """Kills the worker again and again, from now on."""
    killed, over = [], threading.Event()
    # It must get something done in between.
    every = (0.2 if support.is_sanitized() else 0.04) * support.SLOWNESS

    def strike():
        while not over.wait(every):
            for pid in crash_load.children(mount.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        support.wait_for(lambda: killed, "the death of the worker")
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "name", ["action_moves", "random_names", "random_writes", "read_while_changed", "rename_around"]
)
def test_as_tmpfs_while_the_worker_dies(name, played_on, on_tmpfs):
    """No call is lost, done twice, or fails."""
    with _worker_dies(played_on[0]):
        found = posix_trace.play(f"{played_on[0]}/dying_{name}", name)
    expected = on_tmpfs(name)
    different = [case for case in expected if expected[case] != found[case]]
    shown = [_difference(case, expected[case], found[case]) for case in different[:SHOWN]]
    assert not different, "\n".join(shown)
