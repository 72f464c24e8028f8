# SPDX-License-Identifier: MIT
"""The socket's path, where others can write to its directory; and who is at its other end."""

import contextlib
import os
import stat

import pytest

import beside as harness
import support
from socket_client import Client

# The directory is one that anybody may rename in, as some programs' are.
pytestmark = pytest.mark.modes("passthrough")


@pytest.fixture
def folder():
    path = support.scratch_directory()
    path.chmod(0o777)
    yield path
    support.run(["rm", "-r", path], check=True)


def swap(hit, folder, target):
    """Puts a symbolic link to target in the place of each socket that appears."""
    while True:
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.lstat(f"{folder}/{name}").st_mode):
                    os.rename(f"{folder}/{name}", f"{folder}/mine")
                    os.symlink(target, f"{folder}/{name}")
                    hit()
                    return


def start_slowly(mount):
    """Starts the daemon, which sleeps after bind(2)."""
    mount.argv = [
        "strace", "-f", "-qq", "-e", "trace=bind", "-e", "signal=none",
        "-e", "inject=bind:delay_exit=300000", *mount.argv,
    ]  # fmt: skip
    mount.start()


@pytest.mark.may_leave_mount
def test_no_mode_of_another_file_is_changed(mounts, folder, mode):
    """Whoever swaps the socket for a link to root's file, in the moment after bind(2)."""
    del mode
    target = folder / "of-root"
    target.write_text("secret")
    target.chmod(0o600)
    counters = harness.Counters(1)
    attacker = harness.Process(harness.ATTACKER, swap, lambda: counters.add(0), folder, target)
    try:
        mount = mounts(f"socket={folder}/socket", start=False)
        with contextlib.suppress(AssertionError):  # it may as well say what is wrong, and end
            start_slowly(mount)
        assert counters.total() == 1, "the attack did not take place"
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        mount.kill()
    finally:
        attacker.end()


@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
def test_everybody_can_connect_whatever_the_umask_was(mounts, folder, mode, mask):
    del mode
    before = os.umask(mask)
    try:
        mount = mounts(f"socket={folder}/socket", start=False)
    finally:
        os.umask(before)
    mount.argv = ["sh", "-c", f'umask {mask:03o} && exec "$0" "$@"', *mount.argv]
    mount.path.chmod(0o755)
    mount.start()
    assert stat.S_IMODE(os.lstat(f"{folder}/socket").st_mode) == 0o666
    assert os.listdir(folder) == ["socket"]

    def ask():
        with Client(f"{folder}/socket") as client:
            return client.list()

    assert support.as_user(support.NOBODY, ask) == []
