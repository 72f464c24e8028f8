# SPDX-License-Identifier: MIT
"""Much of everything at once: nothing that a user can pile up costs a worker, or the mount."""

import os
import resource
import signal

import pytest

import crash_load
import support
from socket_client import Client, socket_of

LINKS = int(os.environ.get("IOMEMFS_MANY", "100000"))
# Each region is a descriptor; the daemon keeps some, and connections a quarter.
REGIONS = min(LINKS, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2)
NAME_MAX, PATH_MAX = 255, 4096

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def restarts(mount):
    return mount.stats()["iomemfs_restarts_total"]


def used(mount):
    return mount.stats()["iomemfs_used_bytes"]


def is_empty(mount):
    return not any(True for _ in os.scandir(mount.path))


def await_empty(mount):
    support.wait_for(lambda: is_empty(mount), "no names any more", 600)
    support.wait_for(lambda: used(mount) == 0, "nothing in use any more", 60)


def link_often(mount, name, count, per_folder=10000):
    """So many more names for a file."""
    for first in range(0, count, per_folder):
        folder = mount / f"folder{first}"
        folder.mkdir()
        for i in range(first, min(first + per_folder, count)):
            os.link(mount / name, folder / f"link{i}")


def names_below(mount):
    return sum(len(files) for root, _, files in os.walk(mount.path) if not root.endswith(".ctl"))


@pytest.mark.options("size=64m,mode=1777")
def test_an_ephemeral_region_with_many_names(mount):
    """All of them go with its last reference, one transaction each."""
    with Client(socket_of(mount)) as client:
        with client.opened("create e 4096 ephemeral"):
            link_often(mount, "e", LINKS)
            assert os.lstat(mount / "e").st_nlink == LINKS + 1
        (mount / "other").write_text("the mount answers while they go")
    support.wait_for(lambda: names_below(mount) == 1, "no names any more", 600)
    assert (mount / "other").read_text() == "the mount answers while they go"
    os.unlink(mount / "other")
    support.wait_for(lambda: used(mount) == 0, "nothing in use any more", 60)
    assert restarts(mount) == 0


@pytest.mark.options("size=0,mode=1777")
def test_many_ephemeral_regions_whose_holder_ends_while_no_worker_runs(mount):
    """The next worker serves first, and then takes their names in pieces."""
    path = socket_of(mount)
    ready, told = os.pipe()
    holder = os.fork()
    if holder == 0:
        try:
            with Client(path) as client:
                for i in range(REGIONS):
                    client.ask(f"create e{i} 4096 ephemeral")
            os.write(told, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    assert os.read(ready, 1) == b"1"
    os.close(ready)
    daemon = crash_load.Daemon(mount)
    os.kill(daemon.keeper, signal.SIGSTOP)
    try:
        os.kill(daemon.worker(), signal.SIGKILL)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    finally:
        os.kill(daemon.keeper, signal.SIGCONT)
    await_empty(mount)
    assert restarts(mount) == 1


@pytest.mark.options("size=0,mode=1777,grace=1")
def test_many_regions_that_nobody_ever_opened(mount):
    """Their grace ends for all of them at about the same time."""
    for first in range(0, REGIONS, 1000):
        lines = [f"e{i} 4096 ephemeral\n" for i in range(first, min(first + 1000, REGIONS))]
        fd = os.open(mount.ctl / "create", os.O_WRONLY)
        os.write(fd, "".join(lines).encode())
        os.close(fd)
    await_empty(mount)
    assert restarts(mount) == 0


@pytest.mark.options("size=64m,mode=1777")
def test_the_last_close_of_a_region_with_many_names(mount):
    """By RELEASE, which cannot be refused."""
    (mount / ".ctl" / "create").write_text("e 4096 ephemeral\n")
    fd = os.open(mount / "e", os.O_RDWR)
    link_often(mount, "e", LINKS // 4)
    os.close(fd)
    support.wait_for(lambda: names_below(mount) == 0, "no names any more", 600)
    support.wait_for(lambda: used(mount) == 0, "nothing in use any more", 60)
    assert restarts(mount) == 0


@pytest.mark.options("size=64m,mode=1777")
def test_many_removals_of_long_names_in_one_write(mount):
    """As many as a write takes: 64 KiB of lines, of paths of 4,095 bytes and of short ones."""
    depth = PATH_MAX // (NAME_MAX + 1)
    folder = "/".join(["d" * NAME_MAX] * (depth - 1))
    fd = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folder.split("/"):
            os.mkdir(part, dir_fd=fd)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        lines = []
        for i in range(15):
            name = f"{i:0{NAME_MAX}}"
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            lines.append(f"{folder}/{name}\n")
            assert len(lines[-1]) == PATH_MAX
        (mount / ".ctl" / "remove").write_text("".join(lines))
        assert os.listdir(fd) == []
    finally:
        os.close(fd)
    names = [f"s{i}" for i in range(1000)]
    for name in names:
        (mount / name).touch()
    (mount / ".ctl" / "remove").write_text("".join(f"{name}\n" for name in names))
    assert len(os.listdir(mount.path)) == 1
    assert restarts(mount) == 0


@pytest.mark.options("size=0,mode=1777")
def test_df_after_many_files_were_written(mount):
    """What they have grown by is taken in in pieces."""
    for i in range(REGIONS):
        (mount / f"f{i}").write_bytes(b"x")
    space = os.statvfs(mount.path)
    assert space.f_files == 0 or space.f_ffree > 0
    assert used(mount) == REGIONS * 4096
    assert restarts(mount) == 0
