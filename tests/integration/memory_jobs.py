# SPDX-License-Identifier: MIT
"""Holds the daemon's thread that populates, so that a test has all the time it wants."""

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
PTRACE_DETACH, PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 24, 0x4206, 0x4207
WALL = 0x40000000
# Numbers of system calls.
FUTEX, MADVISE = {"x86_64": (202, 28), "aarch64": (98, 233)}[platform.machine()]
THREAD = "memory-jobs"


def ptrace(request, tid, data=None):
    if libc.ptrace(request, tid, None, data) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def thread_of(mount):
    """Folder of the thread in /proc."""
    for task in pathlib.Path(f"/proc/{worker_pid(mount)}/task").iterdir():
        if (task / "comm").read_text().strip() == THREAD:
            return task
    raise AssertionError(f"the worker has no thread named {THREAD}")


class Held:
    """As a context: the thread stands still, and what it is to do waits.  The others go on.

    It is stopped where it holds no lock that they need: while it waits for work, or makes pages.
    """

    def __init__(self, mount):
        self.task = thread_of(mount)
        self.tid = int(self.task.name)
        self.held = False

    def hold(self):
        ptrace(PTRACE_SEIZE, self.tid)
        self.held = True
        ptrace(PTRACE_INTERRUPT, self.tid)
        assert self.stopped() == signal.SIGTRAP

    def stopped(self):
        """The signal that it was stopped by."""
        _, status = os.waitpid(self.tid, WALL)
        assert os.WIFSTOPPED(status), f"the thread ended: {status}"
        return os.WSTOPSIG(status)

    def step_to(self, call):
        """Lets it go on to the next beginning or end of this system call."""
        number = signal.SIGTRAP
        while True:
            ptrace(PTRACE_SYSCALL, self.tid, 0 if number == signal.SIGTRAP else number)
            number = self.stopped()
            if number == signal.SIGTRAP and self.call() == call:
                return

    def release(self):
        if self.held:
            self.held = False
            ptrace(PTRACE_DETACH, self.tid)

    def bury(self):
        """After the death of its process, which is not over before we have taken note of it."""
        self.held = False
        os.waitpid(self.tid, WALL)

    def hold_in(self, call):
        """Stops it if it is in this system call.  Whether it was."""
        if self.call() != call:
            return False
        self.hold()
        if self.call() == call:
            return True
        self.release()
        return False

    def call(self):
        """The number of the system call that it is in, None for none."""
        try:
            word = (self.task / "syscall").read_text().split()[0]
        except (OSError, IndexError):
            return None
        return int(word) if word.isdigit() else None

    def __enter__(self):
        wait_for(lambda: self.hold_in(FUTEX), "a thread that waits for work")
        return self

    def __exit__(self, *_):
        self.release()


def listed(directory, kind="populating"):
    """{name: region} of what is being populated below a directory, by its regions.json."""
    regions = json.loads((directory / ".ctl/regions.json").read_text())[kind]
    return {region["name"]: region for region in regions}


class Creation:
    """A process that makes one region by a command to .ctl/create of a directory."""

    def __init__(self, directory, line):
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                die_with_parent()
                fd = os.open(directory / ".ctl/create", os.O_WRONLY)
                os.write(fd, f"{line}\n".encode())
                status = 0
            except OSError as error:
                status = error.errno
            finally:
                os._exit(status)

    def end(self):
        """Its errno, 0 if all was well, or minus the signal that it died of."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def hold_half_way(mount, name, wanted, start, *arguments):
    """start() makes a creation of that name; returns that, and what holds it when it has `wanted`
    bytes of pages or a little more."""
    held = Held(mount)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held)
        creation = start(*arguments)
        wait_for(lambda: name in listed(mount.path), "the population")
        while listed(mount.path)[name]["allocated"] < wanted:
            held.step_to(MADVISE)
        stack.pop_all()
    return creation, held
