# SPDX-License-Identifier: MIT
"""Everything that can be done with names and files goes as on tmpfs.

The cases are in posix_*.py.  Each family of them is played on a fresh tmpfs and on the mount under
test; the transcripts must be the same, line by line.
"""

import difflib
import functools
import re

import posix_data
import posix_dirs
import posix_names
import posix_rename
import posix_rights
import posix_times
import posix_trace
import pytest
import support

MODULES = (posix_names, posix_rename, posix_rights, posix_times, posix_data, posix_dirs)

ANY, CACHED = "", "cached"
# What differs, and why: (mode, family, pattern of the case's name).
ALLOWED = (
    # A region's whole size is reserved, so none can be larger than memory.
    (ANY, "allocation", r"^(0|keep)-\(9223372036854771712, 100\)"),
    (CACHED, "far_offsets", ""),
    # The kernel does not tell that it has followed a symbolic link: no atime.
    (ANY, "set_times", "^link-.*-path$"),
    # tmpfs has no times to move where there was nothing to cut; POSIX leaves it open.
    (ANY, "truncation", "^truncate-0-0-"),
    # Nothing to change, but S_ISGID to lose: looks like a write when it gets here.
    (ANY, "chown_ways", "-keep-1509-other$"),
    # What a mapping of the page cache has stored is memory of the region's from msync() on.
    (CACHED, "mapping_moves", "^mmap-stat$"),
)

SHOWN = 5  # cases of a family whose differences are printed


@pytest.fixture(scope="module")
def on_tmpfs():
    """The transcripts of a family on tmpfs: a function of its name."""
    mount = support.TmpfsMount("size=256M,mode=1777")
    yield functools.cache(lambda name: posix_trace.play(f"{mount}/{name}", name))
    mount.stop()


@pytest.fixture(scope="module")
def played_on(mode):
    """The root of the mount under test, which a family leaves as it was."""
    from conftest import make_mount

    mount = make_mount(mode, "size=256M")
    yield mount
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
    found = posix_trace.play(f"{played_on}/{name}", name)
    broken = [case for case in expected if any("broke: " in line for line in expected[case])]
    assert not broken, expected[broken[0]]
    different = [c for c in expected if expected[c] != found[c] and not _is_allowed(mode, name, c)]
    shown = [_difference(case, expected[case], found[case]) for case in different[:SHOWN]]
    assert not different, f"{len(different)} of {len(expected)} cases:\n" + "\n".join(shown)
