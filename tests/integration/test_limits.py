# SPDX-License-Identifier: MIT
"""What happens when space, inodes or descriptors run out; and that 15,000 regions are no burden."""

import errno
import mmap
import os
import random
import re
import signal
import threading
import time

import pytest
from crash_load import Daemon
from socket_client import Client
from support import limited_program, run, wait_for

MIB = 1 << 20
PAGE = 4096
MANY = 15000


def errno_of(function, *arguments):
    try:
        function(*arguments)
        return 0
    except OSError as error:
        return error.errno


def df(mount):
    """(total, free, available) in bytes, (total, free) inodes; and df(1) agrees."""
    fs = os.statvfs(mount)
    total, free = fs.f_blocks * fs.f_frsize, fs.f_bfree * fs.f_frsize
    words = run(["df", "-B1", "--output=size,used,avail", mount], check=True).stdout.split()[3:]
    assert [int(w) for w in words] == [total, total - free, fs.f_bavail * fs.f_frsize]
    words = run(["df", "--output=itotal,iused,iavail", mount], check=True).stdout.split()[3:]
    assert [int(w) for w in words] == [fs.f_files, fs.f_files - fs.f_ffree, fs.f_favail]
    return total, free, fs.f_files, fs.f_ffree


def content(seed, size):
    return random.Random(seed).randbytes(size)


# size=


@pytest.mark.options("size=8m")
def test_size_is_kept_by_create(mount):
    assert df(mount)[:2] == (8 * MIB, 8 * MIB)
    mount.create("a", "3m")
    mount.create("b", "5m")
    assert df(mount)[:2] == (8 * MIB, 0)
    assert errno_of(mount.create, "c", 1) == errno.ENOSPC
    assert sorted(os.listdir(mount)) == ["a", "b"]
    os.unlink(mount / "a")
    assert df(mount)[:2] == (8 * MIB, 3 * MIB)
    assert errno_of(mount.create, "c", 3 * MIB + 1) == errno.ENOSPC
    mount.create("c", 3 * MIB)
    assert df(mount)[:2] == (8 * MIB, 0)
    mount.command("remove", "b")
    assert df(mount)[:2] == (8 * MIB, 5 * MIB)


@pytest.mark.options("size=1m")
def test_sizes_are_counted_in_pages(mount):
    for i in range(256):
        mount.create(f"r{i}", 1)
        assert df(mount)[1] == MIB - (i + 1) * PAGE if i % 64 == 0 else True
    assert df(mount)[1] == 0
    assert errno_of(mount.create, "more", 1) == errno.ENOSPC


@pytest.mark.options("size=8m")
def test_enospc_leaves_all_intact(mount):
    data = content(1, 4 * MIB)
    mount.create("a", "4m")
    (mount / "f").write_bytes(data[:MIB])
    with open(mount / "a", "r+b") as f, mmap.mmap(f.fileno(), 0) as mapped:
        mapped[:] = data
        mapped.flush()
        before = os.stat(mount / "a"), os.stat(mount / "f"), df(mount)
        for attempt in (
            lambda: mount.create("b", "4m"),
            lambda: mount.command("resize", "a 8m"),
            lambda: mount.command("resize", "f 5m"),
            lambda: os.truncate(mount / "a", 8 * MIB),
            lambda: os.truncate(mount / "f", 5 * MIB),
            lambda: os.ftruncate(f.fileno(), 8 * MIB),
            lambda: os.posix_fallocate(f.fileno(), 0, 8 * MIB),
        ):
            assert errno_of(attempt) == errno.ENOSPC
        after = os.stat(mount / "a"), os.stat(mount / "f"), df(mount)
        for one, other in zip(before[:2], after[:2]):
            assert (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
        assert before[2] == after[2]
        assert mapped[:] == data
    assert (mount / "f").read_bytes() == data[:MIB]
    assert sorted(os.listdir(mount)) == ["a", "f"]


@pytest.mark.options("size=16m")
def test_what_was_granted_can_be_touched(mount):
    """ENOSPC comes at create, never SIGBUS at touch: all of it at once, by several processes."""
    for i in range(4):
        mount.create(f"r{i}", "4m")
    assert df(mount)[1] == 0
    pids = []
    for i in range(4):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.alarm(30)
                with open(mount / f"r{i}", "r+b") as f, mmap.mmap(f.fileno(), 0) as mapped:
                    mapped[:] = bytes([i + 1]) * (4 * MIB)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    for i in range(4):
        assert (mount / f"r{i}").read_bytes() == bytes([i + 1]) * (4 * MIB)
    assert df(mount)[1] == 0


def fill(path, start=b""):
    """Appends until ENOSPC; how many bytes the file got."""
    written = len(start)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, start)
        while True:
            written += os.write(fd, b"w" * 65536)
            assert written < 1 << 30
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return written
    finally:
        os.close(fd)


