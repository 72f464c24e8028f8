# SPDX-License-Identifier: MIT
"""Starting and ending mounts, acting as other users, waiting for conditions."""

import atexit
import contextlib
import functools
import os
import pathlib
import pickle
import platform
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import traceback
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How many times as long all may take, e.g. on an emulated processor.
SLOWNESS = float(os.environ.get("IOMEMFS_TEST_SLOWNESS", "1"))
LIMIT = 30.0 * SLOWNESS  # seconds that a condition may take on a machine that is busy with other things
# Where the lines of a log name a failure, whatever the test is about.
LOG_FAILURES = re.compile(
    r"ERROR: \w+Sanitizer|runtime error|SUMMARY: \w+Sanitizer|\berror:|\bleak|Assertion", re.I
)
# Two ordinary users that every Debian system has.
NOBODY = (65534, 65534)
DAEMON = (1, 1)


def kernel_is_from(*version):
    """Whether the kernel is of this version or a later one: kernel_is_from(6, 9)."""
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2]) >= version


def without_kernel_warnings(stderr, passthrough=True):
    """
    What a program said while it mounted, but for what it must say on a kernel before 6.9: that
    requests are not resent, and, unless passthrough is false, that there is no passthrough.
    """
    if kernel_is_from(6, 9):
        return stderr
    lines = stderr.splitlines(keepends=True)
    known = [line for line in lines if "cannot resend requests" in line]
    assert len(known) == 1, stderr
    if passthrough:
        known += [line for line in lines if "no passthrough here" in line]
    return "".join(line for line in lines if line not in known)


def _others_reach(path):
    """Whether every user can get to this file: the tree may be below /root."""
    return all(parent.stat().st_mode & 0o001 for parent in (path / "x").resolve().parents)


@functools.lru_cache(maxsize=None)
def _copies():
    """A folder for copies that every user can reach; it goes with this process."""
    path = scratch_directory()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def _copy_build(build):
    """Copies what is run of a build: not what the linker needs."""
    for part in ("src", "bench"):
        shutil.copytree(
            build / part,
            _copies() / part,
            symlinks=True,
            ignore=shutil.ignore_patterns("*.p", "*.a"),
        )
    return _copies()


@functools.lru_cache(maxsize=None)
def build_dir():
    """The folder of the build under test, or a copy of its programs that every user can run."""
    build = pathlib.Path(os.environ.get("IOMEMFS_BUILD", ROOT / "build" / "plain")).absolute()
    return build if _others_reach(build) else _copy_build(build)


def program():
    """The daemon under test."""
    return os.environ.get("IOMEMFS") or str(build_dir() / "src" / "process" / "iomemfs")


def limited_program(home, soft, hard):
    """A program in folder home that runs the daemon with few descriptors."""
    script = home / "few-descriptors"
    # With CAP_SYS_RESOURCE it would raise the hard limit.
    script.write_text(
        f"#!/bin/sh\nulimit -Sn {soft}\nulimit -Hn {hard}\n"
        f'exec setpriv --bounding-set -sys_resource {shlex.quote(program())} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


@functools.lru_cache(maxsize=None)
def tests_dir():
    """The folder of all tests, or a copy of what others than root run or read of it."""
    tests = ROOT / "tests"
    if _others_reach(tests):
        return tests
    copy = _copies() / "tests"
    shutil.copytree(tests / "integration", copy / "integration")
    shutil.copy(tests / "leaks.txt", copy)
    return copy


def is_sanitized():
    return os.environ.get("IOMEMFS_SANITIZED") == "1"


def wait_for(condition, what="condition", limit=LIMIT):
    """Waits until condition() is true and returns what it returned."""
    end = time.monotonic() + limit
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.005)


def worker_pid(mount):
    return int(mount.stats()['iomemfs_daemon_pid{role="worker"}'])


def as_user(user, function, *arguments, groups=(), umask=None):
    """Calls function as user = (uid, gid) in a process of its own.

    Returns what it returned; raises what it raised.
    """
    uid, gid = user
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            try:
                os.setgroups(list(groups))
                os.setgid(gid)
                os.setuid(uid)
                if umask is not None:
                    os.umask(umask)
                outcome = (True, function(*arguments))
            except BaseException as error:  # pylint: disable=broad-except
                error.__traceback__ = None
                error.__context__ = None
                outcome = (False, error)
            try:
                data = pickle.dumps(outcome)
            except Exception:  # pylint: disable=broad-except
                data = pickle.dumps((False, AssertionError(traceback.format_exc())))
            with os.fdopen(writer, "wb") as stream:
                stream.write(data)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0 and data, f"the process of user {uid} ended with status {status}"
    succeeded, value = pickle.loads(data)
    if succeeded:
        return value
    raise value


