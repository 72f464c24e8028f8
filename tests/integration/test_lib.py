# SPDX-License-Identifier: MIT
"""libiomem, by ctypes: with a socket, with the mount alone, and without any daemon."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import re
import select
import shutil
import socket
import subprocess
import threading

import pytest

from memory_jobs import Creation, Held, listed
from support import ROOT, as_user, build_dir, fails_with, run, wait_for, NOBODY

LIB = ROOT / "src" / "lib"
# A sanitized library cannot be loaded by a plain Python.
pytestmark = pytest.mark.slow


class Stat(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint64),
        ("allocated", ctypes.c_uint64),
        ("huge", ctypes.c_uint64),
        ("inode", ctypes.c_uint64),
        ("created", ctypes.c_int64),
        ("created_nsec", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("links", ctypes.c_uint32),
        ("refs", ctypes.c_uint32),
        ("writers", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("seals", ctypes.c_uint32),
        ("creator_uid", ctypes.c_uint32),
        ("creator_pid", ctypes.c_int32),
        ("reserved_word", ctypes.c_uint32),
        ("creator_command", ctypes.c_char * 16),
        ("reserved", ctypes.c_uint64 * 16),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("sequence", ctypes.c_uint64),
        ("kind", ctypes.c_int),
        ("seals", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("size", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
        ("uid", ctypes.c_uint32),
        ("pid", ctypes.c_int32),
        ("reserved", ctypes.c_uint64 * 8),
    ]


VISIT = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(Stat)
)
ALL = 1  # IOMEM_LIST_POPULATING
OTHER, CREATE, RESIZE, SEAL, RENAME, REMOVE, LAST_CLOSE, RESTART, OVERFLOW = range(9)
READ, WRITE = 0, 1
FIXED, EPHEMERAL, POPULATE, HUGE, POPULATING, READ_ONLY = 1, 2, 4, 8, 16, 1024
OWNER_PROCESS, OWNER_SERVICE, OWNER_CONTAINER, OWNER_ENDED = 64, 128, 256, 512
SHRINK, GROW, SEAL_WRITE = 1, 2, 4


def load():
    lib = ctypes.CDLL(str(build_dir() / "src" / "lib" / "libiomem.so.0"))
    lib.iomem_error.restype = lib.iomem_version.restype = ctypes.c_char_p
    c, name, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
    lib.iomem_connect.argtypes = [ctypes.POINTER(c), name]
    lib.iomem_disconnect.argtypes = [c]
    lib.iomem_disconnect.restype = None
    lib.iomem_create.argtypes = [c, name, number, ctypes.c_int, ctypes.c_uint]
    lib.iomem_open.argtypes = [c, name, ctypes.c_int]
    lib.iomem_resize.argtypes = [c, name, number]
    lib.iomem_seal.argtypes = [c, name, ctypes.c_uint]
    lib.iomem_remove.argtypes = [c, name]
    lib.iomem_stat.argtypes = [c, name, ctypes.POINTER(Stat)]
    lib.iomem_list.argtypes = [c, name, ctypes.c_uint, VISIT, ctypes.c_void_p]
    lib.iomem_events_open.argtypes = [ctypes.POINTER(c), c, name]
    lib.iomem_events_next.argtypes = [c, ctypes.POINTER(Event), ctypes.c_int]
    lib.iomem_events_fd.argtypes = lib.iomem_events_close.argtypes = [c]
    lib.iomem_events_close.restype = None
    lib.iomem_wait.argtypes = [c, name, ctypes.c_int]
    lib.iomem_anonymous.argtypes = [number, ctypes.c_uint]
    lib.iomem_map.argtypes = [ctypes.POINTER(c), ctypes.POINTER(ctypes.c_size_t)] + 2 * [
        ctypes.c_int
    ]
    lib.iomem_unmap.argtypes = [c, ctypes.c_size_t]
    return lib


@pytest.fixture(scope="module")
def lib():
    return load()


def checked(lib, result):
    if result < 0:
        raise OSError(-result, lib.iomem_error().decode())
    return result


class Connection:
    """iomem.h in Python's dress."""

    def __init__(self, lib, where):
        self.lib = lib
        self.handle = ctypes.c_void_p()
        where = None if where is None else os.fsencode(where)
        self.check(lib.iomem_connect(ctypes.byref(self.handle), where))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.iomem_disconnect(self.handle)

    def check(self, result):
        return checked(self.lib, result)

    def create(self, name, size, mode=-1, flags=0):
        return self.check(
            self.lib.iomem_create(self.handle, os.fsencode(name), size, mode, flags)
        )

    def open(self, name, access=READ):
        return self.check(self.lib.iomem_open(self.handle, os.fsencode(name), access))

    def resize(self, name, size):
        self.check(self.lib.iomem_resize(self.handle, os.fsencode(name), size))

    def seal(self, name, seals):
        self.check(self.lib.iomem_seal(self.handle, os.fsencode(name), seals))

    def remove(self, name):
        self.check(self.lib.iomem_remove(self.handle, os.fsencode(name)))

    def wait(self, name, timeout):
        self.check(self.lib.iomem_wait(self.handle, os.fsencode(name), timeout))

    def stat(self, name):
        out = Stat()
        self.check(self.lib.iomem_stat(self.handle, os.fsencode(name), ctypes.byref(out)))
        return out

    def list(self, directory=None, flags=0):
        names = []

        @VISIT
        def visit(_, name, region):
            assert region
            names.append(os.fsdecode(name))
            return 0

        directory = None if directory is None else os.fsencode(directory)
        self.check(self.lib.iomem_list(self.handle, directory, flags, visit, None))
        return sorted(names)

    def events(self, directory=None):
        directory = None if directory is None else os.fsencode(directory)
        handle = ctypes.c_void_p()
        self.check(self.lib.iomem_events_open(ctypes.byref(handle), self.handle, directory))
        return Events(self.lib, handle)


