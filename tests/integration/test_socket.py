# SPDX-License-Identifier: MIT
"""The socket: commands in, descriptors out; rights, hostile clients, and deaths of the worker."""

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import resource
import select
import signal
import socket
import stat
import struct
import subprocess
import sys

import pytest

from socket_client import Client, Refused, socket_of
from support import (
    DAEMON,
    LIMIT,
    NOBODY,
    as_user,
    fails_with,
    run,
    tests_dir,
    wait_for,
    worker_pid,
)

F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1, 2, 4, 8
PAGE = 4096


def worker_fds(mount):
    return len(os.listdir(f"/proc/{worker_pid(mount)}/fd"))


# What is said


def test_create_open_and_share(mount, client):
    with client.opened("create a 64K") as fd:
        assert os.fstat(fd).st_size == 65536
        assert os.stat(mount / "a").st_size == 65536
        with mmap.mmap(fd, 0) as memory:
            memory[:5] = b"hello"
            assert (mount / "a").read_bytes()[:5] == b"hello"
            with client.opened("open ro a") as other, mmap.mmap(
                other, 0, prot=mmap.PROT_READ
            ) as view:
                memory[5:10] = b"world"
                assert view[:10] == b"helloworld"


def test_answers_are_lines(client):
    client.send("@x1 create a 4k mode=0600")
    assert client.receive() == "@x1 ok 4096"
    os.close(client.fds.pop())
    client.send("open a")
    assert client.receive() == "ok 4096"
    os.close(client.fds.pop())
    for line, answer in {
        "@t resize a 8k": "@t ok 8192",
        "seal a shrink,grow,write": "ok",
        "seal a shrink,grow": "ok",
        "@t open nothing": "@t error ENOENT nothing: no such region",
        "remove a": "ok",
    }.items():
        client.send(line)
        assert client.receive() == answer
        assert not client.fds


def test_descriptor_rides_on_the_first_byte(client):
    client.send("create a 4k")
    data, fds, _, _ = socket.recv_fds(client.socket, 1, 1)
    assert (data, len(fds)) == (b"o", 1)
    os.close(fds[0])
    assert client.receive() == "k 4096"


def test_list_and_stat(mount, client):
    (mount / "d").mkdir()
    for name in ("a", "d/b", "d/with\\040space"):
        os.close(client.ask_fd(f"create {name} 4k mode=0640"))
    assert {r["name"] for r in client.list()} == {"a", "d/b", "d/with space"}
    assert {r["name"] for r in client.list("d")} == {"b", "with space"}
    region = client.stat("d/b")
    assert (region["name"], region["size"], region["mode"]) == ("d/b", 4096, "0640")
    assert (region["creator_pid"], region["uid"]) == (os.getpid(), 0)
    assert region["inode"] == os.stat(mount / "d/b").st_ino
    assert json.loads((mount.ctl / "regions.json").read_text())["regions"] == client.list()
    fails_with(errno.ENOTDIR, client.list, "a")


def test_many_regions_in_one_line(mount, client):
    for number in range(700):
        os.close(client.ask_fd(f"create region-with-a-long-name-{number} 4k"))
    assert len(client.list()) == 700
    del mount


