# SPDX-License-Identifier: MIT
"""iomem top: as text, and on a terminal that tmux plays, with its keys, its sizes and its ends."""

import os
import re
import shlex
import signal
import subprocess
import time
import uuid

import pytest

from support import build_dir, run, wait_for, worker_pid

pytestmark = pytest.mark.modes("passthrough")
MIB = 1 << 20


def iomem(*arguments, **keywords):
    return run([build_dir() / "src" / "cli" / "iomem", *arguments], **keywords)


def make_regions(mount):
    (mount / "camera/left").mkdir(parents=True)
    # The youngest is the first by name, as two may have the same time.
    mount.create("full", 1 * MIB, "populate")
    mount.create("camera/two", 5 * MIB)
    mount.create("camera/left/one", 3 * MIB)
    mount.create("big", 16 * MIB)


def names(text):
    """The last column of the rows, in their order."""
    rows = text.split("NAME", 1)[1].split("EVENTS")[0].splitlines()[1:]
    return [row.split()[-1] for row in rows if row.strip()]


def batch(mount, *arguments):
    result = iomem("-m", mount.path, "top", "-b", "-n", "1", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


# As text


@pytest.mark.options("size=100m")
def test_batch(mount):
    make_regions(mount)
    text = batch(mount)
    assert re.search(rf"^iomem top  \d\d:\d\d:\d\d  {mount}  4 regions, 0 restarts$", text, re.M)
    # 25 of 100 MiB
    assert re.search(rf"^{mount} +\[#{{10}}\.{{30}}\] +25M of 100M +7 of \d+ files$", text, re.M)
    assert re.search(r"^ +1M +1M +0 +0 +\ds root +full$", text, re.M)
    assert names(text) == ["big", "camera/two", "camera/left/one", "full"]


@pytest.mark.options("size=100m")
def test_limits_are_bars(mount):
    (mount / "camera").mkdir()
    (mount / "camera/.ctl/limit").write_text("size=10m nr_inodes=100\n")
    mount.create("camera/one", 9 * MIB + MIB // 2)
    text = batch(mount)
    assert re.search(rf"^{mount} +\[#{{4}}\.{{36}}\] +10M of 100M ", text, re.M), text
    assert re.search(r"^camera +\[#{38}\.{2}\] +9\.5M of 10M +\d of 100 files$", text, re.M), text


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["-s", "name"], ["big", "camera/left/one", "camera/two", "full"]),
        (["-s", "name", "-r"], ["full", "camera/two", "camera/left/one", "big"]),
        (["-s", "size", "-r"], ["full", "camera/left/one", "camera/two", "big"]),
        (["-s", "allocated"], ["full", "big", "camera/left/one", "camera/two"]),
        (["-s", "age"], ["big", "camera/left/one", "camera/two", "full"]),
        (["-s", "users"], ["camera/two", "big", "camera/left/one", "full"]),
        (["-F", "CAMERA", "-s", "name"], ["camera/left/one", "camera/two"]),
        (["-t", "-s", "size"], ["big", "camera/", "two", "left/", "one", "full"]),
        (["-t", "-s", "size", "-F", "one"], ["camera/", "left/", "one"]),
        (["camera", "-s", "name"], ["left/one", "two"]),
    ],
)
def test_orders(mount, arguments, expected):
    make_regions(mount)
    with open(mount / "camera/two", "rb"):
        assert names(batch(mount, *arguments)) == expected


def test_a_directory_has_the_sums(mount):
    make_regions(mount)
    text = batch(mount, "-t")
    assert re.search(r"^ +8M +0B +0 +0 +\ds \(2\) +- camera/$", text, re.M), text
    assert re.search(r"^ +3M +0B +0 +0 +\ds \(1\) +- left/$", text, re.M), text


