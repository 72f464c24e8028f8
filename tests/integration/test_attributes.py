# SPDX-License-Identifier: MIT
"""Extended attributes and access lists: with the programs that use them, by the doors that the
kernel does not guard, and their bounds.  What tmpfs has as well is in posix_xattr.py.
"""

import contextlib
import errno
import os
import shutil
import stat

import pytest

import crash_load
import socket_client
from conftest import make_mount
from support import DAEMON, NOBODY, TmpfsMount, as_user, fails_with, run

CAP = "cap_net_bind_service=ep"
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


@pytest.fixture(autouse=True)
def own_umask():
    """A test may set it; the next one has the usual one again."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def setfacl(path, *options):
    run(["setfacl", *options, path], check=True)


def fill(folder):
    """A tree with everything that a backup must bring back."""
    (folder / "d" / "e").mkdir(parents=True)
    for name in ("a", "d/b", "d/e/c"):
        (folder / name).write_text(name)
        os.setxattr(folder / name, "user.of", name.encode() * 100)
        os.setxattr(folder / name, "trusted.t", b"only root")
    os.setxattr(folder / "d", "user.none", b"")
    setfacl(folder / "d", "-m", "u:65530:rwx,g:7:r,d:u:1:rw,d:m::r")
    setfacl(folder / "a", "-m", "u:1:rwx,m::r")
    setfacl(folder / "d" / "e" / "c", "-m", "g:65531:w")
    os.link(folder / "a", folder / "d" / "second")
    os.symlink("a", folder / "link")
    os.setxattr(folder / "link", "trusted.link", b"of the link", follow_symlinks=False)
    os.chmod(folder / "d" / "b", 0o4751)
    run(["setcap", CAP, folder / "d" / "b"], check=True)
    for name in ("a", "d/b", "d/e/c", "link", "d", "d/e"):
        os.utime(folder / name, (1e9, 1e9), follow_symlinks=False)


def inside(folder):
    """All that must be equal."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(root, name)
            st = os.lstat(path)
            found[os.path.relpath(path, folder)] = (
                stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_nlink,
                st.st_mtime_ns, None if stat.S_ISDIR(st.st_mode) else st.st_size,
                sorted((n, os.getxattr(path, n, follow_symlinks=False))
                       for n in os.listxattr(path, follow_symlinks=False)),
            )  # fmt: skip
    return found


COPIES = {
    "cp": "cp -r --preserve=all {source}/. {target}",
    "mv": "mv {source}/d {source}/a {source}/link {target}",
    "rsync": "rsync -aHAX {source}/ {target}",
    "rsync_twice": "rsync -aHAX {source}/ {target} && rsync -aHAXc --delete {source}/ {target}",
    "tar": "tar --xattrs --xattrs-include='*' --acls -C {source} -cf {archive} . && "
           "tar --xattrs --xattrs-include='*' --acls -C {target} -xpf {archive}",
}  # fmt: skip


@pytest.mark.parametrize("way", ["in", "out", "between"])
@pytest.mark.parametrize("how", COPIES)
def test_there_and_back(mount, mode, how, way):
    with contextlib.ExitStack() as stack:
        def other(ours):
            made = make_mount(mode) if ours else TmpfsMount()
            stack.callback(made.stop)
            return made

        source = other(False) if way == "in" else mount
        target = other(way == "between") if way != "in" else mount
        (source / "from").mkdir()
        (target / "to").mkdir()
        fill(source / "from")
        before = inside(source / "from")
        words = {"source": source / "from", "target": target / "to", "archive": target / "archive"}
        result = run(["sh", "-c", COPIES[how].format(**words)])
        assert (result.returncode, result.stderr) == (0, "")
        assert inside(target / "to") == before


def test_restored_lists(mount, tmp_path):
    fill(mount.path)
    before = inside(mount.path)
    dump = run(["getfacl", "-R", "."], check=True, cwd=mount.path).stdout
    (tmp_path / "dump").write_text(dump)
    run(["setfacl", "-R", "-b", mount.path], check=True)
    run(["chmod", "-R", "700", mount / "d"], check=True)
    assert inside(mount.path) != before
    run(["setfacl", f"--restore={tmp_path}/dump"], check=True, cwd=mount.path)
    run(["setcap", CAP, mount / "d" / "b"], check=True)  # chown(2) has taken it
    os.chmod(mount / "d" / "b", 0o4751)
    for name in ("a", "d/b", "d/e/c", "link", "d", "d/e"):
        os.utime(mount / name, (1e9, 1e9), follow_symlinks=False)
    assert inside(mount.path) == before


# Capabilities


