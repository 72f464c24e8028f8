# SPDX-License-Identifier: MIT
"""Populated regions: all of it or nothing, others served meanwhile, given up with the writer."""

import contextlib
import errno
import mmap
import os
import pathlib
import platform
import re
import signal
import time

import pytest

from crash_load import Daemon
from memory_jobs import Creation, Held, hold_half_way, listed
from socket_client import Client, socket_of
from support import NOBODY, as_user, wait_for, worker_pid

MIB = 1 << 20
BIG = 256 * MIB

pytestmark = pytest.mark.options("size=0")


def stat_of(mount, name):
    return mount.stats()[f"iomemfs_{name}"]


def used(mount):
    return stat_of(mount, "used_bytes")


def region_descriptors(mount):
    """How many descriptors of regions' memory the daemon has."""
    found = 0
    for path in pathlib.Path(f"/proc/{worker_pid(mount)}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(path).startswith("/memfd:iomemfs (")
    return found


def table_of(directory):
    """{name: {column: cell}} of the table."""
    head, *lines = [line.split() for line in (directory / ".ctl/regions").read_text().splitlines()]
    return {line[0]: dict(zip(head, line)) for line in lines}


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
    """Others ask, and see how far it is, from nothing to all of it."""
    creation, held = hold_half_way(
        mount, "x", BIG // 4, Creation, mount.path, f"x {BIG} huge"
    )
    before = listed(mount.path)["x"]["allocated"]
    assert BIG // 4 <= before < BIG and not (mount / "x").exists()
    assert table_of(mount.path)["x"]["ALLOCATED"] == str(before)
    assert stat_of(mount, "populating_bytes") == BIG - before
    held.release()
    answered = 0
    while "x" in (populating := listed(mount.path)):
        assert before <= (now := populating["x"]["allocated"]) <= BIG
        before = now
        answered += 1
    print(f"{answered} requests were answered while it went on")
    assert creation.end() == 0
    assert os.stat(mount / "x").st_blocks * 512 == BIG


def test_listed_where_it_will_be(mount):
    """In table, JSON and metrics, for those only who could list it, and not as a region."""
    for name, mode in (("d", 0o755), ("private", 0o700)):
        (mount / name).mkdir()
        (mount / name).chmod(mode)
    with Held(mount):
        creations = [
            Creation(mount.path, f"a\\040b {BIG} populate fixed mode=600"),
            Creation(mount / "d", f"y {BIG} huge"),
            Creation(mount / "private", f"z {BIG} populate"),
        ]
        wait_for(lambda: stat_of(mount, "populating") == 3, "three populations")
        assert stat_of(mount, "populating_bytes") == used(mount) == 3 * BIG

        found = listed(mount.path)
        assert set(found) == {"a b", "d/y", "private/z"}
        assert found["a b"]["flags"] == ["fixed", "populate", "populating"]
        assert found["a b"]["size"] == BIG and found["a b"]["allocated"] == 0
        assert found["a b"]["creator_pid"] == creations[0].pid and found["a b"]["mode"] == "0600"
        assert set(listed(mount / "d")) == {"y"}
        assert as_user(NOBODY, listed, mount.path).keys() == {"a b", "d/y"}
        assert listed(mount.path, "regions") == {}

        table = table_of(mount.path)
        assert set(table) == {"a\\040b", "d/y", "private/z"}
        assert table["d/y"]["FLAGS"] == "huge,populating"
        assert (table["d/y"]["SIZE"], table["d/y"]["ALLOCATED"]) == (str(BIG), "0")
        assert set(table_of(mount / "d")) == {"y"}
        assert as_user(NOBODY, table_of, mount.path).keys() == {"a\\040b", "d/y"}

        # Nobody can do anything with it.
        assert os.listdir(mount / "d") == []
        for call in (os.stat, os.unlink):
            with pytest.raises(FileNotFoundError):
                call(mount / "d" / "y")
        for command, line in (("remove", "d/y"), ("resize", "d/y 4096"), ("seal", "d/y grow")):
            with pytest.raises(FileNotFoundError):
                mount.command(command, line)

        # It moves with its directory.
        (mount / "private").rename(mount / "moved")
        assert set(listed(mount.path)) == {"a b", "d/y", "moved/z"}
    assert [creation.end() for creation in creations] == [0, 0, 0]
    assert listed(mount.path) == {} and stat_of(mount, "populating") == 0
    assert set(listed(mount.path, "regions")) == {"a b", "d/y", "moved/z"}
    assert "populating" not in (mount.ctl / "regions").read_text()


def test_the_name_is_anybodys_meanwhile(mount):
    with Held(mount):
        creation = Creation(mount.path, f"x {BIG} populate")
        wait_for(lambda: listed(mount.path), "the population")
        (mount / "x").write_bytes(b"first")
        assert set(listed(mount.path)) == set(listed(mount.path, "regions")) == {"x"}
    assert creation.end() == errno.EEXIST
    assert (mount / "x").read_bytes() == b"first"
    assert listed(mount.path) == {}
    wait_for(lambda: used(mount) <= 2 * mmap.PAGESIZE, "the memory")


def test_directory_that_goes_meanwhile(mount):
    """Another one, perhaps with the same number, has nothing to do with it."""
    (mount / "d").mkdir()
    with Held(mount):
        creation = Creation(mount.path, f"d/x {BIG} populate")
        wait_for(lambda: listed(mount.path), "the population")
        (mount / "d").rmdir()
        for number in range(5):
            (mount / f"new{number}").mkdir()
        assert listed(mount.path) == {}
        assert stat_of(mount, "populating") == 1
    assert creation.end() == errno.ENOENT
    wait_for(lambda: used(mount) == 0, "the memory")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_given_up_with_its_writer(mount, number):
    """Surely when it was under way: nothing appears, and the memory comes back."""
    creation, held = hold_half_way(
        mount, "x", BIG, Creation, mount.path, f"x {4 * BIG} populate huge"
    )
    assert used(mount) == 4 * BIG
    assert BIG <= listed(mount.path)["x"]["allocated"] < 2 * BIG
    assert 2 * BIG < stat_of(mount, "populating_bytes") <= 3 * BIG
    assert stat_of(mount, "populating") == 1 and region_descriptors(mount) > 0
    before = interrupts(mount)
    try:
        os.kill(creation.pid, number)
        wait_for(lambda: interrupts(mount) > before, "the kernel's word of it")
        assert set(listed(mount.path)) == {"x"}
    finally:
        held.release()
    assert creation.end() == -number
    wait_for(lambda: used(mount) == 0, "the reservation")
    wait_for(lambda: region_descriptors(mount) == 0, "the memory")
    assert os.listdir(mount) == []
    assert stat_of(mount, "populating") == stat_of(mount, "populating_bytes") == 0


def interrupts(mount):
    return mount.stats()['iomemfs_requests_total{opcode="INTERRUPT"}']


@pytest.mark.parametrize("options", ["populate", "huge"])
def test_signals_that_the_caller_lives_through(mount, options):
    """A timer every 20 ms: the population is neither given up nor begun anew, and done once."""
    before = interrupts(mount)
    with Held(mount):
        creation = Creation(mount.path, f"x {BIG} {options}", ticks=0.02)
        wait_for(lambda: "x" in listed(mount.path), "the population")
        created = listed(mount.path)["x"]["inode"]
        wait_for(lambda: interrupts(mount) > before, "the kernel's word of a signal")
        time.sleep(0.3)  # many of them
        assert listed(mount.path)["x"]["inode"] == created
    assert creation.end() == 0
    assert os.stat(mount / "x").st_ino == created
    assert os.stat(mount / "x").st_blocks * 512 == BIG
    assert interrupts(mount) == before + 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT])
