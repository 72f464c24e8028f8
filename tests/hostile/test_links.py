# SPDX-License-Identifier: MIT
"""Symbolic links: their targets count, and their memory is given back."""

import errno
import os

import pytest

import support
from beside import ATTACKER

PAGE = 4096
LINKS = 8192
SHORT, LONG, LONGEST = 127, 128, 4095  # bytes; those from 128 on take a page, as on tmpfs


def used(mount):
    return mount.stats()["iomemfs_used_bytes"]


def records_of(mount):
    """Bytes of the memory of the records."""
    for fd in os.listdir(f"/proc/{mount.process.pid}/fd"):
        path = f"/proc/{mount.process.pid}/fd/{fd}"
        if "iomemfs-journal" in os.readlink(path):
            return os.stat(path).st_blocks * 512
    raise AssertionError("no records")


def make_links(folder, length):
    """As many as there is room for; how many that was."""
    for number in range(LINKS + 1):
        try:
            os.symlink(f"{number:0{length}}", f"{folder}/l{number}")
        except OSError as error:
            assert error.errno == errno.ENOSPC
            return number
    return LINKS + 1


@pytest.mark.options(f"size={LINKS * PAGE},mode=1777")
@pytest.mark.parametrize("length", [LONG, LONGEST])
def test_long_targets_count(mount, length):
    folder = mount / "d"
    folder.mkdir()
    folder.chmod(0o777)
    for again in range(3):
        before = records_of(mount)
        assert support.as_user(ATTACKER, make_links, folder, length) == LINKS
        assert used(mount) == LINKS * PAGE
        assert os.statvfs(mount).f_bfree == 0
        assert os.lstat(folder / "l7").st_blocks * 512 == PAGE
        for number in (0, 17, LINKS - 1):
            assert os.readlink(folder / f"l{number}") == f"{number:0{length}}"
        held = records_of(mount) - before
        assert held >= LINKS * PAGE
        for number in range(LINKS):
            os.unlink(folder / f"l{number}")
        support.wait_for(lambda: used(mount) == 0, "what the links counted")
        # Nodes and names are kept for others; the targets are not.
        kept = records_of(mount) - before
        assert kept < held - LINKS * PAGE + PAGE * 64, (held, kept)
        if again:
            assert kept < PAGE * 64


@pytest.mark.options("size=1m,mode=1777")
def test_short_targets_do_not(mount):
    """As on tmpfs; nr_inodes= limits them."""
    assert support.as_user(ATTACKER, make_links, mount, SHORT) == LINKS + 1
    assert used(mount) == 0
    assert os.readlink(mount / "l5") == f"{5:0{SHORT}}"


@pytest.mark.options("size=1m,mode=1777")
@pytest.mark.log_allows("killed by signal 9")
def test_a_target_counts_as_long_as_it_is_there(mount):
    """Somebody has the link open when it is removed."""
    target = "t" * LONGEST
    os.symlink(target, mount / "l")
    fd = os.open(mount / "l", os.O_PATH | os.O_NOFOLLOW)
    os.unlink(mount / "l")
    assert used(mount) == PAGE
    os.kill(support.worker_pid(mount), 9)
    assert os.readlink("", dir_fd=fd) == target
    assert used(mount) == PAGE
    os.close(fd)
    support.wait_for(lambda: used(mount) == 0, "the end of the link")


@pytest.mark.options("size=32m")
def test_links_beside_others(beside):
    def churn(hit, folder):
        while True:
            for number in range(500):
                os.symlink("t" * LONGEST, f"{folder}/l{number}")
            for number in range(500):
                os.unlink(f"{folder}/l{number}")
            hit()

    with beside.attack(churn, beside.attackers):
        beside.serve(hits=2)