def test_errors(mount, client):
    (mount / "dir").mkdir()
    (mount / "link").symlink_to("dir")
    os.mkfifo(mount / "fifo")
    os.close(client.ask_fd("create a 4k"))
    for line, number in {
        "": errno.EINVAL,
        "bogus": errno.EINVAL,
        "admin upgrade": errno.EINVAL,
        "open": errno.EINVAL,
        "open rx a": errno.EINVAL,
        "open ../a": errno.EINVAL,
        "open /a": errno.EINVAL,
        "open .ctl/create": errno.EINVAL,
        "open dir": errno.EISDIR,
        "open link": errno.ELOOP,
        "open link/x": errno.ELOOP,
        "open fifo": errno.ENXIO,
        "open a/b": errno.ENOTDIR,
        "open " + "x" * 256: errno.ENAMETOOLONG,
        "create a 4k": errno.EEXIST,
        "create b": errno.EINVAL,
        "create b -1": errno.EINVAL,
        "create b 4k nonsense": errno.EINVAL,
        "create b 1000g": errno.ENOSPC,
        "create none/b 4k": errno.ENOENT,
        "resize none 4k": errno.ENOENT,
        "remove dir": errno.EISDIR,
        "stat none": errno.ENOENT,
        "wait none 0.01": errno.ETIMEDOUT,
        "@ list": errno.EINVAL,
        "@" + "t" * 33 + " list": errno.EINVAL,
        "open a\0": errno.EINVAL,
    }.items():
        fails_with(number, client.ask, line)
    assert not client.fds
    assert [r["name"] for r in client.list()] == ["a"]


def test_pipelined_lines_are_answered_in_order(client):
    client.socket.sendall(
        b"".join(b"@%d create r%d 4k\n@b%d remove r%d\n" % (i, i, i, i) for i in range(300))
    )
    for i in range(300):
        assert client.receive() == f"@{i} ok 4096"
        assert client.receive() == f"@b{i} ok"
        for fd in client.fds:
            os.close(fd)
        client.fds.clear()


def test_lines_in_pieces(client):
    for byte in b"create a 4k\nstat a\n":
        client.socket.sendall(bytes([byte]))
    assert client.answer() == "4096"
    assert json.loads(client.answer())["size"] == 4096


def test_one_who_closes_its_side_gets_its_answers(client):
    client.socket.sendall(b"create a 4k\nwait b 0.05\nlist\n")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.answer() == "4096"
    fails_with(errno.ETIMEDOUT, client.answer)
    assert "regions" in json.loads(client.answer())
    with pytest.raises(EOFError):
        client.receive()


def test_one_who_hangs_up_is_obeyed(mount):
    with Client(socket_of(mount)) as one:
        one.socket.sendall(b"create a 4k\ncreate b 4k\ncreate c")
    wait_for(lambda: os.path.exists(mount / "b"), "the second region")
    assert not os.path.exists(mount / "c")


# What is true for the mount at once


def test_changes_are_seen_through_the_mount(mount, client):
    os.close(client.ask_fd("create a 4k"))
    for size in (8192, 4096, 65536):
        assert os.stat(mount / "a").st_size != size
        client.ask(f"resize a {size}")
        assert os.stat(mount / "a").st_size == size
    assert os.listdir(mount) == ["a"]
    client.ask("remove a")
    assert not os.path.exists(mount / "a")
    assert os.listdir(mount) == []


def test_changes_by_the_descriptor_are_seen_through_the_mount(mount, client):
    (mount / "a").write_bytes(b"x" * 100)
    assert os.stat(mount / "a").st_size == 100
    with client.opened("open rw a") as fd:
        for size in (5000, 10, 0, 300):
            os.ftruncate(fd, size)
            assert os.stat(mount / "a").st_size == size
        os.pwrite(fd, b"tail", 300)
        assert os.stat(mount / "a").st_size == 304
        assert (mount / "a").read_bytes()[300:] == b"tail"


def test_limit_holds_for_descriptors(mounts):
    mount = mounts("size=1m")
    with Client(socket_of(mount)) as client, client.opened("create a 512k") as fd:
        os.ftruncate(fd, 16 * 1024 * 1024)
        assert os.stat(mount / "a").st_size <= 1024 * 1024
        fails_with(errno.ENOSPC, client.ask, "create b 1m")
        client.ask("resize a 4k")
        os.close(client.ask_fd("create b 512k"))


def test_removed_regions_live_on_in_their_holders(mount, client):
    with client.opened("create a 4k") as fd:
        os.pwrite(fd, b"still here", 0)
        client.ask("remove a")
        assert os.pread(fd, 10, 0) == b"still here"
        with client.opened("create a 4k") as new:
            assert os.pread(new, 10, 0) == bytes(10)
    del mount


