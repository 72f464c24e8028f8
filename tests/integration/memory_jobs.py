# SPDX-License-Identifier: MIT
"""Holds the daemon's process that makes pages, so that a test has all the time it wants."""

import contextlib
import ctypes
import json
import os
import pathlib
import platform
import signal

from holders import die_with_parent
from support import wait_for, worker_pid

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
PTRACE_CONT, PTRACE_DETACH, PTRACE_SYSCALL = 7, 17, 24
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_O_TRACEFORK = 0x4206, 0x4207, 2
EVENT_FORK = 1
WALL = 0x40000000
# Number of the system call.
MADVISE = {"x86_64": 28, "aarch64": 233}[platform.machine()]
PROCESS = "iomemfs-alloc"


def ptrace(request, pid, data=None):
    if libc.ptrace(request, pid, None, data) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def allocator_of(mount):
    """The process of the worker that makes pages, by its children."""
    worker = worker_pid(mount)
    children = pathlib.Path(f"/proc/{worker}/task").glob("*/children")
    for pid in " ".join(path.read_text() for path in children).split():
        if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == PROCESS:
            return int(pid)
    raise AssertionError(f"the worker has no process named {PROCESS}")


class Held:
    """As a context: the process that makes pages stands still, and what it is to do waits."""

    def __init__(self, mount):
        self.pid = allocator_of(mount)
        self.held = False

    def hold(self):
        # On one processor it makes huge pages in one thread, which is the one that is held.
        os.sched_setaffinity(self.pid, {min(os.sched_getaffinity(self.pid))})
        ptrace(PTRACE_SEIZE, self.pid, PTRACE_O_TRACEFORK)
        self.held = True
        ptrace(PTRACE_INTERRUPT, self.pid)
        assert self.stopped()[0] == signal.SIGTRAP

    def stopped(self):
        """The signal that it was stopped by, and the event of ptrace(2)."""
        _, status = os.waitpid(self.pid, WALL)
        assert os.WIFSTOPPED(status), f"the process ended: {status}"
        return os.WSTOPSIG(status), status >> 16

    def step_to(self, call):
        """Lets it go on to the next beginning or end of this system call."""
        number = signal.SIGTRAP
        while True:
            ptrace(PTRACE_SYSCALL, self.pid, 0 if number == signal.SIGTRAP else number)
            number, _ = self.stopped()
            if number == signal.SIGTRAP and self.call() == call:
                return

    def call(self):
        """The number of the system call that it is in, None for none."""
        try:
            word = pathlib.Path(f"/proc/{self.pid}/syscall").read_text().split()[0]
        except (OSError, IndexError):
            return None
        return int(word) if word.isdigit() else None

    def let_work(self):
        """Lets the process go, but for the child that it forks next: it is that one's turn."""
        while True:
            ptrace(PTRACE_CONT, self.pid, 0)
            if self.stopped() == (signal.SIGTRAP, EVENT_FORK):
                break
        children = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        self.release()
        self.pid, self.held = int(children.split()[-1]), True
        self.stopped()

    def release(self):
        if not self.held:
            return
        self.held = False
        try:
            ptrace(PTRACE_DETACH, self.pid)
        except ProcessLookupError:  # killed; it is gone when we have taken note of it
            os.waitpid(self.pid, WALL)

    def __enter__(self):
        self.hold()
        return self

    def __exit__(self, *_):
        self.release()


def listed(directory, kind="populating"):
    """{name: region} of what is being populated below a directory, by its regions.json."""
    regions = json.loads((directory / ".ctl/regions.json").read_text())[kind]
    return {region["name"]: region for region in regions}


class Creation:
    """A process that makes one region by a command to .ctl/create of a directory.

    It joins a memory cgroup first, if there is one; `ticks`: seconds between the signals of a timer.
    """

    def __init__(self, directory, line, group=None, ticks=None):
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                die_with_parent()
                if group:
                    group.join()
                if ticks:
                    signal.signal(signal.SIGALRM, lambda *_: None)
                    signal.setitimer(signal.ITIMER_REAL, ticks, ticks)
                fd = os.open(directory / ".ctl/create", os.O_WRONLY)
                text = f"{line}\n".encode()
                # Python would write again after EINTR.
                if libc.write(fd, text, len(text)) != len(text):
                    raise OSError(ctypes.get_errno(), "write")
                status = 0
            except OSError as error:
                status = error.errno
            finally:
                os._exit(status)

    def end(self):
        """Its errno, 0 if all was well, or minus the signal that it died of."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def hold_half_way(mount, name, wanted, start, *arguments):
    """start() makes a creation of that name, of huge pages, which are made in pieces; returns that, and
    what holds it when it has `wanted` bytes of pages or a little more."""
    held = Held(mount)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held)
        creation = start(*arguments)
        wait_for(lambda: name in listed(mount.path), "the population")
        held.let_work()
        while listed(mount.path)[name]["allocated"] < wanted:
            held.step_to(MADVISE)
        stack.pop_all()
    return creation, held