def fails_with(number, function, *arguments):
    """Checks that the call fails with this errno, and with words, which it returns."""
    with pytest.raises(OSError) as caught:
        function(*arguments)
    assert caught.value.errno == number, caught.value
    assert caught.value.strerror
    return caught.value.strerror


def run(argv, *, user=None, groups=(), check=False, timeout=LIMIT, **keywords):
    """subprocess.run() with text, captured output, and, if given, as user = (uid, gid)."""
    if user is not None:
        keywords.update(user=user[0], group=user[1], extra_groups=list(groups))
    keywords.setdefault("stdin", subprocess.DEVNULL)
    keywords.setdefault("stdout", subprocess.PIPE)
    keywords.setdefault("stderr", subprocess.PIPE)
    return subprocess.run(
        [str(a) for a in argv], check=check, timeout=timeout, text=True, **keywords
    )


def mount_line(path):
    """The fields of the topmost mount on path in /proc/self/mountinfo, or None."""
    path = str(path)
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split()
            target = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])
            if target == path:
                found = fields
    return found


def is_mounted(path):
    return mount_line(path) is not None


def abort_connection(path):
    """Ends the FUSE connection of the mount on path, so that whatever waits for it fails."""
    fields = mount_line(path)
    if fields is None:
        return
    number = fields[2].split(":")[1]
    connections = pathlib.Path("/sys/fs/fuse/connections")
    if not any(connections.iterdir()):
        subprocess.run(["mount", "-t", "fusectl", "none", connections], check=False)
    with contextlib.suppress(OSError):
        (connections / number / "abort").write_text("1")


def processes_with_environment(word):
    """Pids of the processes that have this word (NAME=VALUE) in their environment."""
    word = word.encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/environ", "rb") as stream:
                if word in stream.read().split(b"\0"):
                    with open(f"/proc/{entry}/stat", "rb") as stat:
                        if stat.read().rpartition(b")")[2].split()[0] != b"Z":
                            found.append(int(entry))
    return found