# Coherence without passthrough: what docs/protocol.md says


@pytest.mark.modes("cached")
def test_cached_writes_are_seen_by_holders(mount, client):
    with client.opened("create a 4k") as fd:
        with open(mount / "a", "r+b", buffering=0) as file:
            file.write(b"by write(2)")
            assert os.pread(fd, 11, 0) == b"by write(2)"
            with mmap.mmap(file.fileno(), 0) as memory:
                memory[:9] = b"by a map!"
                memory.flush()  # msync(2)
                assert os.pread(fd, 9, 0) == b"by a map!"


@pytest.mark.modes("cached")
def test_cached_readers_see_holders_at_the_next_open(mount, client):
    with client.opened("create a 4k") as fd:
        assert (mount / "a").read_bytes()[:3] == bytes(3)
        os.pwrite(fd, b"new", 0)
        assert (mount / "a").read_bytes()[:3] == b"new"


@pytest.mark.modes("passthrough")
def test_everything_is_coherent_with_passthrough(mount, client):
    with client.opened("create a 4k") as fd, open(mount / "a", "r+b", buffering=0) as file:
        with mmap.mmap(fd, 0) as mine, mmap.mmap(file.fileno(), 0) as theirs:
            mine[:3] = b"one"
            assert theirs[:3] == b"one"
            theirs[:3] = b"two"
            assert os.pread(fd, 3, 0) == b"two" and os.pread(file.fileno(), 3, 0) == b"two"


# Waiting


def appear_by_create(mount):
    mount.create("new", 4096)


def appear_by_open(mount):
    (mount / "new").write_bytes(b"")


def appear_by_rename(mount):
    (mount / "old").write_bytes(b"")
    os.rename(mount / "old", mount / "new")


def appear_by_link(mount):
    (mount / "old").write_bytes(b"")
    os.link(mount / "old", mount / "new")


@pytest.mark.parametrize(
    "appear", [appear_by_create, appear_by_open, appear_by_rename, appear_by_link]
)
def test_wait(mount, client, appear):
    client.send("@w wait new")
    with Client(socket_of(mount)) as other:
        assert other.list() == []
    appear(mount)
    assert client.receive().startswith("@w ok ")
    assert client.ask("wait new 1") is not None


def test_wait_for_a_directory_that_is_moved_there(mount, client):
    (mount / "d").mkdir()
    (mount / "d" / "x").write_bytes(b"12")
    client.send("wait e/x")
    os.rename(mount / "d", mount / "e")
    assert client.answer() == "2"


def test_waits_end_with_their_time(client):
    fails_with(errno.ETIMEDOUT, client.ask, "wait none 0.02")
    client.send("wait none 0.02")
    client.send("list")
    fails_with(errno.ETIMEDOUT, client.answer)
    assert json.loads(client.answer()) == {"regions": [], "populating": [], "too_long": 0}


# Rights


def through_socket(path, name, access):
    with Client(path) as client:
        try:
            fd = client.ask_fd(f"open {access} {name}")
        except Refused as error:
            return error.errno
        os.close(fd)
        return 0


def through_mount(path, name, access):
    try:
        fd = os.open(f"{path}/{name}", os.O_RDWR if access == "rw" else os.O_RDONLY)
    except OSError as error:
        return error.errno
    os.close(fd)
    return 0


def compare_doors(mount_path, socket_path, names):
    """The differences between both doors."""
    return [
        (name, access, by_socket, by_mount)
        for name in names
        for access in ("ro", "rw")
        if (by_socket := through_socket(socket_path, name, access))
        != (by_mount := through_mount(mount_path, name, access))
    ]


