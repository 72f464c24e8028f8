# SPDX-License-Identifier: MIT
"""An attack beside a victim.

    def test_lists(beside):
        with beside.attack(lists_for_ever, socket_of(beside.mount), processes=4):
            beside.serve()

The attack runs as one user, the victim as another.  The victim works through rounds of files,
commands and requests, and compares each answer with what it must be.  The verdict is about work and
state: all rounds came to their end while the attack went on; what the victim had is whole; no worker
died; what the attack made is gone when its files are.  The time of each call is only printed, beside
those of the same calls on tmpfs, where other processes keep the processors as busy as the attack did.
"""

import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import pickle
import shutil
import signal
import struct
import sys
import time
import traceback

import crash_load
import support
from socket_client import Client, socket_of

ATTACKER = support.NOBODY
VICTIM = support.DAEMON
ROUNDS = 60
STUCK = 60.0  # seconds without a step of the victim: it hangs
KINDS = ("files", "commands", "socket")
PAGE = 4096
# The most that one turn of the loop may visit, where the daemon counts it (IOMEMFS_TESTING).
TURN_LIMITS = {"iomemfs_test_turn_records_max": 512}  # 256, and the way along one path
KEPT = b"the victim's own " * 700
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)
TICK = os.sysconf("SC_CLK_TCK")


class Counters:
    """Numbers that processes share with us."""

    def __init__(self, n):
        self.memory = mmap.mmap(-1, 8 * n)

    def add(self, index):
        (value,) = struct.unpack_from("Q", self.memory, 8 * index)
        struct.pack_into("Q", self.memory, 8 * index, value + 1)

    def values(self):
        return struct.unpack_from(f"{len(self.memory) // 8}Q", self.memory)

    def total(self):
        return sum(self.values())


class Process:
    """function(*arguments) as user, in a process group of its own; it may be ended at any time."""

    def __init__(self, user, function, *arguments):
        self.name = getattr(function, "__name__", "process")
        self.reader, writer = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reader)
            self._child(user, writer, function, arguments)
        os.close(writer)
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, 0)

    @staticmethod
    def _child(user, writer, function, arguments):
        status = 1
        try:
            os.setpgid(0, 0)
            try:
                os.setgroups([])
                os.setgid(user[1])
                os.setuid(user[0])
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user clears it
                outcome = (None, function(*arguments))
            except BaseException:  # pylint: disable=broad-except
                outcome = (traceback.format_exc(), None)
            with os.fdopen(writer, "wb") as stream:
                pickle.dump(outcome, stream)
            status = 0
        finally:
            os._exit(status)

    def is_over(self):
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def seems_over(self):
        """The same, for others than its parent to ask."""
        return crash_load.state(self.pid) in (None, "Z", "X")

    def seconds(self):
        """Processor time of the whole group so far."""
        return sum(t for t in (cpu_seconds(pid, self.pid) for pid in all_pids()) if t)

    def end(self, kill=True):
        """What function returned; None if it was killed.  AssertionError if it failed by itself."""
        if kill:
            os.killpg(self.pid, signal.SIGKILL)
        with os.fdopen(self.reader, "rb") as stream:
            os.waitpid(self.pid, 0)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # what it started
            os.set_blocking(stream.fileno(), False)
            data = stream.read()
        if not data:
            assert kill, f"{self.name}: the process died"
            return None
        problem, value = pickle.loads(data)
        assert problem is None, f"{self.name}:\n{problem}"
        return value


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def where_is(pid):
    """What a process is at in the kernel, for people."""
    text = f"{pid} {crash_load.name_of(pid)} {crash_load.state(pid)}"
    for thread in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        for name in ("syscall", "stack"):
            with contextlib.suppress(OSError):
                text += f"\n  {thread.name} {' '.join((thread / name).read_text().split())}"
    return text