class Events:
    """What iomem_events_open() gives."""

    def __init__(self, lib, handle):
        self.lib = lib
        self.handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.iomem_events_close(self.handle)

    def fileno(self):
        return self.lib.iomem_events_fd(self.handle)

    def next(self, timeout=30000):
        out = Event()
        checked(self.lib, self.lib.iomem_events_next(self.handle, ctypes.byref(out), timeout))
        return out


@pytest.fixture(params=["by socket", "by files", "by mount"])
def connection(request, lib, mounts):
    """A connection by each door."""
    if request.param == "by files":
        mount = mounts("socket=none")
    else:
        mount = mounts("")
    where = os.readlink(mount.ctl / "socket") if request.param == "by socket" else mount.path
    with Connection(lib, where) as one:
        one.mount = mount
        one.by_files = request.param == "by files"
        one.is_socket = request.param == "by socket"
        one.where = where
        yield one


def test_owner(connection):
    """The process that calls, or that connected; the name goes after its end."""
    os.close(connection.create("a", 4096, -1, OWNER_PROCESS | FIXED))
    assert connection.stat("a").flags == OWNER_PROCESS | FIXED
    connection.remove("a")
    text = fails_with(errno.EINVAL, connection.create, "a", 4096, -1, OWNER_CONTAINER)
    assert "no such owner" in text
    for flags in (OWNER_PROCESS | OWNER_SERVICE, OWNER_PROCESS | EPHEMERAL, OWNER_ENDED, 32):
        fails_with(errno.EINVAL, connection.create, "a", 4096, -1, flags)


