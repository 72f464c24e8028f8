# SPDX-License-Identifier: MIT
"""The worker dies at the n-th crash point, for every n, of every kind of request.

Crash points lie before and after every saved change of the records, every commit and every reply.
A request that is cut off there must be carried out once, and its caller must not notice.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import stat
import struct

import pytest

import crash_load
import support

STRIDE = int(os.environ.get("IOMEMFS_CRASH_STRIDE", "3"))
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2

pytestmark = [
    pytest.mark.environment(IOMEMFS_TESTING="1"),
    pytest.mark.timeout(300),
]

libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def link_descriptor(fd, path):
    """linkat(2) of /proc/self/fd, followed; os.link() does not follow."""
    source = f"/proc/self/fd/{fd}".encode()
    if libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def make(path, content=b"content"):
    path.write_bytes(content)
    return path


def write_limit(directory, words):
    fd = os.open(directory / ".ctl/limit", os.O_WRONLY)
    try:
        os.write(fd, words.encode() + b"\n")
    finally:
        os.close(fd)


def gone(path):
    with pytest.raises(FileNotFoundError):
        os.lstat(path)


def fill(path, count):
    path.mkdir()
    for i in range(count):
        (path / f"entry{i:04}").touch()
    return path


# Each is prepare(mount) -> thing, act(mount, thing), check(mount, thing), all on an empty mount,
# which a clean-up empties again.

class Case:
    def prepare(self, mount):
        return mount / "x"

    def act(self, mount, x):
        raise NotImplementedError

    def check(self, mount, x):
        raise NotImplementedError


class Mkdir(Case):
    def act(self, mount, x):
        os.mkdir(x, 0o750)

    def check(self, mount, x):
        assert os.stat(x).st_nlink == 2
        assert os.stat(mount).st_nlink == 3


class Rmdir(Case):
    def prepare(self, mount):
        (mount / "x").mkdir()
        return mount / "x"

    def act(self, mount, x):
        os.rmdir(x)

    def check(self, mount, x):
        gone(x)
        assert os.stat(mount).st_nlink == 2


class Create(Case):
    def act(self, mount, x):
        os.close(os.open(x, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def check(self, mount, x):
        assert os.stat(x).st_nlink == 1
        assert os.listdir(mount) == ["x"]


class Unlink(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        os.unlink(x)

    def check(self, mount, x):
        gone(x)


class UnlinkOpen(Case):
    def prepare(self, mount):
        make(mount / "x")
        return os.open(mount / "x", os.O_RDWR)

    def act(self, mount, fd):
        os.unlink(mount / "x")
        assert os.pread(fd, 100, 0) == b"content"
        os.close(fd)

    def check(self, mount, fd):
        gone(mount / "x")


class UnlinkLarge(Case):
    """The reply waits for the memory, which is freed by a job."""

    def prepare(self, mount):
        with open(mount / "x", "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, 20 << 20)
        return mount / "x"

    def act(self, mount, x):
        os.unlink(x)

    def check(self, mount, x):
        gone(x)
        assert os.statvfs(mount).f_bfree == os.statvfs(mount).f_blocks


class TruncateLarge(UnlinkLarge):
    def prepare(self, mount):
        with open(mount / "x", "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, 20 << 20)
            stream.write(b"content")
        return mount / "x"

    def act(self, mount, x):
        os.truncate(x, 5000)

    def check(self, mount, x):
        assert x.read_bytes() == b"content" + bytes(4993)
        assert os.statvfs(mount).f_blocks - os.statvfs(mount).f_bfree == 2


class RenameOverLarge(UnlinkLarge):
    def act(self, mount, x):
        make(mount / "y")
        os.rename(mount / "y", x)

    def check(self, mount, x):
        assert x.read_bytes() == b"content"


class RemoveLarge(UnlinkLarge):
    def act(self, mount, x):
        mount.command("remove", "x")


class Mknod(Case):
    def act(self, mount, x):
        os.mknod(x, stat.S_IFIFO | 0o600)

    def check(self, mount, x):
        assert stat.S_ISFIFO(os.stat(x).st_mode)


class BindSocket(Case):
    def act(self, mount, x):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(x))

    def check(self, mount, x):
        assert stat.S_ISSOCK(os.stat(x).st_mode)


class Symlink(Case):
    target = "to/" + "long/" * 150

    def act(self, mount, x):
        os.symlink(self.target, x)

    def check(self, mount, x):
        assert os.readlink(x) == self.target


class Link(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        os.link(x, mount / "y")

    def check(self, mount, x):
        assert os.stat(x).st_nlink == 2
        assert os.stat(x).st_ino == os.stat(mount / "y").st_ino


class Rename(Case):
    def prepare(self, mount):
        (mount / "d").mkdir()
        return make(mount / "x")

    def act(self, mount, x):
        os.rename(x, mount / "d" / "y")

    def check(self, mount, x):
        gone(x)
        assert (mount / "d" / "y").read_bytes() == b"content"


class RenameOver(Case):
    def prepare(self, mount):
        make(mount / "y", b"old")
        return make(mount / "x")

    def act(self, mount, x):
        os.rename(x, mount / "y")

    def check(self, mount, x):
        gone(x)
        assert (mount / "y").read_bytes() == b"content"
        assert os.stat(mount / "y").st_nlink == 1


class RenameDirectory(Case):
    def prepare(self, mount):
        (mount / "d").mkdir()
        (mount / "x").mkdir()
        return mount / "x"

    def act(self, mount, x):
        os.rename(x, mount / "d" / "y")

    def check(self, mount, x):
        assert os.stat(mount).st_nlink == 3
        assert os.stat(mount / "d").st_nlink == 3


class Exchange(Case):
    def prepare(self, mount):
        make(mount / "y", b"other")
        return make(mount / "x")

    def act(self, mount, x):
        crash_load.rename_exchange(x, mount / "y")

    def check(self, mount, x):
        assert x.read_bytes() == b"other"
        assert (mount / "y").read_bytes() == b"content"


class OpenRead(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        assert x.read_bytes() == b"content"
        with open(x, "rb") as one, open(x, "r+b") as other:
            assert one.read() == other.read() == b"content"

    def check(self, mount, x):
        support.wait_for(
            lambda: mount.stats()["iomemfs_open_handles"] == 0, "the close of all"
        )


class Write(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        with open(x, "r+b", buffering=0) as stream:
            stream.seek(4)
            assert stream.write(b"inuation" * 1000) == 8000

    def check(self, mount, x):
        assert x.read_bytes() == b"cont" + b"inuation" * 1000


class Append(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        with open(x, "ab", buffering=0) as stream:
            stream.write(b" and more")

    def check(self, mount, x):
        assert x.read_bytes() == b"content and more"


class TruncateBoth(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        os.truncate(x, 3)
        os.truncate(x, 5000)

    def check(self, mount, x):
        assert x.read_bytes() == b"con" + bytes(4997)


class OpenTruncate(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        x.write_bytes(b"new")

    def check(self, mount, x):
        assert x.read_bytes() == b"new"


class Attributes(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        os.chmod(x, 0o604)
        os.chown(x, 12, 34)
        os.utime(x, ns=(10**18 + 1, 10**18 + 2))

    def check(self, mount, x):
        st = os.stat(x)
        assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (0o604, 12, 34)
        assert (st.st_atime_ns, st.st_mtime_ns) == (10**18 + 1, 10**18 + 2)


class Fallocate(Case):
    def prepare(self, mount):
        return make(mount / "x", b"c" * 8192)

    def act(self, mount, x):
        with open(x, "r+b") as stream:
            fallocate(stream.fileno(), 0, 0, 20000)
            fallocate(stream.fileno(), FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096)

    def check(self, mount, x):
        assert x.read_bytes() == bytes(4096) + b"c" * 4096 + bytes(20000 - 8192)


class Seek(Case):
    def prepare(self, mount):
        return make(mount / "x", b"c" * 100)

    def act(self, mount, x):
        with open(x, "rb") as stream:
            assert os.lseek(stream.fileno(), 0, os.SEEK_DATA) == 0
            assert os.lseek(stream.fileno(), 0, os.SEEK_HOLE) == 100
            os.fsync(stream.fileno())

    def check(self, mount, x):
        assert x.read_bytes() == b"c" * 100


class Listing(Case):
    def prepare(self, mount):
        return fill(mount / "x", 150)

    def act(self, mount, x):
        names = sorted(entry.name for entry in os.scandir(x) if entry.stat().st_size == 0)
        assert names == [f"entry{i:04}" for i in range(150)]

    def check(self, mount, x):
        assert len(os.listdir(x)) == 150


class StatFs(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        assert os.statvfs(mount).f_files > 0
        with pytest.raises(FileNotFoundError):
            os.stat(mount / "nothing")

    def check(self, mount, x):
        assert x.read_bytes() == b"content"


class Lock(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        with open(x, "r+b") as one, open(x, "r+b") as other:
            fcntl.flock(one, fcntl.LOCK_EX)
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def check(self, mount, x):
        assert x.read_bytes() == b"content"


class CommandCreate(Case):
    def act(self, mount, x):
        mount.command("create", "x 64k mode=0604")

    def check(self, mount, x):
        st = os.stat(x)
        assert (st.st_size, stat.S_IMODE(st.st_mode)) == (65536, 0o604)
        assert mount.stats()["iomemfs_used_bytes"] == 65536


class CommandResize(Case):
    def prepare(self, mount):
        x = mount.create("x", 8192)
        assert os.stat(x).st_size == 8192
        return x

    def act(self, mount, x):
        mount.command("resize", "x 20480")
        assert os.stat(x).st_size == 20480
        mount.command("resize", "x 4096")

    def check(self, mount, x):
        assert os.stat(x).st_size == 4096
        assert mount.stats()["iomemfs_used_bytes"] == 4096


class CommandSeal(Case):
    def prepare(self, mount):
        return mount.create("x", 8192)

    def act(self, mount, x):
        mount.command("seal", "x shrink,grow")

    def check(self, mount, x):
        with pytest.raises(PermissionError):
            os.truncate(x, 0)
        assert os.stat(x).st_size == 8192


class CommandRemove(Case):
    def prepare(self, mount):
        x = mount.create("x", 8192)
        os.stat(x)
        return x

    def act(self, mount, x):
        mount.command("remove", "x")

    def check(self, mount, x):
        gone(x)


class SetLimit(Case):
    def prepare(self, mount):
        (mount / "d").mkdir()
        return mount / "d"

    def act(self, mount, d):
        write_limit(d, "size=1m nr_inodes=10")
        write_limit(d, "size=2m")

    def check(self, mount, d):
        assert (d / ".ctl/limit").read_text() == "size=2097152 nr_inodes=10\n"
        st = os.statvfs(d)
        assert (st.f_blocks * 4096, st.f_files, st.f_ffree) == (2 << 20, 10, 9)


class TakeLimitAway(Case):
    def prepare(self, mount):
        (mount / "d").mkdir()
        write_limit(mount / "d", "size=1m nr_inodes=10")
        make(mount / "d" / "x").unlink()  # so that it has a private tmpfs
        return mount / "d"

    def act(self, mount, d):
        write_limit(d, "none")

    def check(self, mount, d):
        assert (d / ".ctl/limit").read_text() == "none\n"
        assert os.statvfs(d) == os.statvfs(mount)


class FilesInLimit(Case):
    """The first one makes the private tmpfs."""

    def prepare(self, mount):
        (mount / "d").mkdir()
        write_limit(mount / "d", "size=1m nr_inodes=10")
        return mount / "d"

    def act(self, mount, d):
        make(d / "x", b"content" * 1000)
        os.truncate(d / "x", 100000)
        fd = os.open(d / ".ctl/create", os.O_WRONLY)
        try:
            os.write(fd, b"r 8192\n")
        finally:
            os.close(fd)
        with pytest.raises(OSError) as caught:
            os.rename(d / "x", mount / "x")
        assert caught.value.errno == errno.EXDEV

    def check(self, mount, d):
        st = os.statvfs(d)
        assert (st.f_blocks - st.f_bfree, st.f_files - st.f_ffree) == (25 + 2, 3)
        assert (d / "x").read_bytes()[:7000] == b"content" * 1000


class RemoveLimited(Case):
    """The limit ends with the last file that is open."""

    def prepare(self, mount):
        (mount / "d").mkdir()
        write_limit(mount / "d", "size=1m nr_inodes=10")
        make(mount / "d" / "x")
        return os.open(mount / "d" / "x", os.O_RDWR)

    def act(self, mount, fd):
        os.unlink(mount / "d" / "x")
        os.rmdir(mount / "d")
        assert os.pread(fd, 100, 0) == b"content"
        os.close(fd)

    def check(self, mount, fd):
        gone(mount / "d")
        support.wait_for(lambda: mount.stats()["iomemfs_used_bytes"] == 0, "the end of the limit")


class CommandsInOneWrite(Case):
    def act(self, mount, x):
        mount.command("create", "x 4096\ny 8192\nz 4096")
        with pytest.raises(FileExistsError):
            mount.command("create", "y 1")

    def check(self, mount, x):
        assert sorted(os.listdir(mount)) == ["x", "y", "z"]
        assert mount.stats()["iomemfs_used_bytes"] == 16384


class CommandListing(Case):
    def prepare(self, mount):
        mount.create("a", 4096)
        return mount.create("x", 8192)

    def act(self, mount, x):
        regions = json.loads((mount.ctl / "regions.json").read_text())["regions"]
        assert {r["name"]: r["size"] for r in regions} == {"a": 4096, "x": 8192}

    def check(self, mount, x):
        assert os.stat(x).st_size == 8192


class ErrorText(Case):
    def act(self, mount, x):
        fd = os.open(mount.ctl / "create", os.O_RDWR)
        try:
            with pytest.raises(OSError) as caught:
                os.write(fd, b"x many\n")
            assert caught.value.errno == errno.EINVAL
            assert b"many" in os.pread(fd, 1000, 0)
        finally:
            os.close(fd)

    def check(self, mount, x):
        gone(x)


class CommandPopulate(Case):
    """Carried out in two steps, with the helper's work between them."""

    def act(self, mount, x):
        mount.command("create", "x 4m fixed populate")

    def check(self, mount, x):
        st = os.stat(x)
        assert st.st_blocks * 512 == st.st_size == 4 << 20
        with pytest.raises(PermissionError):
            os.truncate(x, 0)


