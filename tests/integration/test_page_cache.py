# SPDX-License-Identifier: MIT
"""What a program stores through a mapping, and what the daemon does to the file meanwhile.

Requests that tmpfs has as well are in posix_data.py, family `stores`.
"""

import contextlib
import json
import mmap
import os
import subprocess
import sys

import pytest

import crash_load
from support import LIMIT, run

MIB = 1 << 20
HOLDER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 0)
for at in sys.argv[2:]:
    memory[int(at) : int(at) + 6] = b"stored"
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def stored(path, *places):
    """Another program maps the file and stores into it, and has it mapped meanwhile."""
    argv = [sys.executable, "-c", HOLDER, str(path), *map(str, places)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.stdin.close()
            process.wait(LIMIT)


@pytest.mark.parametrize("how", ["cp", "cp --sparse=always", "mv"])
def test_copies_have_it(mount, tmp_path, how):
    region = mount.create("r", "16M")
    with stored(region, 0, 5 * MIB, 16 * MIB - 6):
        run([*how.split(), region, tmp_path / "copy"], check=True)
    content = (tmp_path / "copy").read_bytes()
    assert len(content) == 16 * MIB
    assert [content[at : at + 6] for at in (0, 5 * MIB, 16 * MIB - 6)] == [b"stored"] * 3
    assert content.count(0) == 16 * MIB - 18


def test_copies_keep_holes(mount, tmp_path):
    region = mount.create("r", "16M")
    with stored(region, 5 * MIB):
        run(["cp", region, tmp_path / "copy"], check=True)
    assert os.stat(tmp_path / "copy").st_blocks * 512 <= MIB


@pytest.mark.parametrize("size", [MIB, 5 * MIB + 3])
def test_cut_by_command(mount, size):
    """Dirty pages beyond the new end do not make the region longer again."""
    region = mount.create("r", "8M")
    with stored(region, 5 * MIB, 6 * MIB):
        mount.command("resize", f"r {size}")
        assert os.stat(region).st_size == size
        os.sync()
        assert os.stat(region).st_size == size
        listed = json.loads((mount.ctl / "regions.json").read_text())["regions"]
        assert listed[0]["size"] == size
        mount.command("resize", "r 8M")
        content = region.read_bytes()
    assert len(content) == 8 * MIB
    assert content[size:].count(0) == 8 * MIB - size
    assert content[5 * MIB : 5 * MIB + 6] == (b"stored"[: max(0, size - 5 * MIB)]).ljust(6, b"\0")


def test_while_the_worker_dies(mount, tmp_path):
    daemon = crash_load.Daemon(mount)
    region = mount.create("r", "16M")
    with stored(region, 5 * MIB):
        for _ in range(10):
            daemon.kill_worker()
            with open(region, "rb") as stream:
                assert os.lseek(stream.fileno(), 0, os.SEEK_DATA) == 5 * MIB
            run(["cp", region, tmp_path / "copy"], check=True)
            assert (tmp_path / "copy").read_bytes()[5 * MIB : 5 * MIB + 6] == b"stored"


def test_many_ask_at_once(mount):
    """All get their answer, of two files."""
    regions = [mount.create(name, "16M") for name in "ab"]
    ask = "import os,sys\nfor i in range(200): assert os.lseek(0, 0, os.SEEK_DATA) == 5 << 20"
    with stored(regions[0], 5 * MIB), stored(regions[1], 5 * MIB), contextlib.ExitStack() as stack:
        asking = []
        for region in regions * 4:
            stream = stack.enter_context(open(region, "rb"))
            asking.append(subprocess.Popen([sys.executable, "-c", ask], stdin=stream))
        assert [process.wait(LIMIT) for process in asking] == [0] * 8


def test_blocks_are_never_none(mount):
    """Archivers take a file without blocks for one without data."""
    region = mount.create("r", "16M")
    with stored(region, 5 * MIB):
        assert os.stat(region).st_blocks > 0
    with open(region, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as memory:
        memory[7 * MIB] = 1
        assert os.fstat(stream.fileno()).st_blocks >= 16
