# SPDX-License-Identifier: MIT
"""Short wake-ups: asked for while requests come one after the other, and at no other time.

The daemon runs in a mount namespace of its own, in which an ordinary file stands for
/dev/cpu_dma_latency.  All that is written stays in it: what is held, and how often that changed.
"""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest

import support
from support import NOBODY, run, wait_for, worker_pid

SHORT, ANY = 0, 2_000_000_000
DEVICE = "/dev/cpu_dma_latency"
CPUIDLE = "/sys/devices/system/cpu/cpuidle"
PROCESSORS_MAX = 8  # of machines that `auto` is for
ASK_FOR_EVER = "import os, sys\nwhile True: os.path.lexists(sys.argv[1])\n"

pytestmark = [
    pytest.mark.skipif(not os.path.exists(DEVICE), reason="the kernel has no PM QoS"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: nothing is asked"),
]


class Device:
    """The file in place of the device, and a folder for mounts that are seen by all namespaces."""

    def __init__(self):
        self.home = support.scratch_directory()
        self.file = self.home / "device"
        self.file.touch()
        (self.home / "mnt").mkdir()
        run(["mount", "--bind", self.home, self.home], check=True)
        run(["mount", "--make-shared", self.home], check=True)

    def program(self, driver):
        """A script that runs the daemon where the file is the device."""
        lines = [
            "#!/bin/sh -e",
            'if [ "$1" != inside ]; then',
            '    exec unshare -m --propagation unchanged "$0" inside "$@"',
            "fi",
            "shift",
            # What is mounted here over the system's files must not be seen outside.
            "for place in / /dev /sys; do mount --make-private $place 2>/dev/null || :; done",
            f"mount --bind {shlex.quote(str(self.file))} {DEVICE}",
        ]
        if driver:
            lines += [
                f"mount -t tmpfs none {CPUIDLE}",
                f"echo {driver} > {CPUIDLE}/current_driver",
            ]
        lines.append(f'exec {shlex.quote(support.program())} "$@"')
        script = self.home / "program"
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)
        return script

    def values(self):
        """All that was written."""
        data = self.file.read_bytes()
        return list(struct.unpack(f"{len(data) // 4}i", data))

    def is_held(self):
        return self.values()[-1:] == [SHORT]

    def holders(self):
        """Names of the daemon's processes that have it open."""
        found = set()
        for pid in support.processes_with_environment(self.mark):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(f"/proc/{pid}/fd"):
                    if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), os.stat(self.file)):
                        found.add(pathlib.Path(f"/proc/{pid}/comm").read_text().strip())
        return found

    mark = None

    def close(self):
        run(["umount", "-l", self.home], check=True)
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture
def device():
    one = Device()
    yield one
    one.close()


@pytest.fixture
def start(device, mounts):
    """A function that mounts with these options, with `device` in place of the kernel's."""

    def make(options, driver=None):
        mount = mounts(options, directory=device.home / "mnt", binary=device.program(driver))
        device.mark = mount.mark
        return mount

    return make


def ask_until(mount, condition, what):
    """Requests one after the other, until there is what was waited for."""
    end = time.monotonic() + support.LIMIT
    while not condition():
        assert time.monotonic() < end, f"not within {support.LIMIT} s: {what}"
        ask(mount, 50)


def ask(mount, times):
    for _ in range(times):
        assert not os.path.lexists(mount / "missing")


def wait_until_let_go(device):
    wait_for(lambda: not device.is_held(), "the end of short wake-ups")


@contextlib.contextmanager
def busy_client(mount):
    """A process that makes requests one after the other, all the time."""
    argv = [sys.executable, "-c", ASK_FOR_EVER, str(mount / "missing")]
    with subprocess.Popen(argv) as client:
        try:
            yield client
        finally:
            client.kill()


def state_of(pid):
    """As in proc(5), "" if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0].decode()
    except FileNotFoundError:
        return ""


def sleeps(pids):
    """How often all threads of the processes went to sleep, which is how often they were woken."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as status:
                total += sum(int(line.split()[1]) for line in status
                             if line.startswith("voluntary_ctxt_switches:"))
    return total


