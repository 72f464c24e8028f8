# SPDX-License-Identifier: MIT
"""Populated regions: all of it or nothing, others served meanwhile, given up with the writer."""

import errno
import os
import signal

import pytest

import holders
from crash_load import Daemon
from support import wait_for

MIB = 1 << 20
BIG = 256 * MIB

pytestmark = pytest.mark.options("size=0")


def used(mount):
    return mount.stats()["iomemfs_used_bytes"]


class Creation:
    """A process that makes one region."""

    def __init__(self, mount, line):
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                holders.die_with_parent()
                mount.command("create", line)
                status = 0
            except OSError as error:
                status = error.errno
            finally:
                os._exit(status)

    def end(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize("options", ["populate", "huge"])
def test_what_does_not_fit_is_refused(mount, options):
    """At once, by the memory that is there: nothing else suffers."""
    fd = os.open(mount.ctl / "create", os.O_RDWR)
    try:
        with pytest.raises(OSError) as caught:
            os.write(fd, f"x 16t {options}\n".encode())
        assert caught.value.errno == errno.ENOSPC
        assert os.read(fd, 1000) == b"x: not enough memory to populate it\n"
    finally:
        os.close(fd)
    assert os.listdir(mount) == [] and used(mount) == 0


def test_whole_when_it_appears_and_others_are_served(mount):
    """Requests are counted that were answered after it began and before it was there."""
    answered = 0
    for number in range(5):
        creation = Creation(mount, f"x{number} {BIG} populate")
        path = mount / f"x{number}"
        wait_for(lambda: used(mount) == BIG, "the reservation")
        while not path.exists():
            answered += 1
        assert os.stat(path).st_blocks * 512 == BIG
        assert creation.end() == 0
        mount.command("remove", path.name)
        wait_for(lambda: used(mount) == 0, "the memory")
        if answered:
            break
    print(f"{answered} requests were answered meanwhile")
    assert answered


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_given_up_with_its_writer(mount, number):
    creation = Creation(mount, f"x {4 * BIG} populate huge")
    wait_for(lambda: used(mount) == 4 * BIG, "the reservation")
    os.kill(creation.pid, number)
    assert creation.end() in (-number, 0)
    if (mount / "x").exists():  # it was quicker
        mount.command("remove", "x")
    wait_for(lambda: used(mount) == 0, "the memory")
    assert os.listdir(mount) == []


def test_goes_on_when_the_worker_dies(mount):
    daemon = Daemon(mount)
    creation = Creation(mount, f"x {BIG} populate")
    wait_for(lambda: used(mount) == BIG, "the reservation")
    daemon.kill_worker()
    assert creation.end() == 0
    assert os.stat(mount / "x").st_blocks * 512 == BIG
