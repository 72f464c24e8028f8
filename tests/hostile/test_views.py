# SPDX-License-Identifier: MIT
"""Views of a directory, as containers get them: read-only, noexec, nosuid, nodev bind mounts.

They hold for whatever is done through files, control files included.  The socket is no file of a view:
it has its own rights.
"""

import contextlib
import errno
import mmap
import os
import shutil
import stat

import pytest

import support
from socket_client import Client, Refused, socket_of

PAGE = 4096
ROOT = (0, 0)
COMMANDS = {
    "create": b"planted 4096\n",
    "resize": b"region 8192\n",
    "seal": b"region grow\n",
    "remove": b"region\n",
    "default": b"ephemeral\n",
}

pytestmark = pytest.mark.options("mode=1777")


class View:
    """A bind mount of a directory of the mount, with these flags."""

    def __init__(self, mount, name, flags):
        self.source = mount / name
        self.path = support.scratch_directory()
        self.flags = flags

    def __enter__(self):
        support.run(["mount", "--bind", self.source, self.path], check=True)
        support.run(["mount", "-o", f"remount,bind,{self.flags}", self.path], check=True)
        return self.path

    def __exit__(self, *_):
        support.run(["umount", "-l", self.path], check=True)
        os.rmdir(self.path)


@pytest.fixture
def folder(mount):
    """A directory with a region that everybody may write to, and a file."""
    path = mount / "d"
    path.mkdir()
    path.chmod(0o777)
    mount.create("d/region", PAGE, "mode=0666")
    (path / "file").write_bytes(b"whole")
    (path / "file").chmod(0o666)
    return path


def state(folder):
    return {
        "names": sorted(os.listdir(folder)),
        "size": os.stat(folder / "region").st_size,
        "mode": os.stat(folder / "region").st_mode,
        "bytes": (folder / "region").read_bytes(),
        "default": (folder / ".ctl/default").read_text(),
        "file": (folder / "file").read_bytes(),
    }


def try_changes(path):
    """Every way to change something; (name, error) of each."""

    def command(file, line, flags):
        fd = os.open(path / ".ctl" / file, os.O_WRONLY | flags)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)

    attempts = {
        "open": lambda: os.open(path / "region", os.O_RDWR),
        "make": lambda: os.open(path / "new", os.O_CREAT | os.O_RDWR),
        "unnamed": lambda: os.open(path, os.O_TMPFILE | os.O_RDWR),
        "truncate": lambda: os.truncate(path / "region", 0),
        "unlink": lambda: os.unlink(path / "file"),
        "rename": lambda: os.rename(path / "file", path / "other"),
        "link": lambda: os.link(path / "file", path / "other"),
        "symlink": lambda: os.symlink("x", path / "other"),
        "mkdir": lambda: os.mkdir(path / "other"),
        "chmod": lambda: os.chmod(path / "region", 0o600),
        "utime": lambda: os.utime(path / "region", (0, 0)),
        "xattr": lambda: os.setxattr(path / "region", "user.x", b"x"),
    }
    for file, line in COMMANDS.items():
        for flags in (0, os.O_APPEND, os.O_TRUNC, os.O_CREAT):
            attempts[f"{file} {flags:o}"] = lambda f=file, t=line, g=flags: command(f, t, g)
    outcomes = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            outcomes[name] = 0
        except OSError as error:
            outcomes[name] = error.errno
    return outcomes


@pytest.mark.parametrize("user", [ROOT, support.NOBODY])
def test_read_only(mount, folder, user):
    before = state(folder)
    with View(mount, "d", "ro") as path:
        outcomes = support.as_user(user, try_changes, path)
        assert {name: code for name, code in outcomes.items() if code != errno.EROFS} == {}
        # What only reads goes on.
        assert "region" in (path / ".ctl/regions").read_text()
        with open(path / "region", "rb") as stream:
            with mmap.mmap(stream.fileno(), PAGE, prot=mmap.PROT_READ) as memory:
                assert memory[:] == bytes(PAGE)
            with pytest.raises(PermissionError):
                mmap.mmap(stream.fileno(), PAGE)
        with open(path / ".ctl/events", "rb", buffering=0) as events:
            mount.create("d/seen", PAGE)
            assert b" create seen " in os.read(events.fileno(), 4096)
        mount.command("remove", "d/seen")
    assert state(folder) == before


