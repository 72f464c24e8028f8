# SPDX-License-Identifier: MIT
"""File handles: files are found by them although the kernel has forgotten their names and inodes."""

import ctypes
import errno
import os

import pytest

import crash_load
from support import TmpfsMount

pytestmark = pytest.mark.alone  # it makes the kernel drop its caches, also those of other mounts

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000


class FileHandle(ctypes.Structure):
    _fields_ = [
        ("bytes", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("handle", ctypes.c_ubyte * 128),
    ]


def handle_of(path):
    handle, mount_id = FileHandle(bytes=128), ctypes.c_int()
    if LIBC.name_to_handle_at(
        AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount_id), 0
    ):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return handle


def open_handle(mount, handle, flags=os.O_RDONLY):
    root = os.open(mount, os.O_RDONLY)
    try:
        fd = LIBC.open_by_handle_at(root, ctypes.byref(handle), flags)
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return fd
    finally:
        os.close(root)


def forget():
    """The kernel drops all dentries and inodes that nobody uses."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as stream:
        stream.write("2")


def error_of(mount, handle):
    with pytest.raises(OSError) as caught:
        os.close(open_handle(mount, handle))
    return caught.value.errno


@pytest.fixture(params=["here", "tmpfs"])
def tree(request, mount):
    """The same on tmpfs."""
    if request.param == "here":
        yield mount
        return
    other = TmpfsMount()
    yield other
    other.stop()


def content(mount, handle):
    with open(open_handle(mount, handle), "rb") as stream:
        return stream.read()


@pytest.mark.parametrize("dropped", [False, True])
def test_found_again(tree, dropped):
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "d" / "e" / "f").write_text("content")
    handles = [handle_of(tree / name) for name in ("d/e/f", "d/e", "d", ".")]
    if dropped:
        forget()
    assert content(tree, handles[0]) == b"content"
    for handle, entries in zip(handles[1:], (["f"], ["e"], ["d"])):
        fd = open_handle(tree, handle)
        assert os.listdir(fd) == entries
        os.close(fd)


def test_found_under_another_name(tree):
    (tree / "d").mkdir()
    (tree / "f").write_text("content")
    handle = handle_of(tree / "f")
    os.rename(tree / "f", tree / "d" / "g")
    os.link(tree / "d" / "g", tree / "h")
    os.unlink(tree / "d" / "g")
    forget()
    assert content(tree, handle) == b"content"
    fd = open_handle(tree, handle, os.O_RDWR)
    os.write(fd, b"CONTENT")
    os.close(fd)
    assert (tree / "h").read_text() == "CONTENT"


def test_gone(tree):
    (tree / "f").write_text("content")
    (tree / "d").mkdir()
    handles = [handle_of(tree / "f"), handle_of(tree / "d")]
    os.unlink(tree / "f")
    os.rmdir(tree / "d")
    forget()
    assert [error_of(tree, handle) for handle in handles] == [errno.ESTALE] * 2


def test_number_used_again(mount):
    """A new file may get the node's number, and is not the old file."""
    old = []
    for i in range(50):
        (mount / f"f{i}").write_text("old")
        old.append(handle_of(mount / f"f{i}"))
        os.unlink(mount / f"f{i}")
    forget()
    for i in range(50):
        (mount / f"g{i}").write_text("new")
    forget()
    assert {error_of(mount, handle) for handle in old} == {errno.ESTALE}
    numbers = {bytes(handle.handle[:8]) for handle in old}
    reused = {bytes(handle_of(mount / f"g{i}").handle[:8]) for i in range(50)}
    assert numbers & reused


def test_open_file_without_name(tree):
    with open(tree / "f", "w+b") as stream:
        stream.write(b"content")
        stream.flush()
        handle = handle_of(tree / "f")
        os.unlink(tree / "f")
        forget()
        assert stream.seek(0) == 0 and stream.read() == b"content"
    forget()
    assert error_of(tree, handle) == errno.ESTALE


def test_control_files(mount):
    (mount / "d").mkdir()
    handles = [handle_of(mount / "d" / ".ctl" / name) for name in ("create", "regions", ".")]
    forget()
    fd = open_handle(mount, handles[0], os.O_WRONLY)
    os.write(fd, b"r 4096\n")
    os.close(fd)
    assert b" r" in content(mount, handles[1]) or b"r " in content(mount, handles[1])
    # The kernel looks for a directory in the listing of its parent, which does not have .ctl.
    assert error_of(mount, handles[2]) == errno.ESTALE
    os.unlink(mount / "d" / "r")
    os.rmdir(mount / "d")
    forget()
    assert {error_of(mount, handle) for handle in handles} == {errno.ESTALE}


@pytest.mark.may_leave_mount
def test_after_the_daemon(mount):
    daemon = crash_load.Daemon(mount)
    (mount / "d").mkdir()
    (mount / "d" / "f").write_text("content")
    handle = handle_of(mount / "d" / "f")
    for kill in (daemon.kill_worker, daemon.kill_keeper):
        kill()
        forget()
        assert content(mount, handle) == b"content"
