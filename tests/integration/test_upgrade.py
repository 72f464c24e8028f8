# SPDX-License-Identifier: MIT
"""The program is replaced while it serves, by one that is newer; others are refused."""

import mmap
import os
import pathlib
import shlex
import shutil
import signal
import subprocess

import pytest

import crash_load
import support

SOURCES = support.ROOT / "src"

pytestmark = [pytest.mark.timeout(180)]


def daemon_sources():
    """All of the daemon: what is below src/, but for the programs of its clients."""
    files = SOURCES.glob("*/*.c")
    return sorted(path for path in files if path.parent.name not in ("cli", "lib"))


def build(path, *definitions):
    """Starts to build a daemon that differs in these definitions."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "fuse3", "libsodium"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return subprocess.Popen(
        [
            os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-fno-strict-aliasing", "-w",
            "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", *definitions,
            f"-I{SOURCES}", *daemon_sources(), "-o", path, *shlex.split(flags), "-lpthread",
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def builds():
    """Two more builds: of a later version, and of another layout."""
    home = support.scratch_directory()
    newer, other = home / "newer", home / "other"
    processes = [
        build(newer, '-DIOMEMFS_VERSION="9.9.9"'),
        build(other, '-DIOMEMFS_VERSION="9.9.8"', "-DIOMEMFS_TEST_LAYOUT_VERSION=999"),
    ]
    assert [process.wait() for process in processes] == [0, 0]
    yield {"newer": newer, "other": other}
    shutil.rmtree(home)


@pytest.fixture
def installed(tmp_path):
    """A copy of the program under test, to be replaced."""
    path = tmp_path / "iomemfs"
    shutil.copy(support.program(), path)
    return path


def install(new, path):
    """As a package manager does it: the old file lives on under the running program."""
    temporary = path.with_suffix(".new")
    shutil.copy(new, temporary)
    os.replace(temporary, path)


def version(mount):
    found = [name for name in mount.stats() if name.startswith("iomemfs_build_info")]
    return found[0].split('version="')[1].split('"')[0]


def upgrade(installed, mount):
    return support.run([installed, "--upgrade", mount])


def test_upgrade_in_place(mounts, builds, installed):
    mount = mounts(binary=str(installed))
    old = version(mount)
    region = mount.create("region", 8192)
    keeper = mount.process.pid
    with open(region, "r+b") as stream, open(mount / "gone", "w+b", buffering=0) as gone:
        memory = mmap.mmap(stream.fileno(), 8192)
        memory[:6] = b"before"
        gone.write(b"nameless")
        os.unlink(mount / "gone")
        listing = open(mount.ctl / "regions", "rb")
        install(builds["newer"], installed)
        with crash_load.Loads() as loads:
            loads.add(crash_load.change_tree, mount / "tree", 11)
            loads.add(crash_load.write_commands, mount / "commands", 12)
            result = upgrade(installed, mount)
            assert result.returncode == 0, result.stderr
        assert version(mount) == "9.9.9" != old
        assert memory[:6] == b"before"
        memory[6:11] = b"after"
        assert region.read_bytes()[:11] == b"beforeafter"
        assert os.pread(gone.fileno(), 100, 0) == b"nameless"
        gone.write(b" still")
        assert b"region" in listing.read()
        listing.close()
        memory.close()
    assert mount.process.poll() is None, "the keeper's process is still the same"
    assert crash_load.children(keeper)
    stats = mount.stats()
    assert stats["iomemfs_upgrades_total"] == 1
    assert stats["iomemfs_upgrades_refused_total"] == 0
    assert "upgrading to" in mount.log()


@pytest.mark.may_leave_mount
def test_upgrade_lasts(mounts, builds, installed):
    """What comes after a death is the new program, too, even when its file is gone."""
    mount = mounts(binary=str(installed))
    install(builds["newer"], installed)
    assert upgrade(installed, mount).returncode == 0
    os.unlink(installed)
    daemon = crash_load.Daemon(mount)
    daemon.kill_worker()
    assert version(mount) == "9.9.9"
    daemon.kill_keeper()
    assert version(mount) == "9.9.9"


def test_upgrade_by_signal(mounts, builds, installed):
    mount = mounts(binary=str(installed))
    install(builds["newer"], installed)
    os.kill(mount.process.pid, signal.SIGHUP)
    support.wait_for(lambda: version(mount) == "9.9.9", "the newer version")


def refused(mount, installed, words):
    old = version(mount)
    (mount / "file").write_text("kept")
    result = upgrade(support.program(), mount)
    assert result.returncode == 32
    assert result.stderr.count("\n") == 1 and "not upgraded" in result.stderr
    assert version(mount) == old
    assert (mount / "file").read_text() == "kept"
    stats = mount.stats()
    assert stats["iomemfs_upgrades_total"] == 0
    assert stats["iomemfs_upgrades_refused_total"] == 1
    assert words in mount.log()
    del installed


def test_other_layout_is_refused(mounts, builds, installed):
    mount = mounts(binary=str(installed))
    install(builds["other"], installed)
    ours = support.run([support.program(), "--layout"], check=True).stdout.strip()
    refused(mount, installed, f"knows layout 999, and the records have layout {ours}")


@pytest.mark.parametrize(
    "content",
    [
        None,
        "not a program\n",
        "#!/bin/sh\nexit 1\n",
        "#!/bin/sh\necho soon\n",
        "#!/bin/sh\nkill -9 $$\n",
        "#!/bin/sh\nexec sleep 60\n",
        "#!/bin/sh\necho 1\nexec sleep 60\n",
    ],
    ids=["missing", "text", "fails", "babbles", "dies", "hangs", "lingers"],
)
def test_what_is_no_program_is_refused(mounts, installed, content):
    mount = mounts(binary=str(installed))
    os.unlink(installed)
    if content is not None:
        pathlib.Path(installed).write_text(content)
        os.chmod(installed, 0o755)
    refused(mount, installed, "going on as before")


@pytest.mark.log_allows("taking over the records")
def test_records_of_another_layout_are_not_taken_over(mounts, builds):
    """Should the check have been passed over: the program itself refuses."""
    mount = mounts()
    arena = next(
        int(fd)
        for fd in os.listdir(f"/proc/{mount.process.pid}/fd")
        if "iomemfs-journal" in os.readlink(f"/proc/{mount.process.pid}/fd/{fd}")
    )
    fd = os.open(f"/proc/{mount.process.pid}/fd/{arena}", os.O_RDWR)
    try:
        result = support.run([builds["other"], "--resume", str(fd)], pass_fds=[fd])
    finally:
        os.close(fd)
    assert result.returncode != 0
    assert "taking over the records" in result.stderr
    assert os.listdir(mount) == []