def test_life_of_a_region(connection, lib):
    fd = connection.create("a", 65536, 0o640)
    address, size = ctypes.c_void_p(), ctypes.c_size_t()
    checked(lib, lib.iomem_map(ctypes.byref(address), ctypes.byref(size), fd, WRITE))
    assert size.value == 65536
    ctypes.memmove(address, b"hello", 5)
    checked(lib, lib.iomem_unmap(address, size))
    assert os.pread(fd, 5, 0) == b"hello"
    os.close(fd)
    region = connection.stat("a")
    assert (region.size, region.mode) == (65536, 0o640)
    assert region.refs == region.writers
    assert region.inode == os.stat(connection.mount / "a").st_ino
    assert region.creator_pid == os.getpid()
    connection.resize("a", 131072)
    os.close(connection.create("b", 4096, 0o640, READ_ONLY))
    connection.seal("b", SHRINK | GROW)
    assert connection.stat("b").seals == SHRINK | GROW
    connection.remove("b")
    connection.seal("a", SHRINK | GROW | SEAL_WRITE)
    region = connection.stat("a")
    assert (region.size, region.seals) == (131072, SHRINK | GROW | SEAL_WRITE)
    assert "a" in fails_with(errno.EPERM, connection.resize, "a", 4096)
    fd = connection.open("a")
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert not os.get_inheritable(fd)
    os.close(fd)
    connection.remove("a")
    fails_with(errno.ENOENT, connection.stat, "a")


def test_names(connection):
    (connection.mount / "dir").mkdir()
    names = ["plain", "with space", "dir/x\ny", "back\\slash", "ü", os.fsdecode(b"\xff\xfe"), '"q"']
    for name in names:
        os.close(connection.create(name, 4096))
        assert os.stat(connection.mount / name).st_size == 4096
        assert connection.stat(name).size == 4096
    assert connection.list() == sorted(names)
    assert connection.list("dir") == ["x\ny"]
    for name in names:
        connection.remove(name)
    for name in ("", "..", "a/../b", "/a", "a//b", ".ctl/create", "a/"):
        fails_with(errno.EINVAL, connection.create, name, 4096)
    fails_with(errno.ENAMETOOLONG, connection.create, "x" * 256, 4096)
    fails_with(errno.ENAMETOOLONG, connection.create, "x/" * 2048 + "y", 4096)


def test_errors(connection):
    os.close(connection.create("a", 4096))
    assert "a" in fails_with(errno.EEXIST, connection.create, "a", 4096)
    fails_with(errno.EINVAL, connection.create, "b", 4096, 0o7777)
    fails_with(errno.EINVAL, connection.create, "b", 4096, -1, 1 << 20)
    fails_with(errno.ENOSPC, connection.create, "b", 1 << 40)
    fails_with(errno.ENOENT, connection.open, "b")
    fails_with(errno.ENOENT, connection.resize, "b", 4096)
    fails_with(errno.ENOENT, connection.remove, "b")
    fails_with(errno.EINVAL, connection.seal, "a", 0)
    fails_with(errno.EINVAL, connection.seal, "a", 8)
    fails_with(errno.ETIMEDOUT, connection.wait, "b", 0)
    fails_with(errno.ETIMEDOUT, connection.wait, "b", 20)
    assert connection.list() == ["a"]


def errors_of(function):
    """The errnos that the function's manual page names: for all of the page, and for the function."""
    page = next(path for path in LIB.glob("*.3") if f"\n.Nm {function} ,\n" in path.read_text()
                or f"\n.Nm {function}\n" in path.read_text())
    text = page.read_text().split("\n.Sh ERRORS\n")[1].split("\n.Sh ")[0]
    common, *parts = re.split(r"((?:^\.Fn iomem_\w+ ,\n)*^\.Fn iomem_\w+ :\n)", text, flags=re.M)
    own = "".join(what for head, what in zip(parts[::2], parts[1::2]) if f".Fn {function} " in head)
    return set(re.findall(r"-(E[A-Z0-9]+)", common + own))