def test_given_up_after_signals_that_it_lived_through(mount, number):
    """The kernel tells of the first signal only; the one that ends the caller is found."""
    before = interrupts(mount)
    creation, held = hold_half_way(
        mount, "x", BIG, Creation, mount.path, f"x {4 * BIG} populate huge", None, 0.02
    )
    try:
        wait_for(lambda: interrupts(mount) > before, "the kernel's word of a signal")
        time.sleep(0.1)
        assert set(listed(mount.path)) == {"x"}
        os.kill(creation.pid, number)
        time.sleep(0.1)
    finally:
        held.release()
    assert creation.end() == -number
    wait_for(lambda: used(mount) == 0, "the reservation")
    wait_for(lambda: region_descriptors(mount) == 0, "the memory")
    assert os.listdir(mount) == [] and interrupts(mount) == before + 1


def test_the_second_of_two_regions_is_given_up_as_well(mount):
    """One write with two lines: the signal came in the first, and none is told of in the second."""
    before = interrupts(mount)
    creation = Creation(mount.path, f"a 4096 populate\nx {4 * BIG} populate huge", ticks=0.001)
    try:
        wait_for(lambda: "x" in listed(mount.path), "the second population")
        os.kill(creation.pid, signal.SIGKILL)
    finally:
        assert creation.end() in (-signal.SIGKILL, 0)
    wait_for(lambda: listed(mount.path) == {}, "the end")
    assert (mount / "a").exists() and not (mount / "x").exists()
    assert interrupts(mount) >= before


