# SPDX-License-Identifier: MIT
"""Random system calls of several users, while workers are killed; and what must hold afterwards.

IOMEMFS_FUZZ_SECONDS says how long each mode runs, IOMEMFS_FUZZ_SEED where it begins.  Each round prints
the arguments with which fuzz_syscalls makes it again.
"""

import json
import os
import signal
import stat
import struct
import subprocess
import time

import pytest

import beside
import crash_load
import support
from region_name import name_of

SECONDS = float(os.environ.get("IOMEMFS_FUZZ_SECONDS", "30"))
SEED = int(os.environ.get("IOMEMFS_FUZZ_SEED", "0"), 0)
OPERATIONS = int(os.environ.get("IOMEMFS_FUZZ_OPERATIONS", "4000"))  # of a process in a round
UIDS = (0, 1, 1, 1000, 65534, 65534)
KILL_EACH = 5000  # operations
STUCK = 60.0  # seconds without an operation of any process

pytestmark = [
    pytest.mark.timeout(SECONDS * 2 + 600),
    pytest.mark.options("size=64m,nr_inodes=3000"),
    # Descriptors that a fuzzed command keeps beyond its regions' end have nothing to do with it.
    pytest.mark.log_allows(r"the worker was killed by signal 9"),
]


class Round:
    """fuzz_syscalls at work, with a count of what it has done."""

    def __init__(self, mount, seed, first):
        self.counter = mount.home / "counter"
        self.counter.write_bytes(bytes(8 * 64))
        socket = os.readlink(mount.ctl / "socket")
        program = support.build_dir() / "tests" / "hostile" / "fuzz_syscalls"
        self.argv = [
            str(a) for a in (program, mount, socket, seed, first, OPERATIONS, self.counter, *UIDS)
        ]
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def done(self):
        return sum(struct.unpack("64Q", self.counter.read_bytes()))

    def pids(self):
        return [self.process.pid, *crash_load.children(self.process.pid)]

    def is_over(self):
        return self.process.poll() is not None

    def kill(self):
        if not self.is_over():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def kill_worker(mount):
    """Kills the worker, and waits until another serves."""
    before = support.worker_pid(mount)
    os.kill(before, signal.SIGKILL)
    support.wait_for(lambda: support.worker_pid(mount) != before, "another worker")


def play(mount, one):
    """Kills the worker every so many operations until the round is over; how often it did."""
    kills, due, seen, since = 0, KILL_EACH, 0, time.monotonic()
    while not one.is_over():
        done = one.done()
        if done != seen:
            seen, since = done, time.monotonic()
        if time.monotonic() - since > STUCK:
            where = "\n".join(beside.where_is(pid) for pid in one.pids() + mount.pids())
            raise AssertionError(f"stuck after {done}: {' '.join(one.argv)}\n{where}")
        if done >= due:
            kill_worker(mount)
            kills += 1
            due = done + KILL_EACH
        time.sleep(0.01)
    assert one.process.returncode == 0, " ".join(one.argv)
    return kills


def fail(error):
    raise error


def walk(mount):
    """All files below the mount: {name as bytes: lstat}."""
    top = os.fsencode(str(mount))
    found = {}
    for folder, dirs, files in os.walk(top, onerror=fail):
        for name in dirs + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = os.lstat(path)
    return found


def check_listing(mount):
    """regions.json is valid, and has the names and sizes that a walk finds."""
    text = (mount.ctl / "regions.json").read_bytes()
    listed = {name_of(r): r for r in json.loads(text)["regions"]}
    found = {n: st for n, st in walk(mount).items() if stat.S_ISREG(st.st_mode)}
    assert sorted(set(listed) - set(found)) == [], "listed, not found"
    assert sorted(set(found) - set(listed)) == [], "found, not listed"
    for name, st in found.items():
        region = listed[name]
        assert (region["size"], region["inode"], region["links"], region["uid"]) == (
            st.st_size,
            st.st_ino,
            st.st_nlink,
            st.st_uid,
        ), name


def remove_all(mount):
    top = os.fsencode(str(mount))
    for folder, dirs, files in os.walk(top, topdown=False):
        for name in files:
            os.unlink(os.path.join(folder, name))
        for name in dirs:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                os.unlink(path)
            else:
                os.rmdir(path)
    for name in os.listxattr(mount):
        os.removexattr(mount, name)
    if "default" in os.listdir(mount.ctl):
        mount.command("default", "none")


def state_now(mount, daemon):
    vfs = os.statvfs(mount)
    stats = mount.stats()
    return {
        "blocks": vfs.f_blocks - vfs.f_bfree,
        "files": vfs.f_files - vfs.f_ffree,
        "used": stats["iomemfs_used_bytes"],
        "handles": stats["iomemfs_open_handles"],
        "descriptors": daemon.descriptors(),
    }


def check_state(mount, daemon, before):
    try:
        support.wait_for(lambda: state_now(mount, daemon) == before, "the state of an empty mount")
    except AssertionError as error:
        raise AssertionError(f"{error}: {before}, now {state_now(mount, daemon)}") from None


def test_nothing_is_left_and_nothing_breaks(mount, capsys):
    daemon = crash_load.Daemon(mount)
    (mount / "first").touch()
    os.unlink(mount / "first")
    mount.path.chmod(0o1777)
    before = state_now(mount, daemon)
    seed = SEED or int.from_bytes(os.urandom(6), "big")
    done = kills = first = 0
    end = time.monotonic() + SECONDS
    while first == 0 or time.monotonic() < end:
        one = Round(mount, seed, first)
        try:
            kills += play(mount, one)
        finally:
            one.kill()
        with capsys.disabled():
            print(f"\n{' '.join(one.argv[3:6])}: {one.done()} operations, {kills} kills", end="")
        done += one.done()
        first += OPERATIONS
        mount.path.chmod(0o1777)
        os.chown(mount, 0, 0)
        check_listing(mount)
        remove_all(mount)
        check_state(mount, daemon, before)
        assert mount.stats()["iomemfs_restarts_total"] == kills, "a worker died by itself"
    with capsys.disabled():
        print(f"\nseed {seed}: {done} operations, {kills} kills; the last: {' '.join(one.argv)}")