def test_errors_are_those_of_the_manual(connection):
    """Whatever can go wrong by names, sizes and seals, by each door."""
    mount = connection.mount
    (mount / "dir").mkdir()
    (mount / "link").symlink_to("there")
    (mount / "loop").symlink_to("loop")
    os.mkfifo(mount / "fifo")
    (mount / "plain").write_bytes(b"made by open")
    for name in ("there", "sealed", "used"):
        os.close(connection.create(name, 4096))
    connection.seal("sealed", SHRINK | GROW | SEAL_WRITE)
    used = connection.open("used", WRITE)
    calls = [(connection.create, ["there", 4096]), (connection.create, ["new", 1 << 62])]
    for name in ("dir", "loop", "link", "fifo", "none", "none/a", "there/a", "loop/a", "x" * 256,
                 "../a", "", "sealed", "plain"):
        calls += [(connection.create, [name, 4096, -1, FIXED]), (connection.open, [name, WRITE]),
                  (connection.resize, [name, 0]), (connection.seal, [name, SHRINK | SEAL_WRITE]),
                  (connection.stat, [name]), (connection.wait, [name, 0]),
                  (connection.remove, [name])]
    calls += [(connection.seal, ["used", SEAL_WRITE]), (connection.resize, ["used", 1 << 62])]
    seen, undocumented = set(), []
    for call, arguments in calls:
        try:
            result = call(*arguments)
        except OSError as error:
            name = errno.errorcode[error.errno].replace("ENOTSUP", "EOPNOTSUPP")
            seen.add(name)
            if name not in errors_of(f"iomem_{call.__name__}"):
                undocumented.append((call.__name__, arguments, error))
        else:
            if call.__name__ in ("create", "open"):
                os.close(result)
    os.close(used)
    assert undocumented == [], "\n".join(map(repr, undocumented))
    assert len(seen) > 8, seen


@pytest.mark.parametrize("option", ["ro", "ro,socket=none"])
def test_read_only(lib, mounts, option):
    """The library knows every errno that the daemon names."""
    with Connection(lib, mounts(option)) as one:
        fails_with(errno.EROFS, one.create, "a", 4096)


def test_size_0(connection):
    os.close(connection.create("empty", 0, 0o600, FIXED | POPULATE))
    assert connection.stat("empty").size == 0


def test_a_mode_that_keeps_its_owner_from_writing(connection):
    """The maker has it open for writing all the same, as with open(2) and O_CREAT."""
    os.chmod(connection.mount, 0o777)

    def make():
        with Connection(connection.lib, connection.where) as one:
            fd = one.create("a", 4096, 0o444)
            os.write(fd, b"made")
            os.close(fd)
            fails_with(errno.EACCES, one.open, "a", WRITE)
            return one.stat("a").mode

    assert as_user(NOBODY, make) == 0o444


def test_stat_without_extended_attributes(lib, mounts):
    mount = mounts("socket=none,xattr=off")
    (mount / "d").mkdir()
    with Connection(lib, mount) as one:
        os.close(one.create("d/a", 4096, 0o600, FIXED))
        region = one.stat("d/a")
        assert (region.size, region.mode, region.flags) == (4096, 0o600, FIXED)
        fails_with(errno.ENOENT, one.stat, "d/b")


def test_events(connection, lib):
    """Each kind, with what it says; and that of a connection by socket there are none."""
    if connection.is_socket:
        fails_with(errno.EOPNOTSUPP, connection.events)
        return
    with connection.events() as events:
        fails_with(errno.ETIMEDOUT, events.next, 0)
        fails_with(errno.ETIMEDOUT, events.next, 20)
        os.close(connection.create("a b", 4096, 0o600))
        connection.resize("a b", 8192)
        connection.seal("a b", SHRINK | SEAL_WRITE)
        os.rename(connection.mount / "a b", connection.mount / "c")
        connection.remove("c")
        seen, last = [], -1
        while not seen or seen[-1][0] != REMOVE:
            event = events.next()
            assert event.sequence > last
            last = event.sequence
            seen.append((event.kind, event.name, event.size, event.seals))
            if event.kind == CREATE:
                assert (event.uid, event.pid) == (0, os.getpid())
        found = [s for s in seen if s[0] != LAST_CLOSE]
        assert found[0] == (CREATE, b"a b", 4096, 0)
        assert found[1] == (RESIZE, b"a b", 8192, 0)
        assert (found[2][0], found[2][3]) == (SEAL, SHRINK | SEAL_WRITE)
        assert (found[3][:2], found[4][:2]) == ((RENAME, b"c"), (REMOVE, b"c"))
    lib.iomem_events_close(None)