def test_capabilities_are_given(mount):
    """To whoever executes the file, until somebody writes to it."""
    shutil.copy("/bin/cat", mount / "cat")

    def effective():
        lines = run([mount / "cat", "/proc/self/status"], user=NOBODY, check=True).stdout
        return int(next(line for line in lines.splitlines() if line.startswith("CapEff")).split()[1], 16)

    os.chmod(mount / "cat", 0o755)
    run(["setcap", CAP, mount / "cat"], check=True)
    assert "cap_net_bind_service" in run(["getcap", mount / "cat"], check=True).stdout
    assert effective() == 1 << 10
    with open(mount / "cat", "ab", buffering=0) as stream:
        stream.write(b"x")
    assert effective() == 0


def test_capabilities_go_with_a_descriptor(mount):
    """Writes through it would not take them."""
    path = mount.create("r", 4096, "mode=0777")
    run(["setcap", CAP, path], check=True)
    with socket_client.Client(socket_client.socket_of(mount)) as client:
        os.close(client.ask_fd("open ro r"))
        assert os.listxattr(path) == ["security.capability"]
        os.close(client.ask_fd("open rw r"))
    assert os.listxattr(path) == []


# The doors that the kernel does not guard


@pytest.mark.parametrize("entry", ["u:65534:rw", "u:65534:r", "u:65534:-", "g:65534:rw", "m::r,u:65534:rw"])
def test_socket_honours_lists(mount, entry):
    path = mount.create("r", 4096, "mode=0600")
    setfacl(path, "-m", entry)

    def ask(mode):
        with socket_client.Client(mount.home / "socket") as client:
            try:
                os.close(client.ask_fd(f"open {mode} r"))
            except socket_client.Refused:
                return False
            return True

    def may(flags):
        try:
            os.close(os.open(path, flags))
        except PermissionError:
            return False
        return True

    os.chmod(mount.home / "socket", 0o666)
    for flags, word in ((os.O_RDONLY, "ro"), (os.O_RDWR, "rw")):
        assert as_user(NOBODY, ask, word) == as_user(NOBODY, may, flags)


