# SPDX-License-Identifier: MIT
"""Cases about a file system that gets full: played one at a time, on one of 16 MiB, 50 inodes."""

import os

from posix_trace import *

MIB = 1 << 20


def _free(t):
    st = os.statvfs(".")
    t.note(f"{st.f_bfree} of {st.f_blocks} pages, {st.f_ffree} of {st.f_files} inodes free")


def _write_up(t, fd, size):
    while t.write(fd, b"x" * size) > 0:
        pass


def _fill_by_mapping(t, fd):
    t.ftruncate(fd, 8 * MIB)
    t.mmap_write(fd, 0, b"x" * (8 * MIB))
    _write_up(t, fd, MIB)


def _allocate(t, fd):
    for mode, size in ((0, 100 * MIB), (0, 16 * MIB), (0, 16 * MIB + 1), (1, 20 * MIB)):
        t.fallocate(fd, mode, 0, size)


WAYS = {
    "write": lambda t, fd: _write_up(t, fd, MIB),
    "write_odd": lambda t, fd: _write_up(t, fd, 700001),
    "append": lambda t, fd: _write_up(t, t.open("a", os.O_WRONLY | os.O_APPEND), 999999),
    "mmap": _fill_by_mapping,
    "fallocate": _allocate,
    "truncate": lambda t, fd: t.ftruncate(fd, 16 * MIB) or t.ftruncate(fd, 0),
    "punch": lambda t, fd: (_write_up(t, fd, MIB), t.fallocate(fd, 3, MIB, 5 * MIB)),
}


@family(WAYS)
def full(t, way):
    _free(t)
    fd = t.open("a", os.O_CREAT | os.O_RDWR, 0o600)
    way(t, fd)
    t.fstat(fd)
    _free(t)
    second = t.open("b", os.O_CREAT | os.O_RDWR, 0o600)
    t.write(second, b"y" * 5000)
    t.fstat(second)
    t.mkdir("d", 0o700)
    t.symlink("x" * 100, "l")
    t.pwrite(fd, b"what is there can be written over", 5)
    t.unlink("a")
    _free(t)
    t.close(fd)
    if way != WAYS["append"]:  # which has another descriptor
        _free(t)
    t.write(second, b"y" * 5000)
    t.fstat(second)


@family(["file", "dir", "fifo", "symlink"])
def inodes(t, kind):
    made = 0
    try:
        while True:
            os.symlink("aim", f"n{made}") if kind == "symlink" else make(kind, f"n{made}")
            made += 1
    except OSError as error:
        t.note(f"{errno.errorcode[error.errno]} after {made}")
    _free(t)
    t.open("new", os.O_CREAT, 0o600)
    t.mkdir("new", 0o700)
    t.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    t.rename2("n1", "n1x", RENAME_WHITEOUT)
    t.rename("n1", "n1x")
    t.rmdir("n2") if kind == "dir" else t.unlink("n2")
    _free(t)
    t.open("new", os.O_CREAT, 0o600)
    t.mkdir("newer", 0o700)
    _free(t)


@family(["file", "fifo", "symlink"])
def inodes_of_links(t, kind):
    """Every name of a file but its first takes an inode; the first is the file's own."""
    make("file", "one")
    os.symlink("aim", "linked") if kind == "symlink" else make(kind, "linked")
    _free(t)
    made = 0
    while made < 100 and t.link("linked", f"n{made}") != -1:
        made += 1
    t.note(f"{made} links")
    _free(t)
    t.open("new", os.O_CREAT, 0o600)
    t.link("linked", "n0")
    t.link("none", "new")
    t.rename("n0", "renamed")
    t.rename("renamed", "n1")  # both are names of the same file: nothing happens
    t.rename("one", "n2")
    _free(t)
    t.unlink("linked")
    t.unlink("n3")
    _free(t)
    t.link("n4", "again")
    _free(t)
    for name in sorted(os.listdir(".")):
        t.unlink(name)
    _free(t)


SMALL = {"full", "inodes", "inodes_of_links"}