def scratch_directory(mode=0o755):
    """A new folder that other users can pass through, as pytest's own cannot be."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="iomemfs-test-"))
    path.chmod(mode)
    return path


# For the sanitizers, of whatever the tests run.
os.environ.setdefault("LSAN_OPTIONS", f"suppressions={tests_dir()}/leaks.txt:print_suppressions=0")
os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")


class Mount:
    """A daemon in the foreground and the mount that it serves."""

    def __init__(
        self,
        options="",
        *,
        passthrough=None,
        user=None,
        source="iomemfs",
        environment=None,
        directory=None,
        binary=None,
        start=True,
    ):
        self.home = scratch_directory()
        self.path = pathlib.Path(directory) if directory else self.home / "mnt"
        self.path.mkdir(exist_ok=True)
        self.log_path = self.home / "log"
        self.user = user
        if user is not None:
            os.chown(self.path, *user)
        words = [w for w in (options,) if w]
        if passthrough is not None:
            words.append(f"passthrough={passthrough}")
        if "socket=" not in options:
            words.append(f"socket={self.home}/socket")
        self.mark = f"IOMEMFS_TEST_MARK={uuid.uuid4()}"
        self.argv = [binary or program(), source, str(self.path), "-f", "-o", ",".join(words)]
        self.environment = dict(os.environ, **(environment or {}))
        self.environment.update([self.mark.split("=", 1)])
        self.process = None
        self.mount_id = None
        if user is not None:
            os.chown(self.home, *user)
        if start:
            self.start()

    def __str__(self):
        return str(self.path)

    def __fspath__(self):
        return str(self.path)

    def __truediv__(self, name):
        return self.path / name

    @property
    def ctl(self):
        return self.path / ".ctl"

    def start(self):
        """Starts the daemon and waits until the mount answers."""
        keywords = {}
        if self.user is not None:
            keywords = {"user": self.user[0], "group": self.user[1], "extra_groups": []}
        before = mount_line(self.path)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                **keywords,
            )
        try:
            self.mount_id = wait_for(lambda: self._new_id(before), f"mount on {self.path}")
            if self.user is None or "allow_other" in self.argv[-1]:
                os.listdir(self.path)
            else:
                as_user(self.user, os.listdir, self.path)
        except BaseException:
            self.kill()
            raise

    def _new_id(self, before):
        """The id of the mount that appeared on top of what was there before."""
        fields = mount_line(self.path)
        if fields is not None and (before is None or fields[0] != before[0]):
            return fields[0]
        if self.process.poll() is not None and not self.pids():
            raise AssertionError(f"the daemon ended at once:\n{self.log()}")
        return None

    def is_mounted(self):
        """Whether it is this mount that is on top."""
        fields = mount_line(self.path)
        return fields is not None and fields[0] == self.mount_id

    def log(self):
        return self.log_path.read_text(errors="replace")

    def pids(self):
        """All processes of this daemon that live: keeper and worker, whoever they are now."""
        return processes_with_environment(self.mark)

    def stats(self):
        """.ctl/stats: {name or name{labels}: number}."""
        values = {}
        for line in (self.ctl / "stats").read_text().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    def command(self, file, line):
        """Writes a command to a file of .ctl in one write(2)."""
        fd = os.open(self.ctl / file, os.O_WRONLY)
        try:
            os.write(fd, line.encode() + b"\n")
        finally:
            os.close(fd)

    def create(self, name, size, *words):
        self.command("create", " ".join([name, str(size), *words]))
        return self.path / name

    def unmount(self):
        """umount(8)'s call; busy mounts are given a moment, as files close late."""
        if self.user is None:
            wait_for(self._try_unmount, f"umount {self.path}: busy")
        else:
            run(["fusermount3", "-u", self.path], user=self.user, check=True)

    def _try_unmount(self):
        result = run(["umount", "--", self.path])
        return result.returncode == 0 or not self.is_mounted()

    def wait_end(self):
        """Waits until no process of the daemon is left."""
        wait_for(lambda: self.process.poll() is not None or self.process.pid not in self.pids(),
                 "the daemon's end after the unmount")
        wait_for(lambda: not self.pids(), "the end of all the daemon's processes")

    def kill(self):
        """Ends everything by force.  For what comes after a failure."""
        if self.is_mounted():
            abort_connection(self.path)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()
        if self.is_mounted():
            run(["umount", "-l", "--", self.path])

    def failures(self, allowed=()):
        """The lines of the log that name a failure."""
        return [
            line
            for line in self.log().splitlines()
            if LOG_FAILURES.search(line) and not any(re.search(p, line) for p in allowed)
        ]

    def stop(self, allowed=(), may_be_gone=False):
        """Ends the mount as a user would, and checks that nothing is left."""
        problems = []
        try:
            if self.is_mounted():
                self.unmount()
            elif not may_be_gone:
                problems.append("the mount had gone by itself")
            self.wait_end()
        except (AssertionError, subprocess.SubprocessError, OSError) as error:
            problems.append(str(error))
        finally:
            leftover = bool(self.pids()) or self.is_mounted()
            self.kill()
        if leftover and not problems:
            problems.append("processes or a mount were left")
        if not may_be_gone and self.process.returncode not in (0, None):
            problems.append(f"the daemon ended with status {self.process.returncode}")
        problems += self.failures(allowed)
        log = self.log()
        shutil.rmtree(self.home, ignore_errors=True)
        assert not problems, "\n".join(problems) + f"\n--- log ---\n{log}"


class TmpfsMount:
    """tmpfs in the same dress: what the tests of names and files must pass on, too."""

    process = None

    def __init__(self, options=""):
        self.home = scratch_directory()
        self.path = self.home / "mnt"
        self.path.mkdir()
        argv = ["mount", "-t", "tmpfs", "tmpfs", self.path]
        run(argv + (["-o", options] if options else []), check=True)

    __str__ = Mount.__str__
    __fspath__ = Mount.__fspath__
    __truediv__ = Mount.__truediv__

    def stop(self, allowed=(), may_be_gone=False):
        del allowed, may_be_gone
        run(["umount", "-l", self.path], check=True)
        shutil.rmtree(self.home, ignore_errors=True)


class Watchdog:
    """Ends the connection of a mount that hangs, before the time limit ends the whole run."""

    def __init__(self, mount, seconds):
        self.fired = False
        self.mount = mount
        self.timer = threading.Timer(seconds, self._fire)
        self.timer.daemon = True
        self.timer.start()

    def _fire(self):
        self.fired = True
        abort_connection(self.mount.path)

    def cancel(self):
        self.timer.cancel()