@pytest.mark.options("size=8m")
def test_growth_by_write_is_stopped(mount):
    mount.create("a", "2m")
    written = fill(mount / "f", b"first")
    # The last write may have been cut short, but no page of what is left stays unused.
    assert 6 * MIB - 2 * 65536 <= written <= 6 * MIB
    assert os.stat(mount / "f").st_size == written
    assert (mount / "f").read_bytes() == b"first" + b"w" * (written - 5)
    total, free = df(mount)[:2]
    assert total == 8 * MIB and free <= 65536
    assert errno_of(mount.create, "b", free + 1) == errno.ENOSPC
    mount.command("remove", "a")
    assert df(mount)[1] == free + 2 * MIB
    assert fill(mount / "g") >= 2 * MIB - 65536
    os.truncate(mount / "f", MIB)
    mount.create("b", "4m")
    assert (mount / "f").read_bytes() == b"first" + b"w" * (MIB - 5)


@pytest.mark.options("size=8m")
def test_growth_beyond_a_region_of_create(mount):
    """A region that was granted 1 MiB does not grow into what others were promised."""
    mount.create("a", "1m")
    mount.create("b", "7m")
    fd = os.open(mount / "a", os.O_RDWR)
    try:
        assert os.pwrite(fd, b"mine", MIB - 4) == 4
        # Refused, or, where the kernel does not ask first, cut back as soon as anybody looks.
        assert errno_of(os.pwrite, fd, b"x" * MIB, MIB) in (0, errno.ENOSPC)
        assert os.stat(mount / "a").st_size == MIB
        assert os.fstat(fd).st_size == MIB
        assert os.pread(fd, 100, MIB - 4) == b"mine"
    finally:
        os.close(fd)
    assert os.stat(mount / "a").st_size == MIB
    assert df(mount)[:2] == (8 * MIB, 0)


@pytest.mark.options("size=8m")
def test_holes_count(mount):
    """Reservation is by size, not by what is touched."""
    with open(mount / "f", "wb") as f:
        assert errno_of(os.ftruncate, f.fileno(), 9 * MIB) == errno.ENOSPC
        os.ftruncate(f.fileno(), 7 * MIB)
    assert df(mount)[1] == MIB
    assert errno_of(mount.create, "a", MIB + 1) == errno.ENOSPC
    mount.create("a", MIB)
    assert df(mount)[1] == 0


@pytest.mark.options("size=8m")
def test_an_unlinked_region_counts_while_it_is_open(mount):
    mount.create("a", "6m")
    with open(mount / "a", "r+b") as f:
        os.unlink(mount / "a")
        assert df(mount)[1] == 2 * MIB
        assert errno_of(mount.create, "b", "6m") == errno.ENOSPC
        f.write(b"still there")
    # close(2) does not wait for the daemon to be told.
    wait_for(lambda: os.statvfs(mount).f_bfree * PAGE == 8 * MIB, "the space of the region")
    mount.create("b", "6m")


@pytest.mark.options("size=0")
def test_no_limit(mount):
    mount.create("a", "1t")
    os.truncate(mount / "a", 1 << 41)
    assert df(mount)[:2] == (0, 0)  # as tmpfs shows it
    assert mount.stats()["iomemfs_size_bytes"] == 0


def write_blocks(path, count):
    block = b"x" * MIB
    with open(path, "wb", buffering=0) as stream:
        for _ in range(count):
            assert stream.write(block) == MIB


@pytest.mark.options("size=512m")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["rm", "remove", "rename", "truncate"])
def test_removed_memory_is_free_at_once(mount, way):
    """What nobody has open is free when the call returns: 5 of 5 times."""
    for _ in range(5 if way == "rm" else 2):
        write_blocks(mount / "f", 400)
        if way == "rm":
            os.unlink(mount / "f")
        elif way == "remove":
            mount.command("remove", "f")
        elif way == "rename":
            (mount / "other").touch()
            os.rename(mount / "other", mount / "f")
        else:
            os.truncate(mount / "f", 0)
        write_blocks(mount / "g", 400)
        os.unlink(mount / "g")
        mount.create("r", 500 * MIB)
        mount.command("remove", "r")
    assert df(mount)[1] == 512 * MIB


