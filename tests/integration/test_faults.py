# SPDX-License-Identifier: MIT
"""Each call that can fail fails on purpose: the n-th of its kind, for every n, in every kind of
request and command.  What a failed one leaves is what was there before: names, sizes, attributes,
what df says, descriptors, handles, events.
"""

import ctypes
import errno
import json
import os
import stat

import pytest

import crash_load
import socket_client
import support
from test_crash_points import (
    ACCESS, AT_FDCWD, DEFAULT, fallocate, link_descriptor, some_list, write_limit
)  # fmt: skip

pytestmark = [
    pytest.mark.environment(IOMEMFS_TESTING="1"),
    pytest.mark.timeout(300),
]

KINDS = (
    "backing memfd reopen dup truncate limit own seal record epoll watch memory commit"
).split()
N_MAX = 60  # of one kind in one request; more is a fault that never ends
F_ADD_SEALS = 1033

libc = ctypes.CDLL(None, use_errno=True)


def region(mount, name="r", size="8k", *words):
    return mount.create(name, size, "mode=0666", *words)


def plain(mount, name="p", content=b"content"):
    path = mount / name
    path.write_bytes(content)
    return path


class Act:
    """prepare(mount) -> thing; act(mount, thing): one request that changes something."""

    def prepare(self, mount):
        return mount / "x"

    def act(self, mount, thing):
        raise NotImplementedError

    def finish(self, thing):
        """Lets go of what prepare() has opened."""


class Mkdir(Act):
    def act(self, mount, thing):
        os.mkdir(thing)


class Rmdir(Act):
    def prepare(self, mount):
        (mount / "x").mkdir()
        return mount / "x"

    def act(self, mount, thing):
        os.rmdir(thing)


class Mknod(Act):
    def act(self, mount, thing):
        os.mknod(thing, stat.S_IFREG | 0o600)


class Fifo(Act):
    def act(self, mount, thing):
        os.mkfifo(thing)


class Symlink(Act):
    def act(self, mount, thing):
        os.symlink("t" * 1000, thing)


