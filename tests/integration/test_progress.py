# SPDX-License-Identifier: MIT
"""The bar that iomem create draws on a terminal while a region is being populated."""

import contextlib
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import termios

import pytest

from memory_jobs import Held, hold_half_way, listed
from support import build_dir, wait_for, worker_pid

SIZE = 256 << 20

pytestmark = pytest.mark.options("size=0")


@pytest.fixture(params=["socket", "files"])
def create(request, mount):
    """The command line that makes the region x, by the socket or by the files of .ctl."""
    if request.param == "files":
        os.unlink(mount.home / "socket")
    program = build_dir() / "src" / "cli" / "iomem"
    words = [program, "-m", mount.path, "create", "x", "256M", "--populate", "--huge"]
    return [str(word) for word in words]


@pytest.fixture
def has_socket(create, mount):
    return (mount.home / "socket").exists()


class Terminal:
    """A process on a terminal of its own, and what one would see there."""

    def __init__(self, argv, columns=80):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                termios.tcsetwinsize(0, (24, columns))
                os.execv(argv[0], argv)
            finally:
                os._exit(127)

    def read(self):
        """Takes what has come.  False at the end."""
        if not select.select([self.fd], [], [], 0.01)[0]:
            return True
        try:
            self.seen += os.read(self.fd, 4096)
        except OSError:  # nobody has the other side open any more
            return False
        return True

    def drawn(self):
        """All that was written, one line after the other, but for empty ones."""
        return [line for line in re.split(r"[\r\n]", self.seen.decode()) if line.strip()]

    def last_line(self):
        """What is to be seen in the line where the cursor is."""
        line = []
        for text in self.seen.decode().rpartition("\n")[2].split("\r"):
            line[: len(text)] = text
        return "".join(line).strip()

    def wait_for(self, pattern):
        wait_for(lambda: self.read() and re.search(pattern, self.seen), pattern)

    def end(self):
        """Exit status, or minus the signal; all that was written has been read then."""
        wait_for(lambda: not self.read(), "the end of the program")
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize("columns", [200, 60, 20])
def test_bar(create, mount, columns):
    with Held(mount):
        terminal = Terminal(create, columns)
        terminal.wait_for(rb"\d+%")
        assert list(listed(mount.path)) == ["x"]
    assert terminal.end() == 0
    assert b"\x1b" not in terminal.seen and b"\n" not in terminal.seen
    assert terminal.last_line() == ""
    form = r"\d+%" if columns == 20 else r"populating \[#*\.*\] +\d+%  \S+ of 256M"
    for line in terminal.drawn():
        assert len(line) < columns and re.fullmatch(form, line.strip()), line
    assert os.stat(mount / "x").st_blocks * 512 == SIZE


def test_bar_tells_how_far_it_is(create, mount):
    terminal, held = hold_half_way(mount, "x", SIZE // 4, Terminal, create)
    try:
        percent = int(listed(mount.path)["x"]["allocated"] * 100 / SIZE)
        assert 25 <= percent < 100
        terminal.wait_for(rb"\[#+\.*\] +%d%%" % percent)
    finally:
        held.release()
    assert terminal.end() == 0
    assert terminal.last_line() == ""


def watched(mount):
    """How many descriptors the daemon's loop watches."""
    found = 0
    for path in pathlib.Path(f"/proc/{worker_pid(mount)}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found += path.read_text().count("tfd:")
    return found


def interrupts(mount):
    return mount.stats()['iomemfs_requests_total{opcode="INTERRUPT"}']


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal(create, has_socket, mount, number):
    """The creation is given up as it is without a bar, and nothing is left on the line."""
    before = interrupts(mount), watched(mount)
    with Held(mount):
        terminal = Terminal(create)
        terminal.wait_for(rb"\d+%")
        if number == signal.SIGINT:
            os.write(terminal.fd, b"\x03")
        else:
            os.kill(terminal.pid, number)
        # Goes on when the daemon knows: by a request, or by the end of the connections.
        if has_socket:
            wait_for(lambda: (terminal.read() or True) and watched(mount) == before[1], "the end")
        else:
            wait_for(lambda: interrupts(mount) > before[0], "the kernel's word of it")
    assert terminal.end() == -number
    assert terminal.last_line() == ""
    wait_for(lambda: mount.stats()["iomemfs_used_bytes"] == 0, "the memory")
    assert os.listdir(mount) == [] and listed(mount.path) == {}


def test_ignored_signal(create, mount):
    """As after nohup(1)."""
    with Held(mount):
        terminal = Terminal(["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", *create])
        terminal.wait_for(rb"\d+%")
        os.write(terminal.fd, b"\x03")
        terminal.wait_for(rb"\^C[^%]*\d+%")
    assert terminal.end() == 0
    assert os.stat(mount / "x").st_size == SIZE


def test_no_bar_in_a_pipe(create, mount):
    with Held(mount) as held, subprocess.Popen(
        create, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as creation:
        wait_for(lambda: listed(mount.path), "the population")
        # Time enough for a bar; on a machine that is too slow for that there is none anyhow.
        assert not select.select([creation.stdout], [], [], 1)[0]
        held.release()
        assert creation.stdout.read() == b""
    assert creation.returncode == 0


def test_no_bar_for_what_is_quick(create, mount):
    """Told by what comes out when it fails: the message alone."""
    mount.create("x", 4096)
    terminal = Terminal(create)
    assert terminal.end() == 7  # the name exists
    assert terminal.seen == b"iomem: x: exists already\r\n"