def test_held_while_busy_and_let_go_when_idle(device, start):
    mount = start("latency=low")
    assert mount.stats()["iomemfs_short_wakeups"] == 1
    wait_until_let_go(device)
    before = len(device.values())
    ask_until(mount, device.is_held, "short wake-ups")
    wait_until_let_go(device)
    # Each wish is taken back, and nothing else is ever written.
    values = device.values()[before:]
    assert values[: len(values) // 2 * 2] == [SHORT, ANY] * (len(values) // 2)


def test_counters(device, start):
    mount = start("latency=low")
    ask_until(mount, device.is_held, "short wake-ups")
    first = mount.stats()
    written = device.values().count(SHORT)
    then = mount.stats()
    name = "iomemfs_short_wakeups_total"
    assert 1 <= first[name] <= written <= then[name]
    name = "iomemfs_short_wakeups_seconds_total"
    assert 0 < first[name] <= then[name]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_an_idle_mount_sleeps_and_holds_nothing(device, start):
    mount = start("latency=low")
    ask_until(mount, device.is_held, "short wake-ups")
    pids = mount.pids()
    assert len(pids) >= 3

    def undisturbed(seconds):
        before = sleeps(pids), len(device.values())
        time.sleep(seconds)
        return not device.is_held() and before == (sleeps(pids), len(device.values()))

    # Other programs of the machine may look at all mounts, df(1) for one, and wake the daemon.  One that
    # woke up by itself every now and then would never have ten seconds of sleep.
    wait_for(lambda: undisturbed(10), "ten seconds of sleep", limit=150)


@pytest.mark.log_allows("was killed by signal 9")
def test_let_go_when_the_worker_is_killed(device, start):
    mount = start("latency=low")
    keeper = int(mount.stats()['iomemfs_daemon_pid{role="keeper"}'])
    with busy_client(mount), calls_of(keeper, device.home / "calls") as calls:
        for turn in range(1, 4):
            worker = worker_pid(mount)
            stop_while_held(device, worker)
            before = len(device.values())
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda: len(device.values()) > before, "the end of the dead worker's wish")
            assert device.values()[before] == ANY
            # The next one asks again.
            wait_for(device.is_held, "short wake-ups after a restart")
            # It was the keeper who let go, before it made another worker.
            wait_for(lambda: calls().count("clone") == turn, "the keeper's calls")
            assert calls() == ["write", "clone"] * turn
    wait_until_let_go(device)


@contextlib.contextmanager
def calls_of(pid, path):
    """A function that tells what the process has written to a 4-byte file, and its clones."""
    argv = ["strace", "-q", "-p", str(pid), "-e", "trace=write,clone", "-e", "signal=none",
            "-o", str(path)]  # fmt: skip

    def calls():
        return [line.split("(")[0] for line in path.read_text().splitlines()
                if line.startswith("clone") or re.match(r"write\(\d+, .*, 4\)", line)]

    with subprocess.Popen(argv, stderr=subprocess.PIPE) as tracer:
        try:
            wait_for(lambda: tracer_of(pid) == tracer.pid or tracer.poll() is not None, "strace")
            assert tracer.poll() is None, tracer.stderr.read()
            yield calls
        finally:
            tracer.terminate()


def tracer_of(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^TracerPid:\s*(\d+)", text, re.M)[1])


def stop_while_held(device, worker):
    """Leaves the worker stopped at an instruction where it holds."""

    def try_once():
        os.kill(worker, signal.SIGSTOP)
        wait_for(lambda: state_of(worker) == "T", "the worker's stop")
        if device.is_held():
            return True
        os.kill(worker, signal.SIGCONT)
        return False

    wait_for(try_once, "a worker that holds")


@pytest.mark.may_leave_mount
@pytest.mark.log_allows("the keeper has died")
def test_outlives_the_keeper(device, start):
    mount = start("latency=low")
    keeper = int(mount.stats()['iomemfs_daemon_pid{role="keeper"}'])
    worker = worker_pid(mount)
    with busy_client(mount):
        stop_while_held(device, worker)
        os.kill(keeper, signal.SIGKILL)
        os.kill(worker, signal.SIGCONT)
        wait_for(lambda: worker_pid(mount) != worker, "another worker")
        wait_for(device.is_held, "short wake-ups after a takeover")
    assert mount.stats()["iomemfs_short_wakeups"] == 1
    wait_until_let_go(device)


def test_only_keeper_and_worker_have_it_open(device, start):
    """So the kernel lets go when both have died."""
    mount = start("latency=low")
    wait_for(lambda: device.holders() == {"iomemfs", "iomemfs-worker"}, "the holders")
    assert len(mount.pids()) >= 3


@pytest.mark.parametrize("options", ["latency=normal", "latency=low,spin=0"])
def test_never_opened(device, start, options):
    mount = start(options)
    ask(mount, 1000)
    stats = mount.stats()
    assert stats["iomemfs_short_wakeups"] == stats["iomemfs_short_wakeups_total"] == 0
    assert device.values() == []
    assert device.holders() == set()


@pytest.mark.skipif(not os.path.isdir(CPUIDLE), reason="the kernel has no cpuidle")
@pytest.mark.parametrize("driver, options, wanted", [
    ("haltpoll", "", os.cpu_count() <= PROCESSORS_MAX),
    ("haltpoll", "latency=auto", os.cpu_count() <= PROCESSORS_MAX),
    ("intel_idle", "latency=auto", False),
    ("intel_idle", "latency=low", True),
])  # fmt: skip
def test_where_it_pays(device, start, driver, options, wanted):
    mount = start(options, driver)
    assert mount.stats()["iomemfs_short_wakeups"] == wanted
    if wanted:
        ask_until(mount, device.is_held, "short wake-ups")
    else:
        ask(mount, 1000)
        assert device.values() == []


@pytest.mark.parametrize("options", ["", "latency=low"])
def test_without_the_right_there_is_no_word(mounts, options):
    mount = mounts(options, user=NOBODY)
    support.as_user(NOBODY, ask, mount, 1000)
    stats = support.as_user(NOBODY, mount.stats)
    assert stats["iomemfs_short_wakeups"] == stats["iomemfs_short_wakeups_total"] == 0
    assert "latency" not in mount.log() and "wake" not in mount.log()
