# SPDX-License-Identifier: MIT
"""Who made a region, as extended attributes; and set-user-id bits, which are then ours to take."""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import shutil
import stat

import pytest

import crash_load
from conftest import make_mount
from socket_client import Client, socket_of
from support import DAEMON, NOBODY, TmpfsMount, as_user, program, run, wait_for

PREFIX = "user.iomemfs."
VALUES = (
    "created", "creator_uid", "creator_pid", "creator_command", "refs", "writers", "flags",
    "seals", "huge",
)  # fmt: skip
LIBC = ctypes.CDLL(None, use_errno=True)


def attribute(path, name):
    return os.getxattr(path, PREFIX + name).decode()


def attributes(path):
    return {name: attribute(path, name) for name in VALUES}


def whole(path):
    return json.loads(os.getxattr(path, "user.iomemfs"))


def in_listing(mount, name):
    regions = json.loads((mount.ctl / "regions.json").read_text())["regions"]
    return next(region for region in regions if region["name"] == name)


def as_text(value):
    return ",".join(value) if isinstance(value, list) else str(value)


def error_of(function, *arguments):
    with pytest.raises(OSError) as caught:
        function(*arguments)
    return caught.value.errno


def requests(mount, *opcodes):
    stats = mount.stats()
    return sum(stats[f'iomemfs_requests_total{{opcode="{opcode}"}}'] for opcode in opcodes)


# Values


@pytest.mark.parametrize("words", [(), ("fixed",), ("ephemeral", "populate"), ("huge", "populate")])
def test_as_in_the_listing(mount, words):
    path = mount.create("frames", "64K", *words)
    listed = in_listing(mount, "frames")
    assert whole(path) == listed
    assert attributes(path) == {name: as_text(listed[name]) for name in VALUES}


def test_as_sealed(mount):
    path = mount.create("a", 4096)
    mount.command("seal", "a grow,write")
    assert attribute(path, "seals") == "grow,write"


def make_and_tell(path):
    with open(path, "w", encoding="ascii") as stream:
        stream.write("x")
    with open("/proc/self/comm", encoding="ascii") as stream:
        return str(os.getpid()), stream.read().strip()


def test_who_made_a_file(mount):
    pid, command = as_user(NOBODY, make_and_tell, mount / "a")
    os.chown(mount / "a", *DAEMON)
    assert attribute(mount / "a", "creator_uid") == str(NOBODY[0])
    assert attribute(mount / "a", "creator_pid") == pid
    assert attribute(mount / "a", "creator_command") == command
    born = run(["stat", "-c", "%W", mount / "a"], check=True).stdout.strip()
    made = run(["date", "-d", attribute(mount / "a", "created"), "+%s"], check=True).stdout.strip()
    assert born == made


def test_names(mount):
    """The object's name is one of the file's; none when it has none."""
    (mount / "d").mkdir()
    (mount / "d" / "a").touch()
    assert whole(mount / "d" / "a")["name"] == "a"
    os.rename(mount / "d" / "a", mount / "b c")
    assert whole(mount / "b c")["name"] == "b c"
    with open(mount / "b c", "rb") as stream:
        os.unlink(mount / "b c")
        assert whole(stream.fileno())["name"] == ""
        assert whole(stream.fileno())["links"] == 0


def test_references(mount):
    path = mount.create("a", 4096)
    assert (attribute(path, "refs"), attribute(path, "writers")) == ("0", "0")
    with open(path, "rb"), open(path, "r+b"):
        assert (attribute(path, "refs"), attribute(path, "writers")) == ("2", "1")
    wait_for(lambda: attribute(path, "refs") == "0", "the release of the files")


def test_no_name_of_several(mount):
    """One of them may be where the reader must not look."""
    path = mount.create("a", 4096)
    os.link(path, mount / "b")
    assert whole(path)["name"] == "" and whole(path)["links"] == 2
    os.unlink(mount / "b")
    assert whole(path)["name"] == "a"
    os.link(path, mount / "b")
    os.unlink(path)
    assert whole(mount / "b")["name"] == "b"


def test_through_descriptors_and_links(mount):
    path = mount.create("a", 4096)
    os.symlink("a", mount / "link")
    with open(path, "rb") as stream:
        assert whole(stream.fileno()) == whole(path) == whole(mount / "link")


@pytest.mark.may_leave_mount  # which is another daemon's by then
def test_after_the_worker(mount):
    daemon = crash_load.Daemon(mount)
    path = mount.create("a", 4096, "fixed")
    before = whole(path), attributes(path)
    daemon.kill_worker()
    assert (whole(path), attributes(path)) == before
    daemon.kill_keeper()
    assert (whole(path), attributes(path)) == before


# What is not there, and what is refused