class Ephemeral(Case):
    """Its name goes with its last user, and that is told to no one as a request."""

    def act(self, mount, x):
        mount.command("create", "x 8192 ephemeral")
        fd = os.open(x, os.O_RDWR)
        memory = mmap.mmap(fd, 8192)
        os.close(fd)
        memory[0] = 1
        assert os.stat(x).st_size == 8192
        memory.close()
        support.wait_for(lambda: not x.exists(), "the end of an ephemeral region")

    def check(self, mount, x):
        gone(x)
        support.wait_for(lambda: mount.stats()["iomemfs_used_bytes"] == 0, "its memory")


class Owned(Case):
    """Its name goes after the end of its owner: the records of that are made, used again, and go."""

    def act(self, mount, x):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                for line in ("x 8192 owner=process", "x2 4096 owner=process"):
                    mount.command("create", line)
                os.unlink(mount / "x2")
                os.write(writer, b"made")
                signal.pause()
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            assert stream.read(4) == b"made"
        assert os.stat(x).st_size == 8192
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        support.wait_for(lambda: not x.exists(), "the end of an owned region")

    def check(self, mount, x):
        gone(x)
        support.wait_for(lambda: mount.stats()["iomemfs_used_bytes"] == 0, "its memory")


class OwnedByDefault(Case):
    """By open(2), and removed before its owner ends."""

    def prepare(self, mount):
        (mount / "d").mkdir()
        mount.command("../d/.ctl/default", "owner=process")
        return mount / "d/x"

    def act(self, mount, x):
        os.close(os.open(x, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def check(self, mount, x):
        assert os.listxattr(x) == [] or b"owner=process" in os.getxattr(x, "user.iomemfs.flags")


class TemporaryFile(Case):
    def act(self, mount, x):
        fd = os.open(mount, os.O_TMPFILE | os.O_RDWR, 0o600)
        try:
            os.write(fd, b"content")
            link_descriptor(fd, x)
        finally:
            os.close(fd)

    def check(self, mount, x):
        assert x.read_bytes() == b"content"
        assert os.stat(x).st_nlink == 1


class Events(Case):
    """Each is told once to a reader who was there before."""

    def prepare(self, mount):
        return os.open(mount.ctl / "events", os.O_RDONLY | os.O_NONBLOCK)

    def act(self, mount, fd):
        mount.command("create", "x 4096")
        mount.command("remove", "x")
        text = b""
        while b"remove" not in text:
            select.select([fd], [], [], support.LIMIT)
            with contextlib.suppress(BlockingIOError):
                text += os.read(fd, 4096)
        os.close(fd)
        words = [line.split()[1] for line in text.splitlines() if b"restart" not in line]
        assert words == [b"create", b"remove"], text

    def check(self, mount, fd):
        gone(mount / "x")


class SocketCommands(Case):
    """The descriptor that rides on the answer, too, is there however often the worker dies."""

    def act(self, mount, x):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(support.LIMIT)
            client.connect(str(mount.home / "socket"))
            assert len(self.ask(client, b"@1", b"create x 8192")) >= 1
            assert len(self.ask(client, b"@2", b"open rw x")) >= 1
            self.ask(client, b"@3", b"resize x 4096")

    @staticmethod
    def ask(client, tag, line):
        """Sizes of the descriptors that came with the answer that has the tag.

        An answer that was being sent when the worker died may come twice: hence tags.
        """
        client.sendall(tag + b" " + line + b"\n")
        sizes, text = [], b""
        while tag + b" ok" not in text or not text.endswith(b"\n"):
            data, fds, _, _ = socket.recv_fds(client, 4096, 8)
            assert data and b"error" not in data, data
            text += data
            for fd in fds:
                sizes.append(os.fstat(fd).st_size)
                os.close(fd)
        return sizes

    def check(self, mount, x):
        assert os.stat(x).st_size == 4096


ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def some_list(user, group, mask, other):
    """An access list with an entry for user 7."""
    entries = ((1, user, -1), (2, 7, 7), (4, group, -1), (16, mask, -1), (32, other, -1))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


class SetAttribute(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        # A second time would be EEXIST.
        os.setxattr(x, "user.a", b"v" * 1000, os.XATTR_CREATE)

    def check(self, mount, x):
        assert os.listxattr(x) == ["user.a"]
        assert os.getxattr(x, "user.a") == b"v" * 1000


class ReplaceAttribute(Case):
    def prepare(self, mount):
        make(mount / "x")
        for name in "abc":
            os.setxattr(mount / "x", f"user.{name}", name.encode() * 600)
        return mount / "x"

    def act(self, mount, x):
        os.setxattr(x, "user.b", b"short", os.XATTR_REPLACE)

    def check(self, mount, x):
        found = [os.getxattr(x, f"user.{name}") for name in "abc"]
        assert found == [b"a" * 600, b"short", b"c" * 600]


class RemoveAttribute(Case):
    prepare = ReplaceAttribute.prepare

    def act(self, mount, x):
        os.removexattr(x, "user.b")

    def check(self, mount, x):
        assert sorted(os.listxattr(x)) == ["user.a", "user.c"]


class UnlinkWithAttributes(Case):
    prepare = ReplaceAttribute.prepare

    def act(self, mount, x):
        os.unlink(x)

    def check(self, mount, x):
        gone(x)


class SetAccessList(Case):
    def prepare(self, mount):
        return make(mount / "x")

    def act(self, mount, x):
        os.setxattr(x, ACCESS, some_list(6, 4, 5, 1))

    def check(self, mount, x):
        assert os.getxattr(x, ACCESS) == some_list(6, 4, 5, 1)
        assert stat.S_IMODE(os.stat(x).st_mode) == 0o651


class ChmodAccessList(Case):
    def prepare(self, mount):
        os.setxattr(make(mount / "x"), ACCESS, some_list(6, 4, 5, 1))
        return mount / "x"

    def act(self, mount, x):
        os.chmod(x, 0o724)

    def check(self, mount, x):
        assert os.getxattr(x, ACCESS) == some_list(7, 4, 2, 4)
        assert stat.S_IMODE(os.stat(x).st_mode) == 0o724


class InheritAccessList(Case):
    def prepare(self, mount):
        (mount / "d").mkdir()
        os.setxattr(mount / "d", DEFAULT, some_list(7, 5, 6, 0))
        return mount / "d"

    def act(self, mount, d):
        os.mkdir(d / "d", 0o777)
        os.close(os.open(d / "f", os.O_CREAT, 0o666))

    def check(self, mount, d):
        assert os.listxattr(d / "d") == [ACCESS, DEFAULT]
        assert os.getxattr(d / "d", ACCESS) == some_list(7, 5, 6, 0)
        assert os.getxattr(d / "f", ACCESS) == some_list(6, 5, 6, 0)
        assert [stat.S_IMODE(os.stat(d / n).st_mode) for n in "df"] == [0o760, 0o660]


CASES = [*Case.__subclasses__(), *UnlinkLarge.__subclasses__()]


def empty(mount):
    for path in mount.path.iterdir():
        support.run(["rm", "-rf", "--", path], check=True)
    assert os.listdir(mount) == []


def counts(mount, daemon):
    stats = mount.stats()
    return (
        stats["iomemfs_inodes"],
        stats["iomemfs_used_bytes"],
        stats["iomemfs_open_handles"],
        stats["iomemfs_ctl_handles"],
        daemon.descriptors(),
        daemon.stored(),
    )


def restarts(mount):
    return mount.stats()["iomemfs_restarts_total"]


def walk(mount, case, words, start=1, stride=STRIDE):
    """Runs the case with the worker killed at the start-th crash point and on; how many times."""
    n = start
    while True:
        thing = case.prepare(mount)
        before = restarts(mount)
        mount.command("admin", f"crash {n} {words}".rstrip())
        try:
            case.act(mount, thing)
        except Exception as error:
            raise AssertionError(f"crash point {n}: {error!r}") from error
        mount.command("admin", "crash 0")
        case.check(mount, thing)
        struck = restarts(mount) > before
        empty(mount)
        if not struck:
            return n
        n += stride


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_crash_at_every_point(mount, case):
    daemon = crash_load.Daemon(mount)
    (mount / "first").touch()
    assert len(daemon.stored()) <= 1
    empty(mount)
    support.wait_for(lambda: not daemon.stored(), "the removal of the file")
    before = counts(mount, daemon)
    # Another start for each kind, so that all together meet every remainder.
    start = 1 + CASES.index(case) % STRIDE
    end = walk(mount, case(), "", start)
    print(json.dumps({"case": case.__name__, "crash points": end - 1}))
    assert mount.stats()["iomemfs_poisoned_total"] == 0
    try:
        support.wait_for(lambda: counts(mount, daemon) == before, "the state before")
    except AssertionError as error:
        raise AssertionError(f"{error}: {before}, now {counts(mount, daemon)}") from None


@pytest.mark.parametrize("again", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("case", [RenameOver, CommandRemove, UnlinkOpen], ids=lambda c: c.__name__)
def test_crash_again_while_resuming(mount, case, again):
    """The next worker dies as well, at one of its first crash points."""
    daemon = crash_load.Daemon(mount)
    (mount / "first").touch()
    empty(mount)
    before = counts(mount, daemon)
    walk(mount, case(), str(again), 1 + again % STRIDE)
    try:
        support.wait_for(lambda: counts(mount, daemon) == before, "the state before")
    except AssertionError as error:
        raise AssertionError(f"{error}: {before}, now {counts(mount, daemon)}") from None


def test_crash_is_for_tests_only(mounts):
    mount = mounts()
    with pytest.raises(PermissionError):
        mount.command("admin", "crash 1")
    with pytest.raises(PermissionError):
        mount.command("admin", "crash-opcode 9")
    assert restarts(mount) == 0