def test_rights_are_those_of_open(mount, client):
    names = []
    for mode in range(0, 0o1000, 7):
        name = f"m{mode:03o}"
        os.close(client.ask_fd(f"create {name} 4k mode={mode:o}"))
        os.chown(mount / name, DAEMON[0], 50)
        names.append(name)
    for user, groups in (
        (NOBODY, []),
        (DAEMON, []),
        ((2, 50), []),
        (NOBODY, [7, 50, 8]),
        (NOBODY, list(range(1000, 1100)) + [50]),
    ):
        differences = as_user(
            user, compare_doors, str(mount), socket_of(mount), names, groups=groups
        )
        assert differences == [], (user, groups)


def test_search_permission_on_the_whole_path(mount, client):
    (mount / "a").mkdir(mode=0o755)
    (mount / "a/b").mkdir(mode=0o755)
    os.close(client.ask_fd("create a/b/c 4k mode=0644"))
    path = socket_of(mount)
    assert as_user(NOBODY, through_socket, path, "a/b/c", "ro") == 0
    for directory in ("a", "a/b"):
        os.chmod(mount / directory, 0o744)
        assert as_user(NOBODY, through_socket, path, "a/b/c", "ro") == errno.EACCES
        os.chmod(mount / directory, 0o711)
        assert as_user(NOBODY, through_socket, path, "a/b/c", "ro") == 0


def removed_by(path, name):
    with Client(path) as client:
        try:
            client.ask(f"remove {name}")
        except Refused as error:
            return error.errno
        return 0


def created_by(path, line):
    with Client(path) as client:
        os.close(client.ask_fd(line))
        return client.stat(line.split()[1])


def test_removal_and_sticky_directories(mount, client):
    path = socket_of(mount)
    os.close(client.ask_fd("create mine 4k mode=0666"))
    assert as_user(NOBODY, removed_by, path, "mine") == errno.EPERM
    (mount / "d").mkdir()
    os.close(client.ask_fd("create d/a 4k mode=0666"))
    assert as_user(NOBODY, removed_by, path, "d/a") == errno.EACCES
    os.chmod(mount / "d", 0o777)
    assert as_user(NOBODY, removed_by, path, "d/a") == 0
    as_user(NOBODY, created_by, path, "create theirs 4k")
    assert as_user(DAEMON, removed_by, path, "theirs") == errno.EPERM
    assert as_user(NOBODY, removed_by, path, "theirs") == 0


def test_owner_and_umask_of_who_connects(mount):
    region = as_user(NOBODY, created_by, socket_of(mount), "create a 4k", umask=0o027)
    assert (region["uid"], region["gid"], region["mode"]) == (*NOBODY, "0640")
    st = os.stat(mount / "a")
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (*NOBODY, 0o640)


def make_writable(path, name):
    """Whether somebody who was given it for reading gets at the region for writing, and how."""
    with Client(path) as client, client.opened(f"open ro {name}") as fd:
        ways = []
        for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
            try:
                os.close(os.open(f"/proc/self/fd/{fd}", flags))
                ways.append(f"open {flags:o}")
            except PermissionError:
                pass
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDWR)
        for call in (
            lambda: os.write(fd, b"x"),
            lambda: os.ftruncate(fd, 0),
            lambda: os.fchmod(fd, 0o666),
            lambda: mmap.mmap(fd, 0),
            lambda: fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE),
        ):
            try:
                call()
                ways.append("a call on the descriptor")
            except OSError:
                pass
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [
            ctypes.c_long
        ]
        address = libc.mmap(None, PAGE, 1, 1, fd, 0)  # PROT_READ, MAP_SHARED
        if libc.mprotect(ctypes.c_void_p(address), PAGE, 3) == 0:
            ways.append("mprotect")
        return ways


def test_read_only_descriptors_stay_so(mount, client):
    """Of a region of root's, with every mode that lets another user read and not write."""
    for mode in (m for m in range(0o1000) if m & 4 and not m & 2):
        name = f"m{mode:03o}"
        os.close(client.ask_fd(f"create {name} 4k mode={mode:o}"))
        assert as_user(NOBODY, make_writable, socket_of(mount), name) == [], oct(mode)
        client.ask(f"remove {name}")


