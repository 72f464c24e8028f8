# SPDX-License-Identifier: MIT
"""The mount that a daemon takes down at its end is its own, whatever is mounted there by now."""

import os
import signal
import subprocess

import pytest

import support

pytestmark = pytest.mark.may_leave_mount


class Namespace:
    """A process in a mount namespace of its own, a copy of ours, that outlives our unmounts."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.process.stdout.readline()

    def __enter__(self):
        return self

    def run(self, *argv):
        return support.run(["nsenter", "--mount", "-t", self.process.pid, "--", *argv], check=True)

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def terminate(mount):
    """SIGTERM to the daemon, and its end."""
    os.kill(mount.process.pid, signal.SIGTERM)
    mount.process.wait(support.LIMIT)
    mount.wait_end()


@pytest.fixture
def held(mount):
    """The mount, which lives in another namespace only: here it was unmounted."""
    with Namespace() as namespace:
        support.run(["umount", mount], check=True)
        assert mount.process.poll() is None
        mount.namespace = namespace
        yield mount


def test_a_mount_of_tmpfs_over_its_path_stays(held):
    support.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", held], check=True)
    try:
        (held / "file").write_text("of somebody else")
        terminate(held)
        assert (held / "file").read_text() == "of somebody else"
        assert "nothing is unmounted" in held.log()
    finally:
        support.run(["umount", "-l", held])


def test_another_iomemfs_at_its_path_stays(held, mounts):
    other = mounts(directory=held.path)
    (other / "file").write_text("of somebody else")
    terminate(held)
    assert (other / "file").read_text() == "of somebody else"
    assert other.is_mounted()
    other.unmount()


def test_a_mount_on_top_of_it_stays(mount):
    support.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], check=True)
    (mount / "file").write_text("of somebody else")
    terminate(mount)
    assert (mount / "file").read_text() == "of somebody else"
    support.run(["umount", "-l", mount], check=True)
    support.run(["umount", "-l", mount], check=True)


@pytest.mark.parametrize("mounted_here", [True, False])
def test_its_own_is_taken_down(mount, mounted_here):
    if not mounted_here:
        support.run(["umount", "-l", mount], check=True)
    else:
        terminate(mount)
    mount.wait_end()
    assert not mount.is_mounted()


def test_a_user_s_own_is_taken_down(mounts):
    mount = mounts(user=support.NOBODY)
    terminate(mount)
    assert not mount.is_mounted()


def test_a_user_s_daemon_leaves_what_is_not_its(mounts):
    """fusermount3 would take down any mount of the same user."""
    mount = mounts(user=support.NOBODY)
    with Namespace():
        mount.unmount()
        other = mounts(user=support.NOBODY, directory=mount.path)
        terminate(mount)
        assert other.is_mounted()
        other.unmount()


@pytest.mark.modes("passthrough")
@pytest.mark.parametrize("arguments", [["--upgrade"], ["-o", "remount,size=1m"]])
def test_no_link_of_a_stranger_is_followed(mode, arguments):
    """A directory that looks like a mount, whose .ctl/admin leads to a file of root's."""
    del mode
    folder = support.scratch_directory()
    try:
        (folder / "of-root").write_text("precious")
        (folder / "m" / ".ctl").mkdir(parents=True)
        (folder / "m" / ".ctl" / "admin").symlink_to(folder / "of-root")
        (folder / "m" / ".ctl" / "stats").write_text(
            "iomemfs_upgrades_total 0\niomemfs_upgrades_refused_total 0\n"
        )
        if arguments[0] == "--upgrade":
            argv = [support.program(), *arguments, folder / "m"]
        else:
            argv = [support.program(), folder / "m", *arguments]
        result = support.run(argv)
        assert (folder / "of-root").read_text() == "precious"
        assert result.returncode == 32
        assert "no iomemfs is mounted there" in result.stderr
    finally:
        support.run(["rm", "-r", folder], check=True)


@pytest.mark.parametrize("arguments", [["--upgrade"], ["-o", "remount,size=1m"]])
@pytest.mark.parametrize("option", ["ctl=off", "ctl=control"])
@pytest.mark.parametrize("at", ["admin", "ctl"])
def test_no_link_on_a_mount_is_followed(mounts, arguments, option, at):
    """A mount of root's without .ctl, where a stranger has made one that leads to root's files."""
    of_root = support.scratch_directory()
    try:
        (of_root / "admin").write_text("precious")
        (of_root / "stats").write_text(
            "iomemfs_upgrades_total 0\niomemfs_upgrades_refused_total 0\n"
        )
        mount = mounts(f"mode=1777,{option}")

        def make():
            if at == "ctl":
                (mount / ".ctl").symlink_to(of_root)
            else:
                (mount / ".ctl").mkdir()
                (mount / ".ctl/admin").symlink_to(of_root / "admin")
                (mount / ".ctl/stats").symlink_to(of_root / "stats")

        support.as_user(support.NOBODY, make)
        if arguments[0] == "--upgrade":
            argv = [support.program(), *arguments, mount]
        else:
            argv = [support.program(), "none", mount, *arguments]
        result = support.run(argv)
        assert result.returncode != 0
        assert result.stderr.startswith("iomemfs: ")
        assert (of_root / "admin").read_text() == "precious"
    finally:
        support.run(["rm", "-r", of_root], check=True)
