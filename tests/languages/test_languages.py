# SPDX-License-Identifier: MIT
"""The programs of docs/languages.md, each language with each other on the same memory.

They are built by `run` beside this file.  `frames write NAME` makes a region and waits for an answer;
`frames read NAME` waits for the region by name, checks what is there, and answers.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "languages"
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from support import Mount, build_dir, wait_for  # noqa: E402  pylint: disable=wrong-import-position

STATE, TEXT, LENGTH, SIZE = 0, 64, 64, 4096
SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[os.uname().machine]
FUTEX_WAIT = 0

# The language, the example's source, and how the program is run.
LANGUAGES = {
    "C": ("examples/c/frames.c", [BUILT / "c/frames"]),
    "C++": ("bindings/cpp/examples/frames.cpp", [BUILT / "cpp/build-g++/frames"]),
    "Go": ("bindings/go/examples/frames/main.go", [BUILT / "go/frames"]),
    "Java": (
        "bindings/java/examples/Frames.java",
        ["java", "-Xmx64m", "-cp", f"{BUILT}/java/target/classes:{BUILT}/java/examples", "Frames"],
    ),
    "Node.js": ("bindings/node/examples/frames.js", ["node", BUILT / "node/examples/frames.js"]),
    "Python": (
        "bindings/python/examples/frames.py",
        ["python3", "-B", BUILT / "python/examples/frames.py"],
    ),
    "Ruby": (
        "bindings/ruby/examples/frames.rb",
        ["ruby", "-W:no-experimental", BUILT / "ruby/examples/frames.rb"],
    ),
    "Rust": ("bindings/rust/examples/frames.rs", [BUILT / "rust/target/release/examples/frames"]),
}
WITH_FUTEX = ("C", "C++", "Go", "Rust")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def mount():
    one = Mount("size=64m")
    try:
        yield one
    finally:
        one.stop()


def names(mount):
    return [line.split()[0] for line in (mount.path / ".ctl/regions").read_text().splitlines()[1:]]


def start(mount, language, role, name, container=()):
    environment = dict(
        os.environ,
        IOMEMFS=str(mount),
        GEM_PATH=str(BUILT / "ruby/gems"),
        LD_LIBRARY_PATH=str(build_dir() / "src/lib"),
        PYTHONPATH=str(BUILT / "python/installed"),
    )
    return subprocess.Popen(
        [*container, *LANGUAGES[language][1], role, name],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process):
    try:
        return process.communicate(timeout=60)[0]
    finally:
        process.kill()


@pytest.mark.parametrize("reader", LANGUAGES)
@pytest.mark.parametrize("writer", LANGUAGES)
def test_pair(mount, writer, reader):
    # The one that waits begins.
    second = start(mount, reader, "read", "frames")
    first = start(mount, writer, "write", "frames")
    try:
        told, read = output_of(first), output_of(second)
    finally:
        first.kill()
        second.kill()
    assert read == f"{reader} reads: hello from {writer}\n"
    assert told == f"{writer} is told: {reader} has read it\n"
    assert (first.returncode, second.returncode) == (0, 0)
    wait_for(lambda: names(mount) == [], "the end of a region that nobody has any more")


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_a_container(mount, tmp_path, language):
    """A container that sees one directory of the mount only, and other processes than its own not at all."""
    (mount.path / "shared").mkdir()
    container = [
        "bwrap", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--dev-bind", "/", "/",
        "--bind", mount.path / "shared", tmp_path, "--tmpfs", mount.path, "--proc", "/proc",
    ]
    for outside, inside in (("read", "write"), ("write", "read")):
        here = start(mount.path / "shared", language, outside, "frames")
        there = start(tmp_path, language, inside, "frames", container)
        try:
            output = output_of(here) + output_of(there)
        finally:
            here.kill()
            there.kill()
        assert f"{language} reads: hello from {language}\n" in output, output
        assert f"{language} is told: {language} has read it\n" in output, output
        assert (here.returncode, there.returncode) == (0, 0)
        wait_for(lambda: names(mount) == [], "the end of the region")


class Frames:
    """The region of a program, mapped by this one."""

    def __init__(self, mount, name):
        fd = os.open(mount.path / name, os.O_RDWR)
        self.memory = mmap.mmap(fd, SIZE)
        os.close(fd)
        self.state = ctypes.c_uint32.from_buffer(self.memory, STATE)

    def text(self):
        return self.memory[TEXT:TEXT + LENGTH].split(b"\0", 1)[0].decode()

    def close(self):
        self.state = None
        self.memory.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_killed_holder(mount, language):
    """What only the killed one had goes; what somebody else has mapped stays until they are done."""
    holders = [start(mount, language, "write", name) for name in ("alone", "shared")]
    wait_for(lambda: sorted(names(mount)) == ["alone", "shared"], f"the regions of {language}")
    # One that nobody had opened yet would wait for somebody to do it: mount option grace=.
    for name in ("alone", "shared"):
        wait_for(lambda path=mount.path / name: byte_of(path) == 1, "the text")
    shared = Frames(mount, "shared")
    for holder in holders:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    wait_for(lambda: names(mount) == ["shared"], "the end of the name that only a dead one had")
    assert shared.text() == f"hello from {language}"
    assert names(mount) == ["shared"]
    shared.close()
    wait_for(lambda: names(mount) == [], "the end of the other")


@pytest.mark.parametrize("language", LANGUAGES)
def test_killed_owner(mount, language):
    """What its maker owns, and has not open, stays for as long as that one lives, and for its last user."""
    owners = {name: start(mount, language, "keep", name) for name in ("alone", "shared")}
    try:
        for owner in owners.values():
            assert owner.stdout.readline() == f"{language} keeps it\n"
        shared = Frames(mount, "shared")
        # The last close of what is owned by a living process is no end.
        os.close(os.open(mount.path / "alone", os.O_RDONLY))
        assert sorted(names(mount)) == ["alone", "shared"]
    finally:
        for owner in owners.values():
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            owner.stdout.close()
    wait_for(lambda: names(mount) == ["shared"], "the end of the name whose owner is dead")
    shared.close()
    wait_for(lambda: names(mount) == [], "the end of the other")


class Peeper(threading.Thread):
    """Opens a region as soon as it is there, and closes it, as a program does that looks at every file."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.done = threading.Event()

    def run(self):
        while not self.done.is_set():
            with contextlib.suppress(FileNotFoundError):
                os.close(os.open(self.path, os.O_RDONLY))
                self.done.wait(0.1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_opened_by_others_first(mount, language):
    """Who opens and closes an ephemeral region before its maker has it does not make that one fail."""
    peeper = Peeper(mount.path / "frames")
    peeper.start()
    try:
        for _ in range(3):
            holder = start(mount, language, "write", "frames")
            path = mount.path / "frames"
            wait_for(lambda: holder.poll() is not None or byte_of(path) == 1, "the text")
            assert holder.poll() is None, output_of(holder)
            holder.kill()
            holder.wait()
            holder.stdout.close()
            wait_for(lambda: names(mount) == [], "its end")
    finally:
        peeper.done.set()
        peeper.join()


def byte_of(path):
    """The first one; None if it is not there."""
    try:
        return path.read_bytes()[0]
    except FileNotFoundError:
        return None


def futex_wait(frames, value, results):
    """Until it is woken; a time that ends is a failure."""
    library = ctypes.CDLL(None, use_errno=True)
    limit = (ctypes.c_long * 2)(30, 0)
    r = library.syscall(SYS_FUTEX, ctypes.byref(frames.state), FUTEX_WAIT, value, limit, None, 0)
    results.append(errno.errorcode[ctypes.get_errno()] if r < 0 else "woken")


def is_in_futex(thread):
    text = pathlib.Path(f"/proc/self/task/{thread.native_id}/syscall").read_text()
    return text.startswith(f"{SYS_FUTEX} ")


@pytest.mark.parametrize("language", WITH_FUTEX)
def test_futex(mount, language):
    """A program of that language wakes whoever waits, in whatever language."""
    (mount.path / ".ctl/create").write_text(f"frames {SIZE} fixed\n")
    frames = Frames(mount, "frames")
    frames.memory[TEXT:TEXT + 4] = b"text"
    frames.state.value = 1
    results = []
    waiter = threading.Thread(target=futex_wait, args=(frames, 1, results))
    waiter.start()
    wait_for(lambda: is_in_futex(waiter), "the waiter's sleep")
    assert output_of(start(mount, language, "read", "frames")) == f"{language} reads: text\n"
    waiter.join()
    assert results == ["woken"]
    frames.close()
    (mount.path / ".ctl/remove").write_text("frames\n")


SECTIONS = dict(
    re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", (ROOT / "docs/languages.md").read_text(), re.M | re.S)
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_page(language):
    """Each line of a language's section in docs/languages.md is one of the program that was run."""
    source = [line.strip() for line in (ROOT / LANGUAGES[language][0]).read_text().splitlines()]
    shown = [line.strip() for line in SECTIONS[language].splitlines() if line.startswith("    ")]
    assert 8 <= len(shown) <= 16, f"{len(shown)} lines"
    at = 0
    for line in shown:
        assert line in source[at:], f"not in the program, or not there: {line}"
        at = source.index(line, at) + 1


def test_every_package_has_its_section():
    packages = {path.name for path in (ROOT / "bindings").iterdir() if path.is_dir()}
    assert packages == {source.split("/")[1] for source, _ in LANGUAGES.values()} - {"c"}
    assert set(LANGUAGES) <= set(SECTIONS)