def test_growth_requests_and_events(mount):
    """What happens between two looks."""
    fd = os.open(mount.create("grows", 64 * MIB), os.O_RDWR)
    command = [build_dir() / "src/cli/iomem", "-m", mount.path, "top", "-b", "-n", "2", "-d", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as top:
        lines = []
        while not lines or "grows" not in lines[-1]:
            lines.append(top.stdout.readline())
        os.write(fd, b"x" * (8 * MIB))
        mount.create("late", 4096)
        text = top.stdout.read()
    os.close(fd)
    assert top.returncode == 0
    growth = re.search(r"64M +8M +\+([\d.]+)M +1 .* grows$", text, re.M)
    assert growth and 1 < float(growth[1]) <= 8, text
    assert re.search(r", [1-9]\d* requests/s, 0 restarts", text)
    assert re.search(rf"^EVENTS \(1\)\n[\d:]{{8}} create +late 4K by root\[{os.getpid()}\]$", text, re.M)


def test_mistakes(mount):
    for arguments in (
        ["-s", "colour"], ["-n", "0"], ["-n", "x"], ["-d", "0"], ["-d", "x"], ["a", "b"], ["--kill"],
    ):  # fmt: skip
        assert iomem("-m", mount.path, "top", "-b", *arguments).returncode == 2, arguments
    assert iomem("-m", mount.path, "top", "-b", "-n1", "none").returncode == 3
    result = iomem("-m", mount.path, "top")
    assert result.returncode == 2 and "use top --batch" in result.stderr
    with open("/dev/full", "w", encoding="ascii") as full:
        assert iomem("-m", mount.path, "top", "-b", "-n", "1", stdout=full).returncode == 1


def test_by_the_socket_alone(mount):
    make_regions(mount)
    result = iomem("-m", os.readlink(mount.ctl / "socket"), "top", "-b", "-n", "1", "-s", "name")
    assert result.returncode == 0
    assert names(result.stdout) == ["big", "camera/left/one", "camera/two", "full"]


# On a terminal


class Terminal:
    """iomem top in a tmux of its own."""

    def __init__(self, *arguments, columns=100, lines=30):
        self.server = f"iomemfs-{uuid.uuid4()}"
        words = [str(build_dir() / "src" / "cli" / "iomem"), *map(str, arguments)]
        command = f"{shlex.join(words)}; echo status $?; sleep 1000"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines), command)
        self.pid = None

    def tmux(self, *arguments, check=True):
        environment = dict(os.environ, LC_ALL="C.UTF-8", TERM="xterm-256color")
        return run(["tmux", "-L", self.server, *arguments], check=check, env=environment).stdout

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def screen(self, *options):
        return self.tmux("capture-pane", "-p", *options)

    def wait(self, condition, what):
        """Waits until condition(screen) is true, and returns the screen."""
        seen = []

        def look():
            seen[:] = [self.screen()]
            return condition(seen[0])

        try:
            wait_for(look, what)
        except AssertionError as error:
            raise AssertionError(f"{what}:\n{seen[0]}") from error
        return seen[0]

    def resize(self, columns, lines):
        self.tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def close(self):
        self.tmux("kill-server", check=False)


@pytest.fixture
def terminal(mount):
    made = []

    def make(*arguments, **keywords):
        made.append(Terminal("-m", mount.path, "top", *arguments, **keywords))
        return made[-1]

    yield make
    for one in made:
        one.close()


def shows(*expected):
    return lambda screen: "NAME" in screen and names(screen) == list(expected)


def test_live(mount, terminal):
    make_regions(mount)
    top = terminal("-d", "0.2")
    top.wait(shows("big", "camera/two", "camera/left/one", "full"), "the regions")
    # What comes and goes is shown, with its event.
    mount.create("new", 32 * MIB)
    screen = top.wait(lambda text: "new" in text and "EVENTS (1)" in text, "a new region")
    assert re.search(r"create +new 32M by root\[\d+\]", screen)
    os.unlink(mount / "new")
    top.wait(lambda text: "EVENTS (2)" in text and "new" not in names(text), "its end")
    # Order, reverse, tree, closed directory.
    top.keys("n")
    top.wait(shows("big", "camera/left/one", "camera/two", "full"), "by name")
    top.keys("r")
    top.wait(shows("full", "camera/two", "camera/left/one", "big"), "reversed")
    top.keys("r", "t")
    top.wait(shows("big", "camera/", "left/", "one", "two", "full"), "the tree")
    top.keys("Down", "Enter")
    top.wait(shows("big", "camera/", "full"), "a closed directory")
    top.keys("Enter")
    top.wait(shows("big", "camera/", "left/", "one", "two", "full"), "an open one")
    top.keys("t")
    # A filter while it is typed.
    top.keys("/", "t", "w")
    screen = top.wait(shows("camera/two"), "a filter")
    assert "Filter: tw_" in screen
    top.keys("BSpace", "BSpace", "BSpace", "l", "e", "Enter")
    top.wait(shows("camera/left/one"), "another filter")
    top.keys("Escape")
    top.wait(shows("big", "camera/left/one", "camera/two", "full"), "all again")
    top.keys("h")
    top.wait(lambda text: "Keys of iomem top" in text, "the help")
    top.keys("x", "q")
    top.wait(lambda text: "status 0" in text, "the end")