@pytest.mark.options("size=512m")
@pytest.mark.parametrize("door", ["control file", "socket", "file"])
def test_memory_of_the_last_close(mount, door):
    """The daemon learns of it after close(2) has returned; it does not say ENOSPC before it has."""
    for _ in range(3):
        with open(mount / "f", "wb", buffering=0) as stream:
            os.posix_fallocate(stream.fileno(), 0, 400 * MIB)
            os.unlink(mount / "f")
        if door == "control file":
            mount.create("r", 500 * MIB)
        elif door == "socket":
            with Client(mount.home / "socket") as client:
                os.close(client.ask_fd(f"create r {500 * MIB}"))
        else:
            with open(mount / "r", "wb") as stream:
                os.ftruncate(stream.fileno(), 500 * MIB)
        os.unlink(mount / "r")


@pytest.mark.options("size=8m,nr_inodes=10")
def test_no_space_is_said_once(mount):
    """Also by several at a time, who each wait for what there is to be taken in."""
    mount.create("a", 8 * MIB)
    before = mount.stats()

    def hit():
        for i in range(50):
            assert errno_of(mount.create, f"x{i}", 1) == errno.ENOSPC
            with Client(mount.home / "socket") as client:
                assert errno_of(client.ask, f"create y{i} 1") == errno.ENOSPC

    threads = [threading.Thread(target=hit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = mount.stats()
    errors = "iomemfs_command_errors_total"
    assert after[errors] - before[errors] == 4 * 50 * 2
    assert os.listdir(mount) == ["a"]
    mount.command("remove", "a")
    assert df(mount)[1] == 8 * MIB


# nr_inodes=


@pytest.mark.options("nr_inodes=20")
def test_nr_inodes(mount):
    used = df(mount)[2] - df(mount)[3]
    assert used == 1  # the root directory, as in tmpfs
    (mount / "d").mkdir()
    os.mkfifo(mount / "p")
    os.symlink("x", mount / "l")
    (mount / "f").touch()
    for i in range(15):
        mount.create(f"r{i}", 1)
    assert df(mount)[2:] == (20, 0)
    names = sorted(os.listdir(mount))
    for attempt in (
        lambda: mount.create("x", 1),
        lambda: (mount / "x").mkdir(),
        lambda: (mount / "x").touch(),
        lambda: os.mkfifo(mount / "x"),
        lambda: os.symlink("x", mount / "x"),
        lambda: mount.create("d/x", 1),
    ):
        assert errno_of(attempt) == errno.ENOSPC
    assert sorted(os.listdir(mount)) == names
    os.unlink(mount / "r0")
    assert df(mount)[2:] == (20, 1)
    (mount / "x").mkdir()
    assert df(mount)[2:] == (20, 0)


# Descriptors


@pytest.mark.parametrize("passthrough", ["on", "off"])
def test_descriptors_run_out(mounts, tmp_path, passthrough):
    mount = mounts("size=1g", passthrough=passthrough, binary=limited_program(tmp_path, 64, 300))
    for pid in mount.pids():
        limits = open(f"/proc/{pid}/limits").read()
        # The soft limit was raised to the hard one.
        assert re.search(r"Max open files\s+300\s+300\s", limits)
    mount.create("r400", PAGE)
    left = mount.stats()["iomemfs_descriptors_left"]
    assert 190 < left <= 300 - 64 - 300 // 8
    made = ["r400"]
    (mount / "r400").write_bytes(content(400, 100))

    def write(name, number):
        with open(mount / name, "r+b" if (mount / name).exists() else "w+b") as stream:
            stream.write(content(number, 100))
        made.append(name)

    with pytest.raises(OSError) as caught:
        for i in range(0, 400, 2):
            mount.create(f"r{i}", PAGE)
            write(f"r{i}", i)
    assert caught.value.errno == errno.ENOSPC
    assert len(made) == 1 + left and mount.stats()["iomemfs_descriptors_left"] == 0
    with open(mount.ctl / "create", "r+b", buffering=0) as stream:
        with pytest.raises(OSError):
            stream.write(b"more 4k\n")
        assert b"descriptor" in stream.read()
    # df -i tells what is left: with passthrough there is no end to files that programs make.
    many = df(mount)[3]
    if passthrough == "off":
        assert many == 0
        assert errno_of((mount / "y").touch) == errno.ENOSPC
    else:
        assert many > 100000
        for i in range(1, 400, 2):
            write(f"r{i}", i)
        assert df(mount)[3] == many - 200
    assert sorted(os.listdir(mount)) == sorted(made)
    before = df(mount)
    for i in range(20):
        assert errno_of(mount.create, f"x{i}", 1) == errno.ENOSPC
    assert df(mount) == before
    # Everything that was there is intact, and what needs no region works.
    for name in made:
        assert (mount / name).read_bytes()[:100] == content(int(name[1:]), 100)
    (mount / "d").mkdir()
    os.rename(mount / made[0], mount / "d/moved")
    os.rename(mount / "d/moved", mount / made[0])
    with open(mount / made[1], "r+b") as f, mmap.mmap(f.fileno(), 0) as mapped:
        mapped[200:203] = b"new"
    mount.command("resize", f"{made[1]} 8k")
    # The listings tell an administrator what takes all the descriptors.
    assert len((mount.ctl / "regions").read_text().splitlines()) == len(made) + 1
    assert mount.stats()["iomemfs_regions"] == len(made)
    for name in made[:10]:
        mount.command("remove", name)
    for i in range(10):
        # close(2) above did not wait for the daemon to be told.
        wait_for(lambda i=i: errno_of(mount.create, f"z{i}", PAGE) == 0, "a descriptor")
    assert mount.stats()["iomemfs_regions"] == len(made)
    assert mount.stats()["iomemfs_restarts_total"] == 0


def test_the_worker_dies_when_descriptors_ran_out(mounts, tmp_path):
    mount = mounts("size=1g", binary=limited_program(tmp_path, 64, 300))
    made = {}
    with pytest.raises(OSError) as caught:
        for i in range(400):
            made[f"r{i}"] = content(i, 100)
            mount.create(f"r{i}", PAGE)
            (mount / f"r{i}").write_bytes(made[f"r{i}"])
    assert caught.value.errno == errno.ENOSPC
    made.popitem()
    worker = int(mount.stats()['iomemfs_daemon_pid{role="worker"}'])
    os.kill(worker, signal.SIGKILL)
    for name, data in made.items():
        assert (mount / name).read_bytes()[:100] == data
    assert len((mount.ctl / "regions").read_text().splitlines()) == len(made) + 1
    assert mount.stats()["iomemfs_restarts_total"] == 1
    mount.command("remove", "r0")
    wait_for(lambda: errno_of(mount.create, "again", PAGE) == 0, "a descriptor")


def test_listings_need_no_descriptors(mount):
    """However many a user reads at once."""
    daemon = Daemon(mount)

    def trial():
        fds = []
        try:
            for _ in range(300):
                fds.append(os.open(mount.ctl / "stats", os.O_RDONLY))
                assert os.read(fds[-1], 100)
            return daemon.descriptors()
        finally:
            for fd in fds:
                os.close(fd)

    before = daemon.descriptors()
    assert trial() == before


# Many


def worker_memory(mount):
    """Resident bytes of the daemon's processes, each page counted once."""
    total = 0
    for pid in mount.pids():
        text = open(f"/proc/{pid}/smaps_rollup").read()
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) * 1024
    return total


def in_batches(mount, file, lines):
    for start in range(0, len(lines), 500):
        fd = os.open(mount.ctl / file, os.O_WRONLY)
        try:
            text = "".join(line + "\n" for line in lines[start : start + 500]).encode()
            assert os.write(fd, text) == len(text)
        finally:
            os.close(fd)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("directories", [1, 100])
def test_fifteen_thousand_regions(mount, directories, capsys):
    with open("/proc/sys/fs/file-max") as f:
        assert int(f.read()) > MANY
    for d in range(directories):
        (mount / f"d{d}").mkdir()
    names = [f"d{i % directories}/region-{i}" for i in range(MANY)]
    before = worker_memory(mount)
    start = time.monotonic()
    in_batches(mount, "create", [f"{name} 4k" for name in names])
    took = time.monotonic() - start
    grown = worker_memory(mount) - before
    with capsys.disabled():
        print(f"\n{directories} directories: {took:.1f} s for {MANY} regions; "
              f"{grown / MANY:.0f} bytes of daemon memory for each")  # fmt: skip
    assert grown / MANY < 1024
    assert mount.stats()["iomemfs_regions"] == MANY
    found = [f"d{d}/{name}" for d in range(directories) for name in os.listdir(mount / f"d{d}")]
    assert len(found) == MANY and set(found) == set(names)
    listed = run(["ls", "-l", mount / "d0"], check=True).stdout.splitlines()
    assert len(listed) == 1 + MANY // directories
    lines = (mount.ctl / "regions").read_text().splitlines()
    assert {line.split()[0] for line in lines[1:]} == set(names)
    for name in random.Random(1).sample(names, 100):
        assert os.stat(mount / name).st_size == PAGE
        (mount / name).write_bytes(name.encode())
        assert (mount / name).read_bytes() == name.encode()
    in_batches(mount, "remove", names)
    assert mount.stats()["iomemfs_regions"] == 0
    assert all(os.listdir(mount / f"d{d}") == [] for d in range(directories))
    assert mount.stats()["iomemfs_used_bytes"] == 0
    mount.create("d0/again", "4k")