def test_events_of_a_directory_with_poll(lib, mounts):
    mount = mounts("")
    (mount / "d").mkdir()
    with Connection(lib, mount) as one:
        fails_with(errno.ENOENT, one.events, "none")
        fails_with(errno.EINVAL, one.events, "..")
        with one.events("d") as events:
            os.close(one.create("other", 4096))
            os.close(one.create("d/a", 4096))
            assert select.select([events], [], [], 30)[0] == [events]
            assert events.next(0).name == b"a"


def test_events_of_a_slow_reader(lib, mounts):
    mount = mounts("")
    with Connection(lib, mount) as one, one.events() as events:
        os.close(one.create("a", 0))
        for size in range(5000):
            one.resize("a", size)
        event = events.next()
        assert event.kind == OVERFLOW and event.lost > 0 and event.name is None
        assert events.next().kind in (CREATE, RESIZE, LAST_CLOSE)
        one.remove("a")


def test_events_after_the_connection(lib, mounts):
    mount = mounts("")
    with Connection(lib, mount) as one:
        events = one.events()
    with events:
        os.close(os.open(mount / "a", os.O_CREAT | os.O_WRONLY))
        assert events.next().name == b"a"


def test_wait_for_a_directory_that_is_not_there_yet(connection):
    if connection.is_socket:
        pytest.skip("the same daemon's wait as by mount")
    thread = threading.Thread(target=connection.wait, args=("d/late", 30000))
    thread.start()
    (connection.mount / "d").mkdir()
    os.close(connection.create("d/late", 4096))
    thread.join()
    connection.wait("d/late", 0)


def test_fixed(connection):
    os.close(connection.create("a", 4096, -1, FIXED))
    region = connection.stat("a")
    assert (region.flags, region.seals) == (FIXED, SHRINK | GROW)


def test_wait(connection):
    found = []
    thread = threading.Thread(target=lambda: found.append(connection.wait("late", 30000)))
    thread.start()
    assert connection.list() == []  # the wait does not hold the connection up
    os.close(connection.create("late", 4096))
    thread.join()
    assert found == [None]


def test_list_can_be_ended(connection, lib):
    for name in "abc":
        os.close(connection.create(name, 4096))

    @VISIT
    def visit(_, name, region):
        del name, region
        return 7

    assert lib.iomem_list(connection.handle, None, 0, visit, None) == 7
    fails_with(errno.EINVAL, connection.list, None, 2)
    assert connection.list() == ["a", "b", "c"]


def test_list_while_one_is_populated(connection, lib):
    """It is listed with all, and with its flag; there is nothing yet that could be opened."""
    os.close(connection.create("a", 4096))
    with Held(connection.mount):
        creation = Creation(connection.mount.path, "b 64m populate")
        wait_for(lambda: listed(connection.mount.path), "the population")
        seen = {}

        @VISIT
        def visit(_, name, region):
            seen[name] = (region.contents.flags, region.contents.allocated)
            return 0

        assert lib.iomem_list(connection.handle, None, ALL, visit, None) == 0
        assert seen == {b"a": (0, 0), b"b": (POPULATE | POPULATING, 0)}
        assert connection.list() == ["a"]
    assert creation.end() == 0
    assert connection.list() == connection.list(None, ALL) == ["a", "b"]