def fits(text, columns, lines):
    rows = text.splitlines()
    return rows and rows[0][:1] == "i" and len(rows) <= lines and max(map(len, rows)) <= columns


def test_sizes_of_the_terminal(mount, terminal):
    for i in range(50):
        mount.create(f"region{i:02}", 4096)
    top = terminal("-s", "name", "-d", "0.2")
    top.wait(lambda text: "region20" in text and "region30" not in text, "a page")
    top.keys("End")
    top.wait(lambda text: "region49" in text and "region00" not in text, "the end")
    top.keys("Home", "NPage")
    top.wait(lambda text: "region00" not in text, "the second page")
    top.keys("Home")
    for columns, lines in ((200, 60), (70, 20), (40, 10), (20, 5), (10, 3), (2, 2), (100, 30)):
        top.resize(columns, lines)
        top.wait(lambda text, c=columns, n=lines: fits(text, c, n), "the size")
    top.wait(lambda text: "region20" in text, "the first size again")
    # Lines are cut, and not broken.
    top.resize(60, 20)
    screen = top.wait(lambda text: "region16" in text and "region17" not in text, "a small one")
    assert max(len(line) for line in screen.splitlines()) <= 60


def test_a_restart_is_seen(mount, terminal):
    make_regions(mount)
    top = terminal("-d", "0.2")
    top.wait(lambda text: ", 0 restarts" in text, "the regions")
    os.kill(worker_pid(mount), signal.SIGKILL)
    screen = top.wait(lambda text: ", 1 restarts" in text and "EVENTS" in text, "the restart")
    assert re.search(r"^[\d:]{8} restart", screen, re.M)
    assert names(screen) == ["big", "camera/two", "camera/left/one", "full"]


def test_names_are_only_shown(mount, terminal):
    """Whatever is in them, it does nothing to the terminal."""
    for name in ("a\x1b[2Jb", "c\u202ed", "e\nf", "long" * 60, "schön"):
        (mount / name).touch()
    (mount / os.fsdecode(b"bytes\xff")).touch()
    top = terminal("-s", "name", "-d", "0.2")
    screen = top.wait(lambda text: "schön" in text, "the names")
    for shown in ("a\\033[2Jb", "c\\342\\200\\256d", "e\\012f", "bytes\\377", "longlong"):
        assert shown in screen, shown
    assert max(len(line) for line in screen.splitlines()) <= 100


@pytest.mark.may_leave_mount
def test_the_mount_ends(mount, terminal):
    make_regions(mount)
    top = terminal("-d", "0.2")
    top.wait(lambda text: "big" in text, "the regions")
    mount.kill()
    # The first line is cut where the path is long; the reason has a line of its own.
    top.wait(lambda text: "cannot be read" in text or "connection refused" in text,
             "the end of the mount")
    top.keys("q")
    top.wait(lambda text: "status 0" in text, "the end")


def test_the_terminal_ends(mount, terminal):
    """As when ssh loses its connection: nothing is left behind."""
    make_regions(mount)
    top = terminal("-d", "0.2")
    top.wait(lambda text: "big" in text, "the regions")

    def running():
        result = run(["pgrep", "-f", f"iomem -m {mount} top"])
        return [int(pid) for pid in result.stdout.split()]

    assert running()
    top.close()
    wait_for(lambda: not running(), "the end of iomem top")


def test_colors(mount, terminal):
    make_regions(mount)
    top = terminal("-t", "-d", "0.2")
    top.wait(lambda text: "big" in text, "the regions")
    assert re.search(r"\x1b\[[\d;]*32m", top.screen("-e"))  # green: little is used


def test_many_events_and_keys(mount, terminal):
    """A neighbour who makes events all the time does not keep keys from being answered."""
    make_regions(mount)
    top = terminal("-d", "0.2")
    top.wait(lambda text: "big" in text, "the regions")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for i in range(50):
            mount.create(f"flood{i}", 0)
        for i in range(50):
            os.unlink(mount / f"flood{i}")
    top.keys("/", "b", "i", "g", "Enter")
    top.wait(shows("big"), "the filter")
    top.keys("q")
    top.wait(lambda text: "status 0" in text, "the end")