def test_only_regions_have_them(mount):
    (mount / "d").mkdir()
    os.mkfifo(mount / "fifo")
    (mount / "a").touch()
    for path in (mount / "d", mount.path, mount.ctl, mount.ctl / "regions"):
        assert error_of(os.getxattr, path, "user.iomemfs") == errno.ENODATA
        assert error_of(attribute, path, "refs") == errno.ENODATA
    assert error_of(attribute, mount / "fifo", "refs") == errno.ENODATA  # as on any file system


def test_unknown_names(mount):
    (mount / "a").touch()
    for name in ("user.iomemfs.", "user.iomemfs.bogus", "user.iomemfsx", "user.x", "trusted.x",
                 "security.capability", "security.x", "system.posix_acl_access"):  # fmt: skip
        assert error_of(os.getxattr, mount / "a", name) == errno.ENODATA
    # So that ls asks no more.
    assert error_of(os.getxattr, mount / "a", "security.selinux") == errno.EOPNOTSUPP
    os.setxattr(mount / "a", "security.selinux", b"x")
    assert os.getxattr(mount / "a", "security.selinux") == b"x"


def test_refused(mount):
    (mount / "a").touch()
    (mount / "d").mkdir()
    for name in ("user.iomemfs", "user.iomemfs.refs", "user.iomemfs.bogus"):
        for path in (mount / "a", mount / "d"):
            assert error_of(os.setxattr, path, name, b"1") == errno.EPERM
            assert error_of(os.removexattr, path, name) == errno.EPERM
    for path in (mount.ctl, mount.ctl / "regions"):
        assert error_of(os.setxattr, path, "trusted.x", b"1") == errno.EOPNOTSUPP
        assert error_of(os.removexattr, path, "trusted.x") == errno.EOPNOTSUPP
        assert run(["setfacl", "-m", "u:1:rw", path]).returncode != 0


def getxattr(path, name, size):
    """The system call itself: what it returned, or a negative errno, and the buffer."""
    buffer = ctypes.create_string_buffer(b"~" * 64)
    n = LIBC.getxattr(os.fsencode(path), name.encode(), buffer if size else None, size)
    return (n if n >= 0 else -ctypes.get_errno()), buffer.raw


def test_small_buffers(mount):
    path = mount.create("a", 4096, "ephemeral")
    assert getxattr(path, "user.iomemfs.flags", 0)[0] == len("ephemeral")
    assert getxattr(path, "user.iomemfs.flags", 8)[0] == -errno.ERANGE
    length, buffer = getxattr(path, "user.iomemfs.flags", 9)
    assert (length, buffer[:10]) == (9, b"ephemeral~")
    assert getxattr(path, "user.iomemfs.seals", 1) == (0, b"~" * 64 + b"\0")


def test_not_listed(mount):
    (mount / "a").touch()
    (mount / "d").mkdir()
    os.symlink("a", mount / "link")
    for path in (mount / "a", mount / "d", mount / "link", mount.ctl, mount.ctl / "stats"):
        assert os.listxattr(path, follow_symlinks=False) == []


def fill(folder):
    (folder / "d").mkdir()
    (folder / "d" / "a").write_text("x")
    (folder / "b").write_text("y")
    os.symlink("b", folder / "link")
    os.mkfifo(folder / "fifo")


COPIES = {
    "cp -a": "cp -a {source}/. {target}",
    "cp --preserve=all": "cp -r --preserve=all {source}/. {target}",
    "cp --preserve=xattr": "cp -r --preserve=xattr {source}/. {target}",
    "mv": "mv {source}/d {source}/b {source}/link {source}/fifo {target}",
    "rsync": "rsync -aX --specials {source}/ {target}",
    "tar": "tar --xattrs -C {source} -cf {archive} . && tar --xattrs -C {target} -xf {archive}",
    "ls": "cp -a {source}/. {target} && ls -laR --color=always {source} >{archive}",
}


@pytest.mark.parametrize("way", ["in", "out", "between"])
@pytest.mark.parametrize("how", COPIES)
def test_copies_are_silent(mount, mode, how, way):
    """Nothing copies the attributes, and nothing complains that it cannot."""
    with contextlib.ExitStack() as stack:
        def other(there):
            made = make_mount(mode) if there else TmpfsMount()
            stack.callback(made.stop)
            return made

        source = other(False) if way == "in" else mount
        target = other(way == "between") if way != "in" else mount
        fill(source.path)
        (target / "to").mkdir()
        words = {"source": source, "target": target / "to", "archive": target / "archive"}
        for _ in range(2 if how == "rsync" else 1):
            result = run(["sh", "-c", COPIES[how].format(**words)])
            assert (result.returncode, result.stderr) == (0, "")
        assert sorted(os.listdir(target / "to")) == ["b", "d", "fifo", "link"]
        assert os.listxattr(target / "to" / "b") == []