def test_threads_share_a_connection(connection):
    problems = []

    def work(number):
        try:
            for turn in range(30):
                name = f"t{number}-{turn}"
                os.close(connection.create(name, 4096 * (number + 1)))
                if connection.stat(name).size != 4096 * (number + 1):
                    problems.append(name)
                fails_with(errno.ENOENT, connection.open, f"none-{number}")
                connection.remove(name)
        except BaseException as error:  # pylint: disable=broad-except
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_child_has_a_connection_of_its_own(connection):
    os.close(connection.create("a", 4096))

    def child():
        for _ in range(50):
            assert connection.stat("a").size == 4096
            os.close(connection.open("a"))
        return os.getpid()

    assert as_user((0, 0), child) != os.getpid()
    for _ in range(50):
        assert connection.stat("a").size == 4096


def test_subdirectory_is_the_root_of_names(lib, mounts):
    for options in ("", "socket=none"):
        mount = mounts(options)
        (mount / "x" / "y").mkdir(parents=True)
        with Connection(lib, mount / "x") as one:
            os.close(one.create("y/a", 4096))
            assert os.path.exists(mount / "x/y/a")
            assert one.list() == ["y/a"]
            assert one.stat("y/a").size == 4096
            one.remove("y/a")


def test_a_mount_without_its_socket_in_sight(lib, mounts, tmp_path):
    """As in a container that is given the mount only."""
    mount = mounts("")
    os.rename(os.readlink(mount.ctl / "socket"), tmp_path / "elsewhere")
    with Connection(lib, mount) as one:
        os.close(one.create("a", 4096))
        assert one.list() == ["a"]
    with Connection(lib, tmp_path / "elsewhere") as one:
        assert one.list() == ["a"]


def test_connection_outlives_the_daemon(lib, mounts):
    mount = mounts("")
    with Connection(lib, os.readlink(mount.ctl / "socket")) as one:
        os.close(one.create("a", 4096))
        mount.unmount()
        mount.wait_end()
        assert fails_with(errno.ENOENT, one.list)
        mount.start()
        assert one.list() == []
        os.close(one.create("a", 4096))


def test_where(lib, mounts, tmp_path, monkeypatch):
    mount = mounts("")
    monkeypatch.setenv("IOMEMFS", str(mount))
    with Connection(lib, None) as one:
        assert one.list() == []
    assert "no iomemfs" in fails_with(errno.ENODEV, Connection, lib, tmp_path)
    fails_with(errno.ENOENT, Connection, lib, tmp_path / "none")
    (tmp_path / "file").write_text("")
    fails_with(errno.ENOTSOCK, Connection, lib, tmp_path / "file")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    fails_with(errno.ECONNREFUSED, Connection, lib, tmp_path / "dead")
    lib.iomem_disconnect(None)
    assert lib.iomem_unmap(None, 0) == 0


def test_rights(connection):
    os.close(connection.create("a", 4096, 0o600))

    def attempt():
        with Connection(connection.lib, connection.mount) as one:
            return fails_with(errno.EACCES, one.open, "a")

    assert "a" in as_user(NOBODY, attempt)


# Without a daemon


def test_anonymous_memory_is_sent(lib):
    fd = checked(lib, lib.iomem_anonymous(8192, FIXED | POPULATE))
    assert os.fstat(fd).st_blocks * 512 == 8192
    fails_with(errno.EPERM, os.ftruncate, fd, 4096)
    here, there = socket.socketpair()
    with here, there:
        checked(lib, lib.iomem_send_fd(here.fileno(), fd))
        received = checked(lib, lib.iomem_recv_fd(there.fileno()))
        with mmap.mmap(fd, 0) as one, mmap.mmap(received, 0) as other:
            one[:4] = b"seen"
            assert other[:4] == b"seen"
        os.close(received)
        here.sendall(b"x")
        fails_with(errno.EBADMSG, lambda: checked(lib, lib.iomem_recv_fd(there.fileno())))
        socket.send_fds(here, [b"x"], [fd, fd])
        before = len(os.listdir("/proc/self/fd"))
        os.close(checked(lib, lib.iomem_recv_fd(there.fileno())))
        assert len(os.listdir("/proc/self/fd")) == before
        here.close()
        fails_with(errno.EPIPE, lambda: checked(lib, lib.iomem_recv_fd(there.fileno())))
    os.close(fd)
    for arguments in ((4096, EPHEMERAL), (1 << 63, 0)):
        fails_with(errno.EINVAL, lambda a=arguments: checked(lib, lib.iomem_anonymous(*a)))