def seal_by_descriptor(path, name, seals):
    with Client(path) as client, client.opened(f"open rw {name}") as fd:
        try:
            fcntl.fcntl(fd, F_ADD_SEALS, seals)
        except OSError as error:
            return error.errno
        return 0


def test_nobody_adds_seals_by_a_descriptor(mount, client):
    path = socket_of(mount)
    os.close(client.ask_fd("create a 4k mode=0666"))
    assert as_user(NOBODY, seal_by_descriptor, path, "a", F_SEAL_WRITE) == errno.EPERM
    assert client.stat("a")["seals"] == ["shrink", "grow"]  # others may write to it
    as_user(NOBODY, created_by, path, "create b 4k mode=0600")
    assert as_user(NOBODY, seal_by_descriptor, path, "b", F_SEAL_WRITE) == errno.EPERM
    assert client.stat("b")["seals"] == []
    fails_with(errno.EPERM, client.ask, "seal b shrink")
    client.ask("seal b write")
    assert client.stat("b")["seals"] == ["write"]
    fails_with(errno.EPERM, os.open, mount / "b", os.O_RDWR)
    fails_with(errno.EPERM, client.ask, "open rw b")


def test_seals_are_on_the_descriptor(client):
    os.close(client.ask_fd("create a 4k fixed"))
    with client.opened("open ro a") as fd:
        assert fcntl.fcntl(fd, F_GET_SEALS) == F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW
    fails_with(errno.EPERM, client.ask, "resize a 8k")
    with client.opened("create b 4k ro") as fd:
        fails_with(errno.EBADF, os.write, fd, b"x")
        fails_with(errno.EBUSY, client.ask, "seal b write")
    client.ask("seal b shrink")
    client.ask("seal b write")
    fails_with(errno.EPERM, client.ask, "open rw b")
    with client.opened("open ro b") as fd:
        assert fcntl.fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE


IN_NAMESPACE = """
import sys
sys.path.insert(0, sys.argv[1])
from test_socket import through_mount, through_socket
print([through_socket(sys.argv[3], n, a) or 0 for n in sys.argv[4:] for a in ("ro", "rw")])
print([through_mount(sys.argv[2], n, a) or 0 for n in sys.argv[4:] for a in ("ro", "rw")])
"""


@pytest.mark.parametrize("user, map_root", [(NOBODY, True), (None, False), (None, True)])
def test_user_namespaces(mount, client, user, map_root):
    """Whoever is root in a namespace of its own has the rights of who it is outside."""
    names = ["of-root", "of-nobody", "of-daemon", "for-all"]
    for name, owner, mode in zip(names, ((0, 0), NOBODY, DAEMON, DAEMON), (600, 600, 600, 666)):
        os.close(client.ask_fd(f"create {name} 4k mode={mode}"))
        os.chown(mount / name, *owner)
    result = run(
        ["unshare", "--user", *(["--map-root-user"] if map_root else []), sys.executable, "-c",
         IN_NAMESPACE, tests_dir() / "integration", mount, socket_of(mount), *names],
        user=user,
        check=True,
    )
    by_socket, by_mount = result.stdout.splitlines()
    assert by_socket == by_mount


# Hostile clients


def is_served(mount):
    with Client(socket_of(mount)) as client:
        return client.ask("stat nothing")


def assert_served(mount):
    assert fails_with(errno.ENOENT, is_served, mount)


def test_lines_without_end(mount, client):
    try:
        for _ in range(160):
            client.socket.sendall(b"x" * 65536)
    except (BrokenPipeError, ConnectionResetError):
        pass
    fails_with(errno.E2BIG, client.answer)
    with pytest.raises((EOFError, ConnectionResetError)):
        client.receive()
    assert_served(mount)


def test_longest_line(client):
    line = "stat " + "/".join(["x" * 200] * 40)
    assert fails_with(errno.ENAMETOOLONG, client.ask, line + " " * (8191 - len(line)))
    assert client.list() == []