def test_exec(mount):
    shutil.copy("/bin/echo", mount / "echo")
    assert run([mount / "echo", "yes"], check=True).stdout == "yes\n"


# What it costs


@pytest.mark.parametrize("how", ["command", "file"])
def test_writes_cost_no_requests(mount, mode, how):
    path = mount / "a"
    if how == "command":
        mount.create("a", "64K")
    data = b"x" * 4096
    every = ["GETXATTR", "SETATTR", "GETATTR", "LOOKUP", "STATX"]
    with open(path, "wb" if how == "file" else "r+b", buffering=0) as stream:
        fd = stream.fileno()
        looked = requests(mount, *every)
        looking = requests(mount, *every) - looked
        before = requests(mount, *every, "WRITE")
        for _ in range(1000):
            os.pwrite(fd, data, 0)
        extra = requests(mount, *every, "WRITE") - before - looking
    # And not even those through passthrough come here.
    assert extra <= 2 + (1000 if mode == "cached" else 0)


# Without


@pytest.mark.options("xattr=off")
def test_off(mount):
    (mount / "a").write_text("x")
    before = requests(mount, "GETXATTR", "SETXATTR", "LISTXATTR", "REMOVEXATTR")
    for _ in range(3):
        assert error_of(os.getxattr, mount / "a", "user.iomemfs") == errno.EOPNOTSUPP
        assert error_of(os.setxattr, mount / "a", "user.iomemfs", b"") == errno.EOPNOTSUPP
        assert error_of(os.removexattr, mount / "a", "user.iomemfs") == errno.EOPNOTSUPP
        assert error_of(os.listxattr, mount / "a") == errno.EOPNOTSUPP
    # Asked once at most, and told never to ask again.
    assert requests(mount, "GETXATTR", "SETXATTR", "LISTXATTR", "REMOVEXATTR") - before <= 4
    assert requests(mount, "GETXATTR") == 1


@pytest.mark.may_leave_mount
@pytest.mark.parametrize("option", ["on", "off"])
def test_for_the_life_of_the_mount(mounts, option):
    mount = mounts(f"xattr={option}")
    daemon = crash_load.Daemon(mount)
    (mount / "a").touch()

    def answered():
        try:
            return attribute(mount / "a", "refs") == "0"
        except OSError as error:
            assert error.errno == errno.EOPNOTSUPP
            return False

    assert answered() == (option == "on")
    other = {"on": "off", "off": "on"}[option]
    # Like all but the limits: mount(8) says all of fstab's options again.
    run([program(), mount.path, "-o", f"remount,xattr={other}"], check=True)
    daemon.kill_worker()
    assert answered() == (option == "on")
    daemon.kill_keeper()
    assert answered() == (option == "on")


def test_as_an_ordinary_user(mounts):
    mount = mounts("", user=NOBODY)
    as_user(NOBODY, make_and_tell, mount / "a")
    assert as_user(NOBODY, attribute, mount / "a", "creator_uid") == str(NOBODY[0])


# Set-user-id and set-group-id


def with_fd(change):
    def opened(path):
        with open(path, "r+b", buffering=0) as stream:
            change(stream.fileno())

    return opened


def write_by_splice(fd):
    reader, writer = os.pipe()
    os.write(writer, b"xxxx")
    os.splice(reader, fd, 4)
    os.close(reader)
    os.close(writer)


def write_directly(path):
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 4096) as page:
        os.pwritev(fd, [page], 0)
    os.close(fd)


def write_appending(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"x")
    os.close(fd)


CHANGES = {
    "write": with_fd(lambda fd: os.write(fd, b"x")),
    "pwrite": with_fd(lambda fd: os.pwrite(fd, b"x", 100)),
    "append": write_appending,
    "direct": write_directly,
    "splice": with_fd(write_by_splice),
    "truncate": lambda path: os.truncate(path, 10),
    "ftruncate": with_fd(lambda fd: os.ftruncate(fd, 10000)),
    "open": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
    "fallocate": with_fd(lambda fd: os.posix_fallocate(fd, 0, 8192)),
}


@pytest.fixture(scope="module", params=["on", "off"])
def changed_mount(request, mode):
    one = make_mount(mode, f"xattr={request.param}")
    yield one
    one.stop()