@pytest.mark.parametrize("entry", ["u:65534:rwx", "u:65534:rx", "u:65534:-", "g:65534:wx"])
def test_commands_honour_lists(mount, entry):
    (mount / "d").mkdir(0o700)
    path = mount.create("d/r", 4096, "mode=0666")
    setfacl(mount / "d", "-m", entry)

    def attempts():
        done = []
        for call in (
            lambda: os.close(os.open(mount / "d" / "new", os.O_CREAT | os.O_WRONLY)),
            lambda: os.listdir(mount / "d"),
            lambda: os.truncate(path, 8192),
            lambda: os.unlink(path),
        ):
            try:
                call()
                done.append(True)
            except PermissionError:
                done.append(False)
        return done

    def commands():
        done = []
        for file, line in (("create", "d/new 1"), ("resize", "d/r 8k"), ("remove", "d/r")):
            try:
                mount.command(file, line)
                done.append(True)
            except PermissionError:
                done.append(False)
        listed = "d/r" in (mount.ctl / "regions").read_text()
        return [done[0], listed, *done[1:]]

    expected = as_user(NOBODY, attempts)
    for name in ("new", "r"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(mount / "d" / name)
    mount.create("d/r", 4096, "mode=0666")
    found = as_user(NOBODY, commands)
    if found[3]:  # it was removed: it was listed before
        assert expected[3]
    assert [found[0], *found[2:]] == [expected[0], *expected[2:]]


@pytest.mark.parametrize("entry, told", [("u:65534:rx", True), ("u:65534:-", False), ("u:1:rx", False)])
def test_events_honour_lists(mount, entry, told):
    (mount / "d").mkdir(0o750)
    setfacl(mount / "d", "-m", entry)
    os.chmod(mount / "d", 0o755 if not told and "65534" in entry else 0o750)

    def read():
        fd = os.open(mount.ctl / "events", os.O_RDONLY | os.O_NONBLOCK)
        os.write(writer, b"x")
        os.read(done[0], 1)
        lines = b""
        with contextlib.suppress(BlockingIOError):
            lines = os.read(fd, 65536)
        os.close(fd)
        return b"create d/r" in lines

    reader, writer = os.pipe()
    done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.read(reader, 1)
            mount.create("d/r", 4096)
            os.write(done[1], b"x")
        finally:
            os._exit(0)
    assert as_user(NOBODY, read) == told
    os.waitpid(pid, 0)
    for fd in (reader, writer, *done):
        os.close(fd)


def test_commands_inherit(mount):
    """A region by command gets the default list, as a file does."""
    (mount / "d").mkdir()
    setfacl(mount / "d", "-m", "d:u:1:rw,d:o::-")
    os.umask(0o022)
    mount.create("d/r", 4096)
    mount.create("d/s", 4096, "mode=0640")
    (mount / "d" / "f").touch()
    os.close(os.open(mount / "d" / "g", os.O_CREAT, 0o640))
    assert inside_of(mount / "d" / "r") == inside_of(mount / "d" / "f")
    assert inside_of(mount / "d" / "s") == inside_of(mount / "d" / "g")


def inside_of(path):
    return stat.filemode(os.stat(path).st_mode), [os.getxattr(path, n) for n in os.listxattr(path)]


def test_defaults_take_away(mount):
    """`default mode=` and a default list: both hold."""
    (mount / "d").mkdir()
    setfacl(mount / "d", "-m", "d:u:1:rw")
    (mount / "d" / ".ctl" / "default").write_text("mode=0600\n")
    os.close(os.open(mount / "d" / "f", os.O_CREAT, 0o666))
    assert stat.filemode(os.stat(mount / "d" / "f").st_mode) == "-rw-------"
    fails_with(errno.EACCES, as_user, DAEMON, os.open, mount / "d" / "f", os.O_RDONLY)


# Bounds, deaths, options


def test_bounds_of_a_file(mount):
    (mount / "a").touch()
    (mount / "b").touch()
    for i in range(1024):
        os.setxattr(mount / "a", f"user.{i}", b"")
    fails_with(errno.ENOSPC, os.setxattr, mount / "a", "user.more", b"")
    os.setxattr(mount / "a", "user.5", b"changed")
    for i in range(31):
        os.setxattr(mount / "b", f"user.{i}", b"x" * 65536)
    fails_with(errno.ENOSPC, os.setxattr, mount / "b", "user.more", b"x" * 65536)
    os.unlink(mount / "a")
    os.unlink(mount / "b")
    (mount / "c").touch()
    os.setxattr(mount / "c", "user.a", b"x" * 65536)


@pytest.mark.options("nr_inodes=100")
def test_bound_of_all(mount):
    (mount / "a").touch()
    os.setxattr(mount / "a", "user.a", b"x" * 65000)
    fails_with(errno.ENOSPC, os.setxattr, mount / "a", "user.b", b"x" * 65000)
    assert os.statvfs(mount).f_ffree == 100 - 2 - 64
    os.unlink(mount / "a")


@pytest.mark.may_leave_mount
def test_after_the_worker(mount):
    daemon = crash_load.Daemon(mount)
    fill(mount.path)
    before = inside(mount.path)
    daemon.kill_worker()
    assert inside(mount.path) == before
    daemon.kill_keeper()
    assert inside(mount.path) == before


@pytest.mark.options("acl=off")
def test_without_lists(mount):
    (mount / "a").touch()
    result = run(["setfacl", "-m", "u:1:rw", mount / "a"])
    assert result.returncode != 0 and "not supported" in result.stderr
    os.setxattr(mount / "a", "user.a", b"x")
    assert os.listxattr(mount / "a") == ["user.a"]
    os.umask(0o027)
    os.close(os.open(mount / "b", os.O_CREAT, 0o666))
    assert stat.filemode(os.stat(mount / "b").st_mode) == "-rw-r-----"


def test_masked_by_the_umask_of_the_maker(mount):
    made = {}
    for mask in (0, 0o022, 0o077):
        name = f"m{mask:o}"
        as_user(NOBODY, make_as, mount, name, umask=mask)
        made[mask] = [stat.S_IMODE(os.stat(mount / name / kind).st_mode) for kind in "fd"]
    assert made == {mask: [0o666 & ~mask, 0o777 & ~mask] for mask in made}


def make_as(mount, name):
    os.mkdir(mount / name)
    os.close(os.open(mount / name / "f", os.O_CREAT, 0o666))
    os.mkdir(mount / name / "d")


# What it costs


def asked(mount, function, user=None):
    """The GETXATTRs that come of it."""
    name = 'iomemfs_requests_total{opcode="GETXATTR"}'
    before = mount.stats()[name]
    if user:
        as_user(user, function)
    else:
        function()
    return mount.stats()[name] - before


@pytest.mark.parametrize("options, walks", [("", 100), ("acl=off", 0), ("mode=0705", 0)])
def test_price_of_a_path(mounts, options, walks):
    """The kernel keeps the list of no root directory: each path of another user costs a request."""
    mount = mounts(options)
    (mount / "d").mkdir(0o755)
    (mount / "d" / "f").touch()

    def look():
        for _ in range(100):
            os.stat(mount / "d" / "f")

    look()
    assert asked(mount, look) <= 4
    as_user(NOBODY, look)
    assert walks <= asked(mount, look, NOBODY) <= walks + 4


def test_price_of_an_archive(mount, tmp_path):
    """Extracting it costs no more than it does without lists."""
    for i in range(50):
        (tmp_path / f"f{i}").write_text("x")
    run(["tar", "-C", tmp_path, "-cf", tmp_path / "archive.tar", "."], check=True)
    extract = ["tar", "-C", mount, "--exclude=archive.tar", "-xf", tmp_path / "archive.tar"]
    assert asked(mount, lambda: run(extract, check=True)) <= 2 * 50 + 6