def test_noise(mount):
    noise = random.Random(1)
    for _ in range(30):
        with Client(socket_of(mount)) as one:
            try:
                one.socket.sendall(noise.randbytes(noise.randrange(1, 40000)))
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert_served(mount)
    with Client(socket_of(mount)) as one:
        assert one.list() == []


def test_one_who_never_reads(mount, client):
    os.close(client.ask_fd("create a 64k"))
    before = worker_fds(mount)
    with Client(socket_of(mount)) as deaf:
        deaf.socket.setblocking(False)
        try:
            while True:
                deaf.socket.send(b"open a\nlist\n" * 100)
        except BlockingIOError:
            pass
        assert client.stat("a")["size"] == 65536
        assert_served(mount)
        assert worker_fds(mount) < before + 20
    wait_for(lambda: worker_fds(mount) == before, "the descriptors of before")


def test_closing_in_the_middle_of_an_answer(mount, client):
    for number in range(200):
        os.close(client.ask_fd(f"create region-with-a-rather-long-name-{number:04d} 4k"))
    before = worker_fds(mount)
    for _ in range(20):
        with Client(socket_of(mount)) as one:
            one.socket.sendall(b"list\nlist\nopen region-with-a-rather-long-name-0001\n")
            one.socket.recv(100)
    wait_for(lambda: worker_fds(mount) == before, "the descriptors of before")


def test_caps_on_connections(mounts):
    mount = mounts("clients=3")
    path = socket_of(mount)
    clients = [Client(path) for _ in range(3)]
    for one in clients:
        one.list()
    with Client(path) as surplus:
        fails_with(errno.EUSERS, surplus.answer)
        with pytest.raises(EOFError):
            surplus.receive()
    assert as_user(NOBODY, through_socket, path, "none", "ro") == errno.ENOENT
    clients.pop().close()

    def welcome():
        with Client(path) as again:
            try:
                return again.list() == []
            except (OSError, EOFError):
                return False

    wait_for(welcome, "a place for another connection")
    for one in clients:
        one.close()


def test_caps_on_waits(mounts):
    mount = mounts("waits=2")
    path = socket_of(mount)
    clients = [Client(path) for _ in range(3)]
    for one in clients[:2]:
        one.send("wait none")
    # Connections are looked at in no order: ask until both waits have been seen.

    def third():
        try:
            clients[2].ask("wait none 0.01")
        except Refused as error:
            return error.errno == errno.EAGAIN

    wait_for(third, "a wait too many")
    for one in clients:
        one.close()


def test_caps_on_unfinished_lines(mounts):
    mount = mounts("unfinished=10000")
    path = socket_of(mount)
    clients = [Client(path) for _ in range(4)]
    for one in clients:
        one.socket.sendall(b"x" * 4000)

    def told():
        return select.select([one.socket for one in clients], [], [], 0)[0]

    # The third is one too many; when it has gone there is room for no more than one again.
    refused = wait_for(lambda: told() if len(told()) == 2 else None, "two refusals")
    for one in clients:
        if one.socket not in refused:
            one.send("")
            fails_with(errno.EINVAL, one.answer)
        else:
            fails_with(errno.ENOBUFS, one.answer)
        one.close()
    assert_served(mount)


def test_caps_on_unread_answers(mounts):
    mount = mounts("unread=100k")
    path = socket_of(mount)
    with Client(path) as client:
        for number in range(200):
            os.close(client.ask_fd(f"create region-with-a-rather-long-name-{number:04d} 4k"))
        assert len(client.list()) == 200
        # A list counts 16 KiB for as long as it is not read, however long it is.
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                deaf = stack.enter_context(Client(path))
                deaf.send("list")
                wait_for(lambda: deaf.socket.recv(1, socket.MSG_PEEK), "the start of the list")
            fails_with(errno.ENOBUFS, client.list)
            assert client.stat("region-with-a-rather-long-name-0001")["size"] == 4096

        def again():
            try:
                return client.list()
            except Refused:
                return None

        assert len(wait_for(again, "a list")) == 200


