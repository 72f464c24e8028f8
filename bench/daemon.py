# SPDX-License-Identifier: MIT
"""What only the daemon's side shows: requests, idle processor time, memory, and being killed."""

import mmap
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
KIB = 1024


def requests(peer):
    """How many FUSE requests of each kind the daemon has had."""
    pattern = re.compile(r'iomemfs_requests_total\{.*?="([^"]+)".*\}')
    found = {}
    for name, value in peer.stats().items():
        match = pattern.match(name)
        if match:
            found[match[1].lower()] = int(value)
    return found


def requests_of_data(peer, rounds):
    """Requests while an open region is read, written and mapped: there should be none."""
    path = peer.directory / "requests"
    (peer.directory / ".ctl/create").write_text("requests 1M\n", encoding="ascii")
    with open(path, "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as memory:
        first = requests(peer)
        before = requests(peer)  # what looking at the numbers costs is no part of them
        for i in range(rounds):
            os.pwrite(file.fileno(), b"x" * 4096, i % 256 * 4096)
            os.pread(file.fileno(), 4096, i % 256 * 4096)
            memory[i % 256 * 4096] = i % 256
        after = requests(peer)
    path.unlink()
    more = {name: after[name] - 2 * before.get(name, 0) + first.get(name, 0) for name in after}
    return {"calls": 3 * rounds,
            "data_requests": more.get("read", 0) + more.get("write", 0),
            "other_requests": sum(more.values()) - more.get("read", 0) - more.get("write", 0)}


def requests_of_tar(peer, trees):
    """Requests of each kind for each file that tar(1) makes, and that rm(1) removes."""
    place = peer.directory / "counted"
    place.mkdir()
    found = {"files": trees.files}
    for name, command in (("tar", ["tar", "-C", place, "-xf", trees.archive]),
                          ("rm", ["rm", "-rf", place])):
        before = requests(peer)
        subprocess.run(command, check=True)
        after = requests(peer)
        more = {kind: (after[kind] - before.get(kind, 0)) / trees.files for kind in after}
        # What looking at the numbers costs is a request or two in all.
        found[name] = {kind: value for kind, value in more.items() if value >= 0.05}
    return found


def processor_ticks(pids):
    total = 0
    for pid in pids:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        fields = stat.rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total


def wakeups(pids):
    """How often all threads of the processes went to sleep, which is how often they woke up."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            text = (task / "status").read_text(encoding="ascii")
            total += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.M)[1])
    return total


def short_seconds(peer):
    return peer.stats().get("iomemfs_short_wakeups_seconds_total", 0.0)


def idle(peer, seconds):
    """What all the daemon's processes do while nobody asks for anything."""
    held = short_seconds(peer)
    time.sleep(0.5)
    pids = peer.pids()
    before = processor_ticks(pids), wakeups(pids)
    time.sleep(seconds)
    after = processor_ticks(pids), wakeups(pids)
    # Looking at the numbers is work, and short wake-ups are asked for during that.
    return {"seconds": seconds, "processor_seconds": (after[0] - before[0]) / TICKS,
            "wakeups": after[1] - before[1], "short_seconds": short_seconds(peer) - held}


def private_bytes(pids):
    """Memory of the processes and what they share with each other: no region is mapped there."""
    total = 0
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        total += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) * KIB
    return total


def kernel_bytes():
    """What the kernel holds in its slabs and cannot drop; reading stat_refresh makes it exact."""
    if os.geteuid() == 0:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("2\n", encoding="ascii")
        pathlib.Path("/proc/sys/vm/stat_refresh").read_text(encoding="ascii")
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    return int(re.search(r"^Slab:\s+(\d+)", text, re.M)[1]) * KIB


def memory(peer, count):
    """Bytes for each empty file that nobody has open: the daemon's, and the kernel's slabs'."""
    directory = peer.directory / "memory"
    directory.mkdir()
    before = private_bytes(peer.pids()), kernel_bytes()
    for i in range(count):
        os.mknod(directory / f"m{i}", 0o600)
    after = private_bytes(peer.pids()), kernel_bytes()
    for i in range(count):
        (directory / f"m{i}").unlink()
    directory.rmdir()
    return {"files": count, "daemon_bytes": (after[0] - before[0]) / count,
            "kernel_bytes": (after[1] - before[1]) / count}


class Load(threading.Thread):
    """Opens, writes, reads, closes and stats until told to stop; remembers the longest wait."""

    def __init__(self, path):
        super().__init__()
        self.path, self.stopped = path, False
        self.calls = self.errors = self.lost = 0
        self.worst = 0.0

    def timed(self, call, *args):
        start = time.monotonic()
        try:
            return call(*args)
        except OSError:
            self.errors += 1
            return None
        finally:
            self.worst = max(self.worst, time.monotonic() - start)
            self.calls += 1

    def round(self, i):
        stamp = i.to_bytes(8, "little")
        fd = self.timed(os.open, self.path, os.O_RDWR)
        if fd is None:
            return
        self.timed(os.pwrite, fd, stamp, i % 512 * 8)
        if self.timed(os.pread, fd, 8, i % 512 * 8) != stamp:
            self.lost += 1
        self.timed(os.close, fd)
        self.timed(os.stat, self.path + f".{i}.none" if i % 2 else self.path)

    def run(self):
        i = 0
        while not self.stopped:
            self.round(i)
            if i % 2:
                self.errors -= 1  # the name that is not there
            i += 1