@pytest.mark.skipif(not shutil.which("ruby"), reason="ruby is not installed")
def test_descriptors_go_to_ruby_and_back(lib):
    fd = checked(lib, lib.iomem_anonymous(4096, 0))
    here, there = socket.socketpair()
    with here, there:
        script = """
            require "socket"
            Warning[:experimental] = false
            io = UNIXSocket.for_fd(ARGV[0].to_i).recv_io(File, "r+b")
            IO::Buffer.map(io).set_string("from ruby", 0)
            UNIXSocket.for_fd(ARGV[0].to_i).send_io(io)
        """
        os.write(fd, b"x")
        checked(lib, lib.iomem_send_fd(here.fileno(), fd))
        run(["ruby", "-e", script, there.fileno()], pass_fds=[there.fileno()], check=True)
        back = checked(lib, lib.iomem_recv_fd(here.fileno()))
        assert os.pread(back, 9, 0) == os.pread(fd, 9, 0) == b"from ruby"
        os.close(back)
    os.close(fd)


def test_mapping_what_has_no_memory(lib):
    """Size 0 is no error, for who allocates by number; what is no region is one."""
    address, size = ctypes.c_void_p(1), ctypes.c_size_t(1)
    for flags in (0, FIXED, POPULATE | HUGE):
        fd = checked(lib, lib.iomem_anonymous(0, flags))
        checked(lib, lib.iomem_map(ctypes.byref(address), ctypes.byref(size), fd, WRITE))
        assert (address.value, size.value) == (None, 0)
        assert lib.iomem_unmap(address, size) == 0
        os.close(fd)
    fd = os.open("/", os.O_RDONLY)
    result = lib.iomem_map(ctypes.byref(address), None, fd, READ)
    fails_with(errno.EINVAL, lambda: checked(lib, result))
    os.close(fd)
    result = lib.iomem_map(ctypes.byref(address), None, -1, READ)
    fails_with(errno.EBADF, lambda: checked(lib, result))


def test_errors_are_of_their_thread(lib):
    lib.iomem_recv_fd(-1)
    before = lib.iomem_error()
    texts = []
    thread = threading.Thread(target=lambda: texts.append(lib.iomem_error()))
    thread.start()
    thread.join()
    assert texts == [b""] and before and lib.iomem_error() == before


# The library as a product


def test_header_stands_alone(tmp_path):
    for name, compiler in {"c": ["cc", "-std=c99"], "cc": ["g++", "-std=c++11"]}.items():
        source = tmp_path / f"header.{name}"
        source.write_text('#include "iomem.h"\nint main() { return iomem_version() == 0; }\n')
        run(
            [*compiler, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{LIB}",
             source],
            check=True,
        )


def test_symbols():
    """What is exported is what the header declares, under the version, and nothing else."""
    declared = set(re.findall(r"\b(iomem_\w+)\(", re.sub(
        r"/\*.*?\*/", "", (LIB / "iomem.h").read_text(), flags=re.S)))
    output = subprocess.check_output(
        ["nm", "-D", "--defined-only", build_dir() / "src" / "lib" / "libiomem.so.0"], text=True
    )
    exported = {line.split()[2] for line in output.splitlines()} - {"IOMEM_0.2"}
    assert exported == {f"{name}@@IOMEM_0.2" for name in declared}


def test_version(lib):
    version = lib.iomem_version().decode()
    assert f"version: '{version}'" in (ROOT / "meson.build").read_text()
    assert f'"{version}"' in (LIB / "iomem.h").read_text()