@pytest.mark.timeout(120)
def test_thousand_clients(mount):
    path = socket_of(mount)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = [Client(path) for _ in range(1000)]
    for number, one in enumerate(clients):
        one.send(f"create r{number} 4k")
    for one in clients:
        assert one.answer() == "4096"
        os.close(one.fds.pop())
    for number, one in enumerate(clients):
        one.send(f"wait late{number % 10}")
        if number == 200:
            break
    with Client(path) as creator:
        for number in range(10):
            os.close(creator.ask_fd(f"create late{number} 4k"))
    for one in clients[:201]:
        assert one.answer() == "4096"
    assert len(os.listdir(mount)) == 1010
    for one in clients:
        one.close()


# Deaths of the worker


def kill_worker(mount):
    pid = worker_pid(mount)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: worker_pid(mount) != pid, "another worker")


def test_connections_survive_the_worker(mount, client):
    os.close(client.ask_fd("create a 4k"))
    with Client(socket_of(mount)) as waiting, Client(socket_of(mount)) as half:
        waiting.send("wait b")
        half.socket.sendall(b"stat ")
        for _ in range(3):
            kill_worker(mount)
            assert client.stat("a")["size"] == 4096
            with client.opened("open rw a") as fd:
                assert os.fstat(fd).st_size == 4096
        half.socket.sendall(b"a\n")
        assert json.loads(half.answer())["size"] == 4096
        os.close(client.ask_fd("create b 8k"))
        assert waiting.answer() == "8192"


@pytest.mark.environment(IOMEMFS_TESTING="1")
@pytest.mark.timeout(240)
def test_every_command_is_done_once(mount, client):
    """The worker dies at each point of a command: it is done once, and answered."""
    crashes = 0
    for point in range(1, 400):
        restarts = mount.stats()["iomemfs_restarts_total"]
        mount.command("admin", f"crash {point}")
        for line in ("create a 4k", "resize a 8k", "remove a"):
            tag = f"@{point}.{line.split()[0]} "
            client.send(tag + line)
            answer = client.receive()
            while not answer.startswith(tag):
                answer = client.receive()  # sent again by a new worker
            assert answer.split(" ", 1)[1] in ("ok 4096", "ok 8192", "ok"), (point, answer)
            for fd in client.fds:
                os.close(fd)
            client.fds.clear()
        if mount.stats()["iomemfs_restarts_total"] == restarts:
            break
        crashes += 1
    mount.command("admin", "crash 0")
    assert crashes > 20


