# SPDX-License-Identifier: MIT
"""Very many files: no descriptor for any, the same times as with few, and none lost when workers die.

IOMEMFS_MANY_FILES says how many; the default is for every run of the tests.
"""

import contextlib
import os
import pathlib
import re
import subprocess
import threading
import time

import pytest

from crash_load import Daemon
from support import limited_program, run, wait_for

FILES = int(os.environ.get("IOMEMFS_MANY_FILES", "4000"))
EACH = 100  # files in a directory
KILL_EVERY = 0.02

pytestmark = pytest.mark.modes("passthrough")


def content(number):
    return f"{number} ".encode() * (number % 300)


@contextlib.contextmanager
def kills(daemon):
    """Kills the worker again and again meanwhile; yields a list that gets an entry for each."""
    stopped, killed = threading.Event(), []

    def go_on():
        while not stopped.wait(KILL_EVERY):
            with contextlib.suppress(ProcessLookupError):
                killed.append(daemon.kill_worker())

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield killed
    finally:
        stopped.set()
        thread.join()


def make_tree(folder):
    for first in range(0, FILES, EACH):
        part = folder / f"d{first}"
        part.mkdir(parents=True)
        for number in range(first, min(first + EACH, FILES)):
            (part / f"f{number}").write_bytes(content(number))


def check_tree(folder):
    found = 0
    for path in folder.rglob("f*"):
        assert path.read_bytes() == content(int(path.name[1:])), path
        found += 1
    assert found == FILES


def test_no_descriptor_for_a_file(mounts, tmp_path):
    """A daemon with few descriptors; and a new worker has the files at once."""
    mount = mounts("size=1g", binary=limited_program(tmp_path, 300, 300))
    daemon = Daemon(mount)
    (mount / "first").touch()
    before = daemon.descriptors()
    make_tree(mount / "tree")
    wait_for(lambda: daemon.descriptors() <= before, "the descriptors of before")
    assert len(daemon.stored()) == FILES + 1
    daemon.kill_worker()
    check_tree(mount / "tree")
    run(["rm", "-rf", mount / "tree"], check=True)
    wait_for(lambda: len(daemon.stored()) == 1, "the removal of all files")
    assert daemon.descriptors() <= before


@pytest.mark.timeout(300 + FILES // 100)
def test_checkout_under_kills(mount, tmp_path):
    """tar, cp and rm while the worker is killed every 20 ms: nothing is lost."""
    source, archive = tmp_path / "source", tmp_path / "archive.tar"
    make_tree(source)
    run(["tar", "-C", source, "-cf", archive, "."], check=True)
    daemon = Daemon(mount)
    (mount / "first").touch()
    (mount / "tar").mkdir()
    commands = [["tar", "-C", mount / "tar", "-xf", archive],
                ["cp", "-a", mount / "tar", mount / "copy"],
                ["rm", "-rf", mount / "tar"]]  # fmt: skip
    for command in commands:
        start = time.monotonic()
        with kills(daemon) as killed:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{command[0]}: {FILES} files in {time.monotonic() - start:.1f} s, "
              f"{len(killed)} workers killed")  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    check_tree(mount / "copy")
    assert sorted(os.listdir(mount)) == ["copy", "first"]
    wait_for(lambda: len(daemon.stored()) == FILES + 1, "the removal of the first files")
    assert mount.stats()["iomemfs_poisoned_total"] == 0


def resident(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^RssShmem:\s+(\d+) kB", text, re.M)[1]) * 1024


def test_a_new_worker_visits_no_file(mount):
    """It has touched as much of the records when it serves as with few files."""
    daemon = Daemon(mount)

    def touched():
        daemon.kill_worker()
        assert not (mount / "no-such-name").exists()
        time.sleep(0.3)  # work beside the requests would go on now
        return resident(daemon.worker())

    (mount / "first").touch()
    few = touched()
    make_tree(mount / "tree")
    many = touched()
    print(f"records that a new worker touches: {few >> 10} KiB with one file, {many >> 10} KiB "
          f"with {FILES}")  # fmt: skip
    # A record of a file and its name take about 700 bytes.
    assert many - few < FILES * 700 / 4