def cpu_seconds(pid, group=None):
    """Processor time of the process and of its dead children; None if it is in another group."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if group is not None and int(fields[2]) != group:
        return None
    return sum(int(n) for n in fields[11:15]) / TICK


# --- the victim ---------------------------------------------------------------------------------


class Victim:
    """Works through rounds, and compares what it gets with what must be."""

    def __init__(self, folder, socket_path, kinds):
        self.folder = str(folder)
        self.socket_path = socket_path
        self.kinds = kinds
        self.clocks = {kind: crash_load.Clock() for kind in KINDS}
        self.number = 0

    def at(self, name):
        return f"{self.folder}/{name}"

    def files(self, clock):
        name, other, text = f"f{self.number}", f"g{self.number}", os.urandom(PAGE + 100)
        fd = clock(os.open, self.at(name), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
        try:
            assert clock(os.write, fd, text) == len(text)
            assert clock(os.fstat, fd).st_size == len(text)
            with mmap.mmap(fd, PAGE) as memory:
                assert memory[:] == text[:PAGE]
        finally:
            clock(os.close, fd)
        clock(os.rename, self.at(name), self.at(other))
        st = clock(os.lstat, self.at(other))
        assert (st.st_uid, st.st_mode & 0o7777, st.st_nlink) == (os.getuid(), 0o640, 1)
        assert other in clock(os.listdir, self.folder)
        with clock(open, self.at(other), "rb") as stream:
            assert clock(stream.read) == text
        clock(os.unlink, self.at(other))
        assert not os.path.lexists(self.at(other))
        with open(self.at("kept"), "rb") as stream:
            assert stream.read() == KEPT

    def command(self, clock, file, line):
        fd = clock(os.open, self.at(f".ctl/{file}"), os.O_WRONLY)
        try:
            clock(os.write, fd, line.encode() + b"\n")
        finally:
            os.close(fd)

    def commands(self, clock):
        name = f"r{self.number}"
        self.command(clock, "create", f"{name} {PAGE} mode=0640")
        assert clock(os.stat, self.at(name)).st_size == PAGE
        self.command(clock, "resize", f"{name} {2 * PAGE}")
        assert clock(os.stat, self.at(name)).st_size == 2 * PAGE
        with clock(open, self.at(".ctl/regions.json"), "rb") as stream:
            regions = {r["name"]: r["size"] for r in json.loads(clock(stream.read))["regions"]}
        assert regions == {name: 2 * PAGE, "kept": len(KEPT)}
        self.command(clock, "remove", name)
        assert not os.path.lexists(self.at(name))
        assert clock(os.statvfs, self.folder).f_files >= 0

    def socket(self, clock):
        folder = self.folder.rpartition("/")[2]
        name = f"{folder}/s{self.number}"
        with contextlib.closing(clock(Client, self.socket_path)) as client:
            with contextlib.closing(os.fdopen(clock(client.ask_fd, f"create {name} {PAGE}"), "wb")):
                assert clock(client.stat, name)["size"] == PAGE
            with client.opened(f"open ro {folder}/kept") as fd:
                assert os.pread(fd, len(KEPT) + 1, 0) == KEPT
            clock(client.ask, f"remove {name}")
        assert not os.path.lexists(self.at(f"s{self.number}"))

    def work(self, counters, is_enough):
        """Rounds until is_enough(); {kind: seconds of each call}."""
        while not is_enough(self.number):
            for kind in self.kinds:
                getattr(self, kind)(self.clocks[kind])
                counters.add(0)
            self.number += 1
        return {kind: self.clocks[kind].times for kind in self.kinds}


def keep_busy(share):
    """Uses that share of a processor."""
    piece = 0.005
    while True:
        end = time.monotonic() + piece
        while time.monotonic() < end:
            pass
        time.sleep(piece * (1 - share) / share)


def milliseconds(times):
    """(p50, p99), for people."""
    flat = sorted(times)
    return [f"{flat[int(share * (len(flat) - 1))] * 1000:.3f}" for share in (0.5, 0.99)]


# --- both ---------------------------------------------------------------------------------------


class Beside:
    """A mount, a folder of the attacker and one of the victim on it, and what must hold."""

    def __init__(self, mount, title, say=print):
        self.mount = mount
        self.title = title
        self.say = say
        self.daemon = crash_load.Daemon(mount)
        self.socket_path = socket_of(mount)
        self.attacks = []
        self.counters = Counters(64)
        self.restarts = 0  # a test that kills workers itself counts them here
        self.victims = self._folder("victim", VICTIM)
        kept = self.victims / "kept"
        kept.write_bytes(KEPT)
        os.chown(kept, *VICTIM)
        self.before = self.state()
        self.attackers = self._folder("attacker", ATTACKER)

    def _folder(self, name, user):
        path = self.mount / name
        path.mkdir(mode=0o700)
        os.chown(path, *user)
        return path

    def state(self):
        """What the daemon holds."""
        vfs = os.statvfs(self.mount)
        stats = self.mount.stats()
        return {
            "blocks": vfs.f_blocks - vfs.f_bfree,
            "files": vfs.f_files - vfs.f_ffree,
            "used": stats["iomemfs_used_bytes"],
            "handles": stats["iomemfs_open_handles"],
            "descriptors": self.daemon.descriptors(),
        }

    @contextlib.contextmanager
    def attack(self, function, *arguments, processes=1, user=ATTACKER):
        """Runs function(hit, *arguments) in these processes; it calls hit() for each thing it did.

        It may return.  What it raises is a failure of the test: a refusal is for it to take.
        """
        started = []
        try:
            for _ in range(processes):
                index = 1 + len(self.attacks)
                hit = lambda i=index: self.counters.add(i)  # noqa: E731
                started.append(Process(user, function, hit, *arguments))
                self.attacks.append(started[-1])
            yield started
        finally:
            failed = sys.exc_info()[0] is not None
            for one in started:
                self.attacks.remove(one)
                try:
                    one.end(kill=True)
                except AssertionError as error:
                    if not failed:
                        raise
                    self.say(error)

    def hits(self):
        return sum(self.counters.values()[1:])

    def wait_hits(self, n):
        """Until the attacks have done n things more, together."""
        start = self.hits()
        try:
            support.wait_for(lambda: self.hits() >= start + n or self._all_over(), f"{n} hits")
        except AssertionError as error:
            where = "\n".join(where_is(one.pid) for one in self.attacks)
            raise AssertionError(f"{error}\n{where}") from None
        assert self.hits() >= start + n, "the attack ended too soon"

    def _all_over(self):
        return all(one.seems_over() for one in self.attacks)

    def serve(self, rounds=ROUNDS, hits=None, kinds=KINDS):
        """The victim's rounds: so many, and until the attack has done so many things beside them.

        With hits=0 the attack may be one that did all that it does before, and just holds on to it.
        """
        if hits is None:
            hits = 1 if self.attacks else 0
        victim = Victim(self.victims, self.socket_path, kinds)
        first = self.hits()

        def is_enough(number):
            return number >= rounds and (self.hits() >= first + hits or self._all_over())

        load = self._seconds()
        start = time.monotonic()
        times = self._watch(Process(VICTIM, victim.work, self.counters, is_enough))
        load = (self._seconds() - load) / (time.monotonic() - start)
        assert self.hits() >= first + hits, "the attack ended too soon"
        self._report(times, max(0.0, load), self.hits() - first)

    def _seconds(self):
        own = [cpu_seconds(pid) or 0 for pid in self.mount.pids()]
        return sum(own) + sum(one.seconds() for one in self.attacks)

    def _watch(self, process):
        """Waits for the victim as long as it gets on."""
        seen, since = self.counters.values()[0], time.monotonic()
        try:
            while not process.is_over():
                now = self.counters.values()[0]
                if now != seen:
                    seen, since = now, time.monotonic()
                assert time.monotonic() - since < STUCK, f"the victim hangs after {seen} steps"
                time.sleep(0.005)
        except BaseException:
            with contextlib.suppress(AssertionError):
                process.end(kill=True)
            raise
        return process.end(kill=False)

    def _report(self, times, load, hits):
        peer = tmpfs_times(load) if "files" in times else []
        line = f"\n{self.title}: {hits} hits, {load:.2f} processors busy; p50, p99 in ms:"
        for kind, calls in times.items():
            line += f" {kind} {' '.join(milliseconds(calls))};"
        if peer:
            line += f" files on tmpfs beside that load {' '.join(milliseconds(peer))}"
        self.say(line)

    def check(self):
        """What must be true after every attack; the attacker's files are removed for it."""
        stats = self.mount.stats()
        assert stats["iomemfs_restarts_total"] == self.restarts, "a worker died by itself"
        for name, limit in TURN_LIMITS.items():
            assert stats.get(name, 0) <= limit, f"{name} is {stats[name]}"
        assert sorted(os.listdir(self.victims)) == ["kept"]
        assert (self.victims / "kept").read_bytes() == KEPT
        shutil.rmtree(os.fsencode(self.attackers))
        try:
            support.wait_for(lambda: self.state() == self.before, "the state of before")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.before}, now {self.state()}") from None


def tmpfs_times(load):
    """Times of the victim's files on a tmpfs while so many processors are busy."""
    place = support.TmpfsMount("size=16m")
    shares = [1.0] * int(load) + ([load % 1] if load % 1 > 0.05 else [])
    busy = [Process(ATTACKER, keep_busy, share) for share in shares]
    try:
        (place / "kept").write_bytes(KEPT)
        place.path.chmod(0o777)
        victim = Victim(place.path, None, ("files",))
        process = Process(VICTIM, victim.work, Counters(1), lambda number: number >= ROUNDS)
        return process.end(kill=False)["files"]
    finally:
        for one in busy:
            one.end(kill=True)
        place.stop()