def test_a_descriptor_of_another_view_is_that_view_s(mount, folder):
    """A descriptor opened for writing elsewhere does not open the view again for writing."""
    with View(mount, "d", "ro") as path:
        fd = os.open(path / "region", os.O_RDONLY)
        try:
            support.fails_with(errno.EROFS, os.open, f"/proc/self/fd/{fd}", os.O_RDWR)
        finally:
            os.close(fd)
        folder_fd = os.open(path, os.O_PATH)
        try:
            again = f"/proc/self/fd/{folder_fd}/.ctl/create"
            support.fails_with(errno.EROFS, os.open, again, os.O_WRONLY)
        finally:
            os.close(folder_fd)


def test_what_is_above_cannot_be_named(mount, folder):
    """Neither by names nor by control files."""
    (mount / "secret").write_text("of others")
    mount.create("other", PAGE, "mode=0666")
    with View(mount, "d", "rw") as path:
        names = ("../other", "/other", "x/../../other", f"{mount.path}/other", "../d/region")
        for name in names:
            for file, rest in (("create", " 4096"), ("resize", " 8192"), ("remove", "")):
                fd = os.open(path / ".ctl" / file, os.O_WRONLY)
                with contextlib.closing(os.fdopen(fd, "wb", buffering=0)) as stream:
                    support.fails_with(errno.EINVAL, stream.write, f"{name}{rest}\n".encode())
        os.symlink("..", path / "up")
        fd = os.open(path / ".ctl/remove", os.O_WRONLY)
        support.fails_with(errno.ELOOP, os.write, fd, b"up/other\n")
        os.close(fd)
        for listing in ("regions", "regions.json", "stats"):
            assert "other" not in (path / ".ctl" / listing).read_text().replace("others", "")
        assert not (path / ".ctl/admin").exists()
    assert os.stat(mount / "other").st_size == PAGE
    del folder


@pytest.fixture
def program(folder):
    """A program of root's that is set-user-id."""
    path = folder / "program"
    shutil.copy("/usr/bin/id", path)
    path.chmod(0o4755)
    return path.name


def effective_user(path):
    result = support.run([path, "-u"], user=support.NOBODY)
    return result.stdout.strip()


def test_nosuid(mount, program):
    with View(mount, "d", "suid") as path:
        assert effective_user(path / program) == "0"
    with View(mount, "d", "nosuid") as path:
        assert effective_user(path / program) == str(support.NOBODY[0])
        # Nor by what a command makes: it gives no such bits.
        fd = os.open(path / ".ctl/create", os.O_WRONLY)
        support.fails_with(errno.EINVAL, os.write, fd, b"suid 4096 mode=4755\n")
        os.close(fd)


def test_noexec(mount, program):
    with View(mount, "d", "noexec") as path:
        with pytest.raises(PermissionError):
            support.run([path / program])
        for name, flags in ((program, os.O_RDONLY), ("region", os.O_RDWR)):
            fd = os.open(path / name, flags)
            try:
                with pytest.raises(PermissionError):
                    mmap.mmap(fd, PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
                with mmap.mmap(fd, PAGE, prot=mmap.PROT_READ) as memory:
                    assert len(memory) == PAGE
            finally:
                os.close(fd)
    with View(mount, "d", "exec") as path:
        assert support.run([path / program, "-u"], check=True).stdout == "0\n"


def test_nodev(mount, folder):
    os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (folder / "null").chmod(0o666)
    with View(mount, "d", "dev") as path:
        os.close(os.open(path / "null", os.O_RDWR))
    with View(mount, "d", "nodev") as path:
        support.fails_with(errno.EACCES, os.open, path / "null", os.O_RDWR)


def test_the_socket_has_its_own_rights(mount, folder):
    """Through which view a client came, the kernel does not say: the manual warns."""
    with View(mount, "d", "ro"):
        with Client(socket_of(mount)) as client:
            with client.opened("open rw d/region") as fd:
                os.pwrite(fd, b"changed", 0)
            with pytest.raises(Refused):
                client.ask("open rw ../d/region")
    assert (folder / "region").read_bytes()[:7] == b"changed"