@pytest.mark.timeout(240)
def test_load_while_the_worker_is_killed(mount):
    """Creates and removals by several clients, each answered rightly, while workers die."""
    path = socket_of(mount)
    script = os.path.join(os.path.dirname(__file__), "socket_load.py")
    with_load = [
        subprocess.Popen([sys.executable, script, path, str(n)], stderr=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    for _ in range(20):
        kill_worker(mount)
    outcomes = [(process.communicate(timeout=6 * LIMIT)[1], process) for process in with_load]
    for errors, process in outcomes:
        assert process.returncode == 0, errors
    assert os.listdir(mount) == []


# The socket in the file system


def test_the_path(mounts):
    mount = mounts("")
    path = socket_of(mount)
    st = os.stat(path)
    assert stat.S_ISSOCK(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o666
    assert os.path.islink(mount.ctl / "socket")
    mount.unmount()
    mount.wait_end()
    assert not os.path.exists(path)
    mount.start()
    assert_served(mount)


@pytest.mark.parametrize("user", [None, DAEMON])
def test_default_path(mounts, user):
    """Under /run, or in the session's folder of an ordinary user, named after the mount point."""
    mount = mounts("", user=user, start=False)
    runtime = "/run" if user is None else str(mount.home)
    mount.argv[-1] = "size=1g"
    mount.environment["XDG_RUNTIME_DIR"] = runtime
    mount.start()
    name = str(mount.path)[1:].replace("-", "\\x2d").replace("/", "-")
    path = f"{runtime}/iomemfs/{name}.sock"
    assert as_user(user or (0, 0), os.readlink, mount.ctl / "socket") == path

    def ask():
        with Client(path) as client:
            return client.list()

    assert as_user(user or (0, 0), ask) == []
    mount.unmount()
    mount.wait_end()
    assert not os.path.exists(path)
    mount.start()


def test_what_a_dead_daemon_left_is_replaced(mounts, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    mount = mounts(f"socket={path}")
    assert socket_of(mount) == str(path)
    assert_served(mount)


def test_a_socket_in_use_is_not_taken(mounts, tmp_path):
    mount = mounts(f"socket={tmp_path}/socket")
    with pytest.raises(AssertionError, match="[Aa]ddress already in use"):
        mounts(f"socket={tmp_path}/socket")
    assert_served(mount)


def test_no_socket(mounts):
    mount = mounts("socket=none")
    assert not os.path.lexists(mount.ctl / "socket")


def test_peer_credentials_are_those_of_connect(mount, client):
    """A connection that is passed on keeps the rights of who made it."""
    os.close(client.ask_fd("create a 4k mode=0600"))
    credentials = client.socket.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    assert struct.unpack("3i", credentials)[1] == 0

    def passed_on():
        client.send("open rw a")
        return client.answer()

    assert as_user(NOBODY, passed_on) == "4096"


# Populated regions


def test_populated_regions(mount, client):
    with client.opened("create a 4m populate") as fd:
        assert os.fstat(fd).st_blocks * 512 == 4 * 1024 * 1024
    client.send("@p create b 2m huge")
    client.send("@l stat b")
    assert client.receive() == "@p ok 2097152"
    assert client.receive().startswith("@l ok ")
    fails_with(errno.EEXIST, client.ask, "create a 4m populate")
    fails_with(errno.ENOSPC, client.ask, "create c 900g populate")
    assert sorted(os.listdir(mount)) == ["a", "b"]


@pytest.mark.options("size=4g")
def test_others_are_answered_meanwhile(mount, client):
    client.send("create big 1g populate")
    with Client(socket_of(mount)) as other:
        for _ in range(20):
            assert isinstance(other.list(), list)
            assert not client.buffer
    assert client.answer() == str(1 << 30)


@pytest.mark.options("size=4g")
def test_one_who_hangs_up_gives_its_population_up(mount):
    with Client(socket_of(mount)) as one:
        one.send("create big 2g populate")
        wait_for(lambda: mount.stats()["iomemfs_used_bytes"] > 0, "the start")
    wait_for(lambda: mount.stats()["iomemfs_used_bytes"] == 0 or os.listdir(mount), "its end")


def test_populations_survive_the_worker(mount, client):
    client.send("create big 256m populate")
    kill_worker(mount)
    assert client.answer() == str(256 << 20)
    assert os.stat(mount / "big").st_blocks * 512 == 256 << 20
    assert mount.stats()["iomemfs_used_bytes"] == 256 << 20


# A daemon of an ordinary user


def test_daemon_of_an_ordinary_user(mounts):
    mount = mounts("", user=DAEMON)

    def act():
        with Client(socket_of(mount)) as client:
            for mode in ("0400", "0600", "0000"):
                with client.opened(f"create m{mode} 4k mode={mode}") as fd:
                    os.pwrite(fd, b"x", 0)
                    assert stat.S_IMODE(os.fstat(fd).st_mode) == int(mode, 8) & 0o555
            with client.opened("open rw m0600") as fd:
                assert os.pread(fd, 1, 0) == b"x"
            fails_with(errno.EACCES, client.ask, "open rw m0400")
            fails_with(errno.EACCES, client.ask, "open m0000")
            return len(client.list())

    assert as_user(DAEMON, act) == 3