class Create(Act):
    def act(self, mount, thing):
        os.close(os.open(thing, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


class TemporaryFile(Act):
    def act(self, mount, thing):
        os.close(os.open(mount, os.O_TMPFILE | os.O_RDWR, 0o600))


class LinkTemporaryFile(Act):
    def prepare(self, mount):
        return os.open(mount, os.O_TMPFILE | os.O_RDWR, 0o600)

    def act(self, mount, thing):
        link_descriptor(thing, mount / "x")

    def finish(self, thing):
        os.close(thing)


class Open(Act):
    def prepare(self, mount):
        return region(mount)

    def act(self, mount, thing):
        os.close(os.open(thing, os.O_RDWR))


class OpenEphemeral(Act):
    def prepare(self, mount):
        return region(mount, "r", "8k", "ephemeral")

    def act(self, mount, thing):
        os.close(os.open(thing, os.O_RDWR))


class Link(Act):
    def prepare(self, mount):
        return plain(mount)

    def act(self, mount, thing):
        os.link(thing, mount / "x")


class Unlink(Act):
    def prepare(self, mount):
        return plain(mount)

    def act(self, mount, thing):
        os.unlink(thing)


class UnlinkLarge(Act):
    def prepare(self, mount):
        with open(mount / "p", "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, 8 << 20)
        return mount / "p"

    def act(self, mount, thing):
        os.unlink(thing)


class Rename(Act):
    def prepare(self, mount):
        return plain(mount)

    def act(self, mount, thing):
        os.rename(thing, mount / "x")


class RenameOver(Act):
    def prepare(self, mount):
        region(mount, "x")
        return plain(mount)

    def act(self, mount, thing):
        os.rename(thing, mount / "x")


class Exchange(Act):
    def prepare(self, mount):
        region(mount, "x")
        return plain(mount)

    def act(self, mount, thing):
        crash_load.rename_exchange(thing, mount / "x")


class Whiteout(Act):
    def prepare(self, mount):
        return plain(mount)

    def act(self, mount, thing):
        target = os.fsencode(mount / "x")
        if libc.renameat2(AT_FDCWD, os.fsencode(thing), AT_FDCWD, target, 4):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


class Write(Act):
    def prepare(self, mount):
        return os.open(plain(mount), os.O_WRONLY)

    def act(self, mount, thing):
        os.pwrite(thing, b"longer than it was", 5000)

    def finish(self, thing):
        os.close(thing)


class Truncate(Act):
    def prepare(self, mount):
        return plain(mount)

    def act(self, mount, thing):
        os.truncate(thing, 100000)


class TruncateRegion(Act):
    def prepare(self, mount):
        return region(mount)

    def act(self, mount, thing):
        os.truncate(thing, 100000)


class Chmod(Act):
    def prepare(self, mount):
        return region(mount)

    def act(self, mount, thing):
        os.chmod(thing, 0o640)


class Chown(Act):
    def prepare(self, mount):
        return plain(mount)

    def act(self, mount, thing):
        os.chown(thing, 1, 1)


class Utimens(Act):
    def prepare(self, mount):
        return region(mount)

    def act(self, mount, thing):
        os.utime(thing, (1, 1))


class SetAttribute(Act):
    def prepare(self, mount):
        return plain(mount)

    def act(self, mount, thing):
        os.setxattr(thing, "user.a", b"x" * 3000)


class ReplaceAttribute(Act):
    def act(self, mount, thing):
        os.setxattr(thing, "user.a", b"x" * 3000)

    def prepare(self, mount):
        os.setxattr(plain(mount), "user.a", b"small")
        return mount / "p"


class SetAccessList(Act):
    def prepare(self, mount):
        return region(mount)

    def act(self, mount, thing):
        os.setxattr(thing, ACCESS, some_list(6, 4, 5, 1))


class ChmodAccessList(Act):
    def prepare(self, mount):
        os.setxattr(region(mount), ACCESS, some_list(6, 4, 5, 1))
        return mount / "r"

    def act(self, mount, thing):
        os.chmod(thing, 0o600)


class InheritAccessList(Act):
    def prepare(self, mount):
        (mount / "d").mkdir()
        os.setxattr(mount / "d", DEFAULT, some_list(7, 5, 6, 0))
        return mount / "d"

    def act(self, mount, thing):
        os.close(os.open(thing / "f", os.O_CREAT, 0o666))


class InheritAccessListDirectory(Act):
    prepare = InheritAccessList.prepare

    def act(self, mount, thing):
        os.mkdir(thing / "d")


class Fallocate(Act):
    length = 65536

    def prepare(self, mount):
        return os.open(plain(mount), os.O_RDWR)

    def act(self, mount, thing):
        fallocate(thing, 0, 0, self.length)

    def finish(self, thing):
        os.close(thing)


class FallocateLater(Fallocate):
    length = 8 << 20


class Listing(Act):
    def prepare(self, mount):
        for i in range(20):
            plain(mount, f"file{i}")
        return mount.path

    def act(self, mount, thing):
        for entry in os.scandir(thing):
            entry.stat()


class Command(Act):
    file = "create"
    line = "x 8k"

    def act(self, mount, thing):
        fd = os.open(mount.ctl / self.file, os.O_WRONLY)
        try:
            os.write(fd, self.line.encode() + b"\n")
        finally:
            os.close(fd)


class CommandCreate(Command):
    pass


class CommandFixed(Command):
    line = "x 8k fixed mode=0644"


class CommandEphemeral(Command):
    line = "x 8k ephemeral"


class CommandOwner(Command):
    line = "x 8k owner=process"


class CommandPopulate(Command):
    line = "x 64k populate"


class CommandHuge(Command):
    line = "x 4m huge"


class OnRegion(Command):
    def prepare(self, mount):
        return region(mount)


class CommandResize(OnRegion):
    file, line = "resize", "r 1m"


class CommandShrink(OnRegion):
    file, line = "resize", "r 1k"


class CommandSeal(OnRegion):
    file, line = "seal", "r shrink"


class CommandRemove(OnRegion):
    file, line = "remove", "r"


class CommandDefault(Command):
    file, line = "default", "mode=0640"

    def finish(self, thing):
        (thing.parent / ".ctl" / "default").write_text("none\n")


class CommandLimit(Command):
    file, line = "limit", "size=8m nr_inodes=10"

    def prepare(self, mount):
        (mount / "d").mkdir()
        return mount / "d"

    def act(self, mount, thing):
        write_limit(thing, self.line)


class CommandLimitChange(CommandLimit):
    line = "size=2m nr_inodes=20"

    def prepare(self, mount):
        d = super().prepare(mount)
        write_limit(d, CommandLimit.line)
        (d / "x").touch()
        return d


class CommandLimitNone(CommandLimit):
    line = "none"

    def prepare(self, mount):
        d = super().prepare(mount)
        write_limit(d, CommandLimit.line)
        (d / "x").touch()
        (d / "x").unlink()
        return d


class CreateInLimit(Act):
    """The first file of a limit, which makes its private tmpfs."""

    def prepare(self, mount):
        (mount / "d").mkdir()
        write_limit(mount / "d", CommandLimit.line)
        return mount / "d"

    def act(self, mount, thing):
        os.close(os.open(thing / "x", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


class CommandInLimit(CreateInLimit):
    def act(self, mount, thing):
        fd = os.open(thing / ".ctl/create", os.O_WRONLY)
        try:
            os.write(fd, b"r 1m\n")
        finally:
            os.close(fd)


class RemoveLimited(CreateInLimit):
    def act(self, mount, thing):
        os.rmdir(thing)


class CommandRemount(Command):
    file, line = "admin", "remount size=77m"

    def finish(self, thing):
        (thing.parent / ".ctl" / "admin").write_text("remount size=64m\n")


class CommandListing(Act):
    def prepare(self, mount):
        return region(mount)

    def act(self, mount, thing):
        (mount.ctl / "regions.json").read_text()


class SocketAct(Act):
    line = ""

    def act(self, mount, thing):
        try:
            with socket_client.Client(socket_client.socket_of(mount)) as client:
                client.ask(self.line)
        except EOFError as error:
            raise ConnectionResetError(errno.ECONNRESET, "turned away") from error


class SocketCreate(SocketAct):
    line = "create x 8k"


class SocketPopulate(SocketAct):
    line = "create x 64k populate"


class SocketOnRegion(SocketAct):
    def prepare(self, mount):
        return region(mount)


class SocketOpen(SocketOnRegion):
    line = "open rw r"


class SocketOpenAsOther(SocketOnRegion):
    line = "open ro r"


class SocketResize(SocketOnRegion):
    line = "resize r 1m"


class SocketRemove(SocketOnRegion):
    line = "remove r"


class SocketLimit(SocketAct):
    line = "limit d size=1m"

    def prepare(self, mount):
        (mount / "d").mkdir()
        return mount / "d"


class SocketLimits(SocketLimit):
    line = "limits"


class SocketList(SocketOnRegion):
    line = "list"


def subclasses(kind):
    for one in kind.__subclasses__():
        if not one.__subclasses__():
            yield one
        elif "line" in vars(one) and one.line or "length" in vars(one):
            yield one
        yield from (s for s in subclasses(one))


ACTS = list(dict.fromkeys(
    a for a in subclasses(Act) if a not in (Command, OnRegion, SocketAct, SocketOnRegion)
))


class Watch:
    """What is there, as far as anybody can see it."""

    def __init__(self, mount):
        self.mount = mount
        self.daemon = crash_load.Daemon(mount)
        self.admin = os.open(mount.ctl / "admin", os.O_WRONLY)
        self.events = os.open(mount.ctl / "events", os.O_RDONLY | os.O_NONBLOCK)

    def close(self):
        os.close(self.admin)
        os.close(self.events)

    def order(self, line):
        os.write(self.admin, line.encode() + b"\n")

    def struck(self):
        """Whether the fault that was ordered has struck; there is none any more."""
        try:
            self.order("fault off")
        except OSError as error:
            # Of `memory` the order itself may be the one that is struck.
            assert error.errno in (errno.ENODATA, errno.ENOMEM), error
            return False
        return True

    def told(self):
        """Events since the last time."""
        lines = b""
        while True:
            try:
                part = os.read(self.events, 65536)
            except BlockingIOError:
                return lines.decode()
            lines += part

    def names(self):
        found = {}
        for root, folders, files in os.walk(self.mount.path):
            if root.endswith(".ctl"):
                continue
            for name in folders + files:
                if name == ".ctl":
                    continue
                path = os.path.join(root, name)
                st = os.lstat(path)
                found[path] = (
                    st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_size, st.st_mtime_ns,
                    [(n, os.getxattr(path, n, follow_symlinks=False))
                     for n in os.listxattr(path, follow_symlinks=False)],
                )
        return found

    def seals(self):
        listing = json.loads((self.mount.ctl / "regions.json").read_text())
        return [(r["name"], r["seals"], r["flags"]) for r in listing["regions"]], listing[
            "populating"
        ]

    def now(self):
        space = os.statvfs(self.mount.path)
        stats = self.mount.stats()
        return {
            "names": self.names(),
            "seals": self.seals(),
            "default": (self.mount.ctl / "default").read_text(),
            "limits": (self.mount.ctl / "limits.json").read_text(),
            "space": (space.f_blocks, space.f_bfree, space.f_files, space.f_ffree),
            "used": stats["iomemfs_used_bytes"],
            "inodes": stats["iomemfs_inodes"],
            "opens": stats["iomemfs_open_handles"],
            "handles": stats["iomemfs_ctl_handles"],
            "descriptors": self.daemon.descriptors(),
            "stored": self.daemon.stored(),
        }

    def becomes(self, wanted, what):
        """Waits for it: the kernel closes and forgets when it likes."""
        try:
            support.wait_for(lambda: self.now() == wanted, what, 8)
        except AssertionError as error:
            now = self.now()
            wrong = {k: (wanted[k], now[k]) for k in wanted if wanted[k] != now[k]}
            raise AssertionError(f"{error}: {wrong}") from None


@pytest.fixture
def watch(mount):
    one = Watch(mount)
    yield one
    one.close()


def empty(mount):
    for path in mount.path.iterdir():
        support.run(["rm", "-rf", "--", path], check=True)


def attempt(watch, act, kind, n):
    """One try.  Whether the fault struck, and the error that the caller saw."""
    mount = watch.mount
    thing = act.prepare(mount)
    before = watch.now()
    watch.told()
    failed = None
    watch.order(f"fault {kind} {n}")
    try:
        act.act(mount, thing)
    except OSError as error:
        failed = error
    struck = watch.struck()
    what = f"{kind} {n}: {failed}"
    if failed:
        assert struck, what
        assert failed.errno in (
            errno.ENOMEM, errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EPERM,
            errno.EUSERS, errno.EPIPE, errno.ECONNRESET,
        ), what
        watch.becomes(before, what)
        # An open that came before the failing call of a command was closed again.
        events = [line for line in watch.told().splitlines() if " last-close " not in line]
        assert not events, f"{what}: {events}"
    act.finish(thing)
    empty(mount)
    return struck


@pytest.mark.options("size=64m")
@pytest.mark.parametrize("act", ACTS, ids=lambda a: a.__name__)
def test_a_failed_request_leaves_nothing(mount, watch, act):
    # The first file makes the private tmpfs; the last error of a user is kept, in a record.
    plain(mount)
    watch.order("fault memfd 1000000")
    assert not watch.struck()
    empty(mount)
    rest = watch.now()
    counts = {}
    for kind in KINDS:
        n = 1
        while attempt(watch, act(), kind, n):
            n += 1
            assert n < N_MAX, f"{kind} strikes for ever"
        counts[kind] = n - 1
        watch.becomes(rest, f"after {kind}")
    print(json.dumps({"act": act.__name__, "faults": counts}))
    assert mount.stats()["iomemfs_restarts_total"] == 0


def test_faults_are_for_tests_only(mounts):
    mount = mounts()
    with pytest.raises(PermissionError):
        mount.command("admin", "fault memfd 1")


@pytest.mark.parametrize("line", ["fault", "fault bogus 1", "fault memfd", "fault memfd x"])
def test_nonsense_is_refused(mount, line):
    support.fails_with(errno.EINVAL, mount.command, "admin", line)