def killed(peer, seconds, every):
    """The worker is killed again and again under load."""
    (peer.directory / ".ctl/create").write_text("killed 1M\n", encoding="ascii")
    load = Load(str(peer.directory / "killed"))
    kills, limit = 0, time.monotonic() + seconds
    load.start()
    while time.monotonic() < limit and load.is_alive():
        if every:
            for pid in peer.pids()[1:]:
                os.kill(pid, signal.SIGKILL)
                kills += 1
        time.sleep(every or 0.02)
    load.stopped = True
    load.join(30)
    (peer.directory / "killed").unlink()
    return {"seconds": seconds, "kills": kills, "calls": load.calls, "failed": load.errors,
            "lost": load.lost, "worst_ms": load.worst * 1000}


def call_times(directory, going_on):
    """Nanoseconds of stat, open with close, and create, one after the other, while going_on()."""
    old, new = str(directory / "old"), str(directory / "new")
    times = []
    while going_on():
        start = time.perf_counter_ns()
        os.stat(old)
        middle = time.perf_counter_ns()
        os.close(os.open(old, os.O_RDONLY))
        end = time.perf_counter_ns()
        times += [middle - start, end - middle]
        start = time.perf_counter_ns()
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        times.append(time.perf_counter_ns() - start)
        os.unlink(new)
    return times


def spread(times):
    times = sorted(times)
    return {"calls": len(times), "median_us": times[len(times) // 2] / 1000,
            "p99_us": times[len(times) * 99 // 100] / 1000, "max_us": times[-1] / 1000}


def populate_size(quick):
    """4 GiB, or half of what there is; little if it shall be quick."""
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    half = int(re.search(r"^MemAvailable:\s+(\d+)", text, re.M)[1]) // 2 * KIB
    return min(256 << 20 if quick else 4 << 30, half >> 20 << 20)


def while_populating(peer, quick):
    """Times of others' calls while a region is populated, and for as long before that."""
    directory = peer.directory / "populating"
    directory.mkdir()
    (directory / "old").write_bytes(b"x")
    size = populate_size(quick)
    command = ["/bin/sh", "-c", f"echo 'big {size} populate' > .ctl/create"]
    # Once to know how long it takes, when nobody disturbs it.
    start = time.monotonic()
    subprocess.run(command, cwd=peer.directory, check=True)
    alone = time.monotonic() - start
    (peer.directory / "big").unlink()
    limit = time.monotonic() + alone
    without = call_times(directory, lambda: time.monotonic() < limit)
    start = time.monotonic()
    with subprocess.Popen(command, cwd=peer.directory) as populating:
        during = call_times(directory, lambda: populating.poll() is None)
    seconds = time.monotonic() - start
    for path in (directory / "old", peer.directory / "big"):
        path.unlink()
    directory.rmdir()
    return {"bytes": size, "seconds": seconds, "seconds_alone": alone,
            "without": spread(without), "during": spread(during)}


def worker_of(peer, killed):
    """The worker's pid, as soon as there is one that was not killed."""
    while True:
        for pid in peer.pids()[1:]:
            try:
                name = pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
            except OSError:
                continue
            if name == "iomemfs-worker" and pid != killed:
                return pid
        time.sleep(0.001)


def restarts(peer, kills):
    """From SIGKILL of the worker to the answer of a call that waits for it, nothing else going on."""
    times, worker = [], None
    for i in range(kills):
        # The daemon is not asked for it: that would be a look at every region.
        worker = worker_of(peer, worker)
        time.sleep(0.02)
        start = time.monotonic_ns()
        os.kill(worker, signal.SIGKILL)
        if os.path.lexists(peer.directory / f"no-such-name-{i}"):
            raise RuntimeError("a name that nobody made")
        times.append(time.monotonic_ns() - start)
    return {"regions": int(peer.stats()["iomemfs_regions"]), **spread(times)}


def first_checks(peers, quick, failures):
    """What is told before there are files."""
    try:
        return {"restarts, empty": restarts(peers["iomemfs"], 20 if quick else 200)}
    except KeyError:
        return {}
    except (OSError, RuntimeError) as why:
        failures["check of the daemon: restarts, empty"] = str(why)
        return {}


def all_checks(peers, quick, trees, failures):
    """By name; what cannot be told here is left out, and what went wrong is in `failures`."""
    checks = {}

    def check(name, function, key, *args):
        if key not in peers:
            return
        try:
            checks[name] = function(peers[key], *args)
        except (OSError, RuntimeError, subprocess.SubprocessError) as why:
            failures[f"check of the daemon: {name}"] = str(why)

    seconds = 0.5 if quick else 5
    check("requests", requests_of_data, "iomemfs", 1000 if quick else 100000)
    check("files", requests_of_tar, "iomemfs", trees)
    check("idle", idle, "iomemfs", 1 if quick else 10)
    for key in ("tmpfs", "iomemfs", "cache"):
        check(f"memory {key}", memory, key, 1000 if quick else 10000)
    check("restarts", restarts, "iomemfs", 20 if quick else 200)
    check("populating", while_populating, "iomemfs", quick)
    check("undisturbed", killed, "iomemfs", seconds, 0)
    check("killed", killed, "iomemfs", seconds, 0.02)
    return checks