def test_goes_on_when_the_worker_dies(mount):
    daemon = Daemon(mount)
    creation = Creation(mount.path, f"x {BIG} populate")
    wait_for(lambda: used(mount) == BIG, "the reservation")
    daemon.kill_worker()
    assert creation.end() == 0
    assert os.stat(mount / "x").st_blocks * 512 == BIG
    assert used(mount) == BIG and listed(mount.path) == {}
    assert stat_of(mount, "populating") == 0


@pytest.mark.options("size=0,waits=1000")
def test_many_that_a_dead_worker_leaves(mount):
    """More than one transaction of the next worker takes: they begin anew, and none is lost."""
    number = 400
    daemon = Daemon(mount)
    with contextlib.ExitStack() as stack:
        with Held(mount) as held:
            clients = [stack.enter_context(Client(socket_of(mount))) for _ in range(number)]
            for i, client in enumerate(clients):
                client.send(f"create r{i} 4096 populate")
            wait_for(lambda: stat_of(mount, "populating") == number, "all populations")
            daemon.kill_worker()
            held.release()
        for client in clients:
            client.answer()
    assert set(os.listdir(mount)) == {f"r{i}" for i in range(number)}
    assert used(mount) == number * mmap.PAGESIZE and stat_of(mount, "populating") == 0
    wait_for(lambda: region_descriptors(mount) == number, "the memory of the first attempts")


@pytest.mark.options("size=0,grace=1")
def test_grace_begins_with_the_name(mount):
    """However long an ephemeral region was populated: it is there, and not for ever."""
    with Held(mount):
        creation = Creation(mount.path, "x 4096 populate ephemeral")
        wait_for(lambda: listed(mount.path), "the population")
        begun = listed(mount.path)["x"]["created"]
        time.sleep(1.5)  # longer than grace=
    assert creation.end() == 0
    events = (mount.ctl / "events").open("rb", buffering=0)
    with events:
        assert listed(mount.path, "regions")["x"]["created"] > begun
        assert b" remove x" in events.read(4096)
    assert os.listdir(mount) == [] and used(mount) == 0


# Huge pages


def kernel_has_huge_pages():
    """Whether shared memory can be made of them: unasked, or by MADV_COLLAPSE of Linux 6.1."""
    setting = pathlib.Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    if not setting.exists() or "[deny]" in setting.read_text(encoding="ascii"):
        return False
    release = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
    return release >= (6, 1) or "[never]" not in setting.read_text(encoding="ascii")


@pytest.mark.parametrize("options", ["huge", "populate huge"])
def test_huge_says_what_is_huge(mount, options):
    mount.create("plain", 16 * MIB, "populate")
    mount.create("huge", 16 * MIB, *options.split())
    table, regions = table_of(mount.path), listed(mount.path, "regions")
    assert table["plain"]["HUGE"] == "0" and regions["plain"]["huge"] == 0
    assert int(table["huge"]["HUGE"]) == regions["huge"]["huge"] <= 16 * MIB
    assert regions["huge"]["huge"] % (2 * MIB) == 0
    assert regions["huge"]["allocated"] == 16 * MIB
    assert (regions["huge"]["huge"] > 0) == kernel_has_huge_pages()