@pytest.mark.parametrize("page", sorted(p.name for p in LIB.glob("*.3")))
def test_manual(page):
    result = run(["mandoc", "-T", "lint", "-W", "warning", LIB / page])
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("page", sorted(p.stem for p in LIB.glob("*.3")))
def test_example(page, mounts, tmp_path):
    """The program in each page's EXAMPLES is whole: it compiles without a word, and does it."""
    mount = mounts("")
    section = re.search(r"^\.Sh EXAMPLES\n(.*?)^\.Sh ", (LIB / f"{page}.3").read_text(), re.M | re.S)
    text = re.search(r"^\.Bd [^\n]*\n(.*?)^\.Ed", section[1], re.M | re.S)[1]
    source = tmp_path / "example.c"
    source.write_text(text.replace("\\e", "\\"))
    library = build_dir() / "src" / "lib"
    run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{LIB}", "-o", tmp_path / "example",
         source, f"-L{library}", "-liomem"], check=True)
    environment = dict(os.environ, IOMEMFS=str(mount), LD_LIBRARY_PATH=str(library))
    if page == "iomem_limit":
        (mount / "job").mkdir()
    with subprocess.Popen([tmp_path / "example"], env=environment, stdout=subprocess.PIPE,
                          text=True) as process:
        if page == "iomem_stat":
            mount.create("frames", 4096)
        if page == "iomem_events_open":
            wait_for(lambda: has_open(process.pid, "/.ctl/events"), "the reader")
            mount.create("fed", 4096)
            mount.command("remove", "fed")
        output = process.communicate()[0]
    assert process.returncode == 0
    expected = {
        "iomem": "",
        "iomem_connect": f"connected by libiomem {load().iomem_version().decode()}\n",
        "iomem_create": "",
        "iomem_limit": f".: {os.statvfs(mount).f_bfree * 4096} bytes left\n"
                       "job: 67108864 bytes left\n",
        "iomem_events_open": f"fed by {os.getpid()}\n",
        "iomem_map": "the child says 42\n",
        "iomem_send_fd": "hello\n",
        "iomem_stat": "frames: 4096 bytes\n4096 bytes in all\n",
    }
    assert output == expected[page]
    if page == "iomem":
        assert (mount / "frames").read_bytes()[:6] == b"hello\0"


def has_open(pid, suffix):
    """Whether a process has a file open whose path ends so."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return any(path.endswith(suffix) for path in found)


def test_every_function_has_its_words():
    pages = "\n".join(p.read_text() for p in LIB.glob("*.3"))
    declared = re.findall(r"^IOMEM_API .*?\b(iomem_\w+)\(", (LIB / "iomem.h").read_text(), re.M)
    assert len(declared) == 24
    for name in declared:
        assert f".Fn {name}" in pages or f".Fo {name}" in pages, name


def test_structure_of_the_header(tmp_path):
    """The ABI of struct iomem_stat, as Stat above has it."""
    source = tmp_path / "size.c"
    source.write_text(
        '#include "iomem.h"\n#include <stdio.h>\nint main(void) {'
        'printf("%zu %zu %zu", sizeof(struct iomem_stat), offsetof(struct iomem_stat, size),'
        "offsetof(struct iomem_stat, creator_command));"
        'printf(" %zu %zu", sizeof(struct iomem_event), offsetof(struct iomem_event, pid));'
        "return 0; }\n"
    )
    run(["cc", f"-I{LIB}", "-o", tmp_path / "size", source], check=True)
    found = run([tmp_path / "size"], check=True).stdout.split()
    assert found == [str(n) for n in (
        ctypes.sizeof(Stat), Stat.size.offset, Stat.creator_command.offset,
        ctypes.sizeof(Event), Event.pid.offset,
    )]


def test_no_leaks(lib, mounts):
    mount = mounts("")
    with Connection(lib, mount) as one:
        os.close(one.create("a", 4096))
    before = os.listdir("/proc/self/fd")
    for _ in range(50):
        with Connection(lib, mount) as one:
            os.close(one.open("a"))
            fails_with(errno.ENOENT, one.open, "b")
            one.wait("a", 1000)
    assert os.listdir("/proc/self/fd") == before
    wait_for(lambda: mount.stats(), "the daemon")
