# SPDX-License-Identifier: MIT
"""What the kernel does not let a FUSE file system do, as the manual has it; and programs that work all
the same.  If one of these fails on a newer kernel, the manual is to be changed."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import struct
import subprocess

import pytest

from support import TmpfsMount, run

LIBC = ctypes.CDLL(None, use_errno=True)
IN_ALL = 0xFFF
FAN_REPORT_FID, FAN_MARK_ADD, FAN_MARK_FILESYSTEM, FAN_CREATE = 0x200, 1, 0x100, 0x100
AT_FDCWD = -100


@contextlib.contextmanager
def watch(path):
    """The masks of what inotify(7) tells about a directory."""
    fd = LIBC.inotify_init1(os.O_NONBLOCK)
    assert LIBC.inotify_add_watch(fd, os.fsencode(path), IN_ALL) >= 0

    def told():
        masks, data = [], b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(fd, 65536)
        while data:
            _, mask, _, length = struct.unpack("iIII", data[:16])
            masks.append(mask)
            data = data[16 + length :]
        return masks

    yield told
    os.close(fd)


def test_inotify(mount):
    """A system call is told, a command is not."""
    with watch(mount) as told:
        mount.create("r", 4096)
        mount.command("resize", "r 8k")
        assert not [mask for mask in told() if mask & 0x100]  # IN_CREATE
        os.close(os.open(mount / "f", os.O_CREAT | os.O_WRONLY))
        assert [mask for mask in told() if mask & 0x100]


def test_fanotify(mount):
    """No mark of the whole file system reports files by handles: it has no id."""
    fd = LIBC.fanotify_init(FAN_REPORT_FID, os.O_RDONLY)
    assert fd >= 0
    try:
        assert LIBC.fanotify_mark(
            fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, ctypes.c_uint64(FAN_CREATE), AT_FDCWD, os.fsencode(mount)
        ) < 0
        assert ctypes.get_errno() == errno.ENODEV
    finally:
        os.close(fd)


def is_locked(path):
    with open(path, "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def locked_after_close(path):
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    LIBC.mmap.restype = ctypes.c_void_p
    address = LIBC.mmap(None, ctypes.c_size_t(4096), 3, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    os.close(fd)
    locked = is_locked(path)
    LIBC.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4096))
    return locked


def test_flock(mount, mode):
    """A mapping keeps the lock of its file, except with passthrough."""
    other = TmpfsMount()
    try:
        (other / "f").write_bytes(b"x" * 4096)
        assert locked_after_close(other / "f")
    finally:
        other.stop()
    (mount / "f").write_bytes(b"x" * 4096)
    assert locked_after_close(mount / "f") == (mode == "cached")


def test_maps_show_the_name(mount):
    (mount / "f").write_bytes(b"x" * 4096)
    with open(mount / "f", "r+b") as stream, mmap.mmap(stream.fileno(), 0):
        with open("/proc/self/maps", encoding="utf-8") as maps:
            assert str(mount / "f") in maps.read()


DUMPED = """
import mmap, os, signal, sys
os.chdir(sys.argv[2])
open("/proc/self/coredump_filter", "w").write(sys.argv[3])
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 0)
memory[:16] = bytes(range(200, 216))
os.kill(os.getpid(), signal.SIGABRT)
"""


def is_dumped(path, folder, bits):
    """Whether a core dump of a process that maps the file has what is in it."""

    def unlimited():
        resource.setrlimit(resource.RLIMIT_CORE, (64 << 20, resource.RLIM_INFINITY))

    for name in os.listdir(folder):
        os.unlink(folder / name)
    result = subprocess.run(
        ["/usr/bin/python3", "-c", DUMPED, path, folder, bits], preexec_fn=unlimited, check=False
    )
    assert result.returncode == -signal.SIGABRT
    cores = os.listdir(folder)
    if not cores:
        pytest.skip("no core dumps here")
    # The kernel's own copy of the pattern is not in the program: it is made from range().
    return bytes(range(200, 216)) + b"z" * 64 in (folder / cores[0]).read_bytes()


def test_core_dumps(mount, mode, tmp_path):
    """Bit 1 of coredump_filter (shared memory) and bit 3 (files)."""
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as stream:
        if stream.read(1) in "|/":
            pytest.skip("core dumps go elsewhere")
    mount.create("f", 4096)
    with open(mount / "f", "r+b") as stream:
        stream.write(b"z" * 4096)
    found = {bits: is_dumped(mount / "f", tmp_path, bits) for bits in ("0x2", "0x8")}
    assert found == {"0x2": mode == "passthrough", "0x8": mode != "passthrough"}


# What works


@pytest.mark.parametrize("name", ["regions", "regions.json"])
def test_rsync_of_listings(mount, tmp_path, name):
    (mount / "d").mkdir()
    for i in range(20):
        mount.create(f"d/r{i}", "64K")
    run(["rsync", "-a", mount.ctl / name, tmp_path], check=True)
    copied = (tmp_path / name).read_text()
    assert copied == (mount.ctl / name).read_text() and "d/r19" in copied
    assert os.stat(mount.ctl / name).st_size == len(copied)


def test_overlay(mount, tmp_path):
    """As the upper layer it keeps whiteouts, opaque directories and attributes."""
    lower, merged = tmp_path / "lower", tmp_path / "merged"
    for path in (lower / "d", merged, mount / "upper", mount / "work"):
        path.mkdir(parents=True)
    (lower / "a").write_text("lower")
    (lower / "b").write_text("lower")
    (lower / "d" / "c").write_text("lower")
    os.setxattr(lower / "a", "user.of", b"lower")
    layers = f"lowerdir={lower},upperdir={mount}/upper,workdir={mount}/work"
    for _ in range(2):
        run(["mount", "-t", "overlay", "overlay", "-o", layers, merged], check=True)
        try:
            if (merged / "b").exists():
                (merged / "a").write_text("changed")
                os.unlink(merged / "b")
                run(["rm", "-r", merged / "d"], check=True)
                (merged / "d").mkdir()
                (merged / "new").write_text("upper")
            assert sorted(os.listdir(merged)) == ["a", "d", "new"]
            assert os.listdir(merged / "d") == []
            assert (merged / "a").read_text() == "changed"
            assert os.getxattr(merged / "a", "user.of") == b"lower"
        finally:
            run(["umount", merged], check=True)
    assert os.getxattr(mount / "upper" / "d", "trusted.overlay.opaque") == b"y"