def permissions(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def make_setid(mount, name, mode):
    path = mount / name
    path.write_bytes(b"\0" * 4096)
    path.chmod(mode)
    assert permissions(path) == mode
    return path


@pytest.mark.parametrize("mode_bits", [0o6777, 0o4766, 0o2777])
@pytest.mark.parametrize("how", CHANGES)
def test_strangers_take_setid(changed_mount, how, mode_bits):
    path = make_setid(changed_mount, f"{how}-{mode_bits:o}", mode_bits)
    as_user(NOBODY, CHANGES[how], path)
    assert permissions(path) == mode_bits & 0o777
    # Again: what the kernel has learnt about the file must not outlive a chmod.
    path.chmod(mode_bits)
    as_user(NOBODY, CHANGES[how], path)
    assert permissions(path) == mode_bits & 0o777


@pytest.mark.parametrize("how", CHANGES)
def test_root_leaves_setid(changed_mount, how):
    path = make_setid(changed_mount, f"root-{how}", 0o6777)
    CHANGES[how](path)
    assert permissions(path) == 0o6777


@pytest.mark.parametrize("how", ["chown", "fchown"])
def test_chown_takes_setid(changed_mount, how):
    path = make_setid(changed_mount, f"{how}", 0o6777)
    if how == "chown":
        os.chown(path, *DAEMON)
    else:
        with open(path, "rb") as stream:
            os.fchown(stream.fileno(), *DAEMON)
    assert permissions(path) == 0o777


def test_strangers_cannot_chown_it_away(changed_mount):
    """chown(2) of nothing looks like the announcement of a write(2)."""
    path = make_setid(changed_mount, "kept", 0o6755)
    assert error_of(as_user, NOBODY, os.chown, path, -1, -1) == errno.EPERM
    assert permissions(path) == 0o6755


def test_setid_of_a_file_that_is_open(changed_mount):
    path = make_setid(changed_mount, "open-already", 0o777)
    with open(path, "r+b", buffering=0) as stream:
        def write():
            os.pwrite(stream.fileno(), b"x", 0)

        for _ in range(3):
            as_user(NOBODY, write)
        path.chmod(0o6777)
        as_user(NOBODY, write)
    assert permissions(path) == 0o777


def test_setid_in_a_new_worker(changed_mount):
    """What was taken stays taken, and is taken still."""
    daemon = crash_load.Daemon(changed_mount)
    path = make_setid(changed_mount, "restarted", 0o6777)
    with open(path, "r+b", buffering=0) as stream:
        daemon.kill_worker()
        as_user(NOBODY, lambda: os.pwrite(stream.fileno(), b"x", 0))
        daemon.kill_worker()
        assert permissions(path) == 0o777


def id_program(mount, name, mode):
    """A copy of id(1) as a region of exactly its size."""
    size = os.path.getsize("/usr/bin/id")
    path = mount.create(name, size, "mode=0777")
    with open("/usr/bin/id", "rb") as source, open(path, "r+b") as target:
        shutil.copyfileobj(source, target)
    path.chmod(mode)
    return path


def effective_user(path):
    result = run([path, "-u"], user=NOBODY, check=True)
    return int(result.stdout)


def write_same(fd):
    os.pwrite(fd, b"\x7fELF", 0)


def no_more_writers(path):
    """execve(2) refuses while the file is open for writing, and files close late."""
    def idle():
        regions = json.loads((path.parent / ".ctl" / "regions.json").read_text())["regions"]
        return all(r["writers"] == 0 for r in regions if r["name"] == path.name)

    wait_for(idle, "the release of the file")


@pytest.mark.parametrize("door", ["mount", "socket"])
def test_strangers_gain_nothing(changed_mount, door):
    """A set-user-id program that somebody else has written to runs as who starts it."""
    path = id_program(changed_mount, f"id-{door}", 0o4777)
    if door == "mount":
        no_more_writers(path)
        assert effective_user(path) == 0
        as_user(NOBODY, with_fd(write_same), path)
    else:
        line = f"open rw {path.name}"
        with Client(socket_of(changed_mount)) as client, client.opened(line) as fd:
            no_more_writers(path)
            assert effective_user(path) == 0
            as_user(NOBODY, write_same, fd)
            assert effective_user(path) == NOBODY[0]
    no_more_writers(path)
    assert effective_user(path) == NOBODY[0]
    assert permissions(path) == 0o777


def test_holders_take_setid(changed_mount):
    path = changed_mount.create("held", 4096, "mode=0777")
    with Client(socket_of(changed_mount)) as client, client.opened("open rw held") as fd:
        for mode_bits in (0o6777, 0o4777, 0o2777):
            path.chmod(mode_bits)
            os.pwrite(fd, b"x", 0)  # root's leaves it
            assert permissions(path) == mode_bits
            as_user(NOBODY, os.pwrite, fd, b"x", 0)
            assert permissions(path) == 0o777
            listing = json.loads((changed_mount.ctl / "regions.json").read_text())["regions"]
            assert [r["mode"] for r in listing if r["name"] == "held"] == ["0777"]
