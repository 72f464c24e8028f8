# SPDX-License-Identifier: MIT
"""The program is replaced while it serves, by one that is newer; others are refused."""

import mmap
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess

import pytest

import crash_load
import service_manager
import socket_client
import support

SOURCES = support.ROOT / "src"

pytestmark = [pytest.mark.timeout(180)]


def daemon_folders():
    """Where the daemon's sources are: what is below src/, but for the programs of its clients."""
    text = (SOURCES / "meson.build").read_text()
    return re.findall(r"'(\w+)'", re.search(r"foreach dir : \[(.*?)\]", text, re.S)[1])


def daemon_sources(sources=SOURCES):
    """All of the daemon."""
    return sorted(path for folder in daemon_folders() for path in (sources / folder).glob("*.c"))


def build(path, *definitions, sources=None):
    """Starts to build a daemon that differs in these definitions, or in its sources."""
    sources = sources or SOURCES
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "fuse3", "libsodium"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return subprocess.Popen(
        [
            os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-fno-strict-aliasing", "-w",
            "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", *definitions,
            f"-I{sources}", *daemon_sources(sources), "-o", path, *shlex.split(flags), "-lpthread",
        ]
    )  # fmt: skip


# Where the next layout has one more member in these structures, so that all that follows moves.
MOVED = {
    "node": "uint64_t ino; /* st_ino",
    "dentry": "uint64_t cookie;",
    "handle": "uint32_t uid, gid;",
    "invalidation": "uint64_t node;",
    "client": "uint32_t uid, gid;",
    "event": "uint64_t size;",
    "pending": "uint64_t dir_ino;",
    "root": "int32_t fuse_fd;",
}
STEP = """
#include <stddef.h>
#include <string.h>
#include "records/journal_convert.h"
#include "records/layout.h"
#include "records/layout_{n}.h"

#define MOVE(name, member)                                                           \\
        static void name##_next(void *to, const void *from) {{                        \\
                size_t before = offsetof(struct name##_{n}, member);                 \\
                size_t after = offsetof(struct name, member);                        \\
                memcpy(to, from, before);                                            \\
                memcpy((char *)to + after, (const char *)from + before,              \\
                       sizeof(struct name##_{n}) - before);                          \\
                ((struct name *)to)->test_next = 4711;                               \\
        }}
{moves}
static void (*const records[_TABLE_N])(void *to, const void *from) = {{
{tables}
}};
struct journal_step layout_step_test = {{.root = root_next, .records = records}};
__attribute__((constructor)) static void fill(void) {{
        layout_step_test.from = layout_spec_{n}();
        layout_step_test.to = layout_spec();
}}
"""


def with_next_layout(sources):
    """Does to a copy of the sources what is done for a release that changes the layout."""
    for folder in daemon_folders():
        shutil.copytree(SOURCES / folder, sources / folder)
    records = sources / "records"
    subprocess.run([records / "keep-layout", records], check=True)
    text = (records / "layout.h").read_text()
    number = int(re.search(r"LAYOUT_VERSION = (\d+)", text)[1])
    text = text.replace(f"LAYOUT_VERSION = {number},", f"LAYOUT_VERSION = {number + 1},")
    moves = []
    for name, line in MOVED.items():
        start = text.index(f"\nstruct {name} {{")
        at = text.index(line, start)
        assert at < text.index("\n};", start), name
        text = text[:at] + "uint64_t test_next; " + text[at:]
        moves.append(f"MOVE({name}, {re.match(r'[a-z0-9_]+ ([a-z_]+)', line)[1]})")
    (records / "layout.h").write_text(text)
    tables = "\n".join(f"[TABLE_{name.upper()}] = {name}_next," for name in MOVED if name != "root")
    (records / "step_test.c").write_text(
        STEP.format(n=number, moves="\n".join(moves), tables=tables).replace("\\\\", "\\")
    )
    steps = (records / "layout_steps.c").read_text()
    steps = steps.replace("        NULL,\n", "        &layout_step_test,\n")
    steps = steps.replace("static const struct journal_step *const layout_steps[]",
                          "extern struct journal_step layout_step_test;\n"
                          "static const struct journal_step *const layout_steps[]")  # fmt: skip
    (records / "layout_steps.c").write_text(steps)
    return number + 1


@pytest.fixture(scope="module")
def builds():
    """More builds: of a later version, of a layout that nobody knows, and of the next layout."""
    home = support.scratch_directory()
    newer, other, after = home / "newer", home / "other", home / "next"
    number = with_next_layout(home / "src")
    processes = [
        build(after, '-DIOMEMFS_VERSION="9.9.7"', sources=home / "src"),
        build(newer, '-DIOMEMFS_VERSION="9.9.9"'),
        build(other, '-DIOMEMFS_VERSION="9.9.8"', "-DIOMEMFS_TEST_LAYOUT_VERSION=999"),
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    yield {"newer": newer, "other": other, "next": after, "number": number}
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


@pytest.mark.parametrize("kind, number", [("newer", "9.9.9"), ("next", "9.9.7")])
def test_upgrade_in_place(mounts, builds, installed, kind, number):
    """Also to a program with another layout of the records: no call fails."""
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
        install(builds[kind], installed)
        with crash_load.Loads() as loads:
            loads.add(crash_load.change_tree, mount / "tree", 11)
            loads.add(crash_load.write_commands, mount / "commands", 12)
            result = upgrade(installed, mount)
            assert result.returncode == 0, result.stderr
        assert version(mount) == number != old
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


def test_upgrade_of_many_kinds_of_records(mounts, builds, installed):
    """Names, links, texts, attributes, orphans, waits and last errors, in the next layout."""
    mount = mounts(binary=str(installed))
    for i in range(3000):
        (mount / f"f{i}").touch()
    for i in range(0, 3000, 2):
        os.unlink(mount / f"f{i}")
    (mount / "d").mkdir(mode=0o750)
    os.symlink("x" * 600, mount / "link")
    os.link(mount / "f1", mount / "d" / "again")
    mount.create("sealed", 8192, "fixed")
    mount.create("temporary", 4096, "ephemeral")
    with open(mount / "gone", "w+b") as gone, open(mount / "temporary", "rb"):
        os.unlink(mount / "gone")
        with pytest.raises(OSError):
            mount.command("create", "bad")
        error = (mount.ctl / "error").read_text()
        with socket_client.Client(socket_client.socket_of(mount)) as waiting:
            waiting.send("wait later 60")
            before = everything(mount)
            install(builds["next"], installed)
            result = upgrade(installed, mount)
            assert result.returncode == 0, result.stderr
            assert everything(mount) == before
            assert (mount.ctl / "error").read_text() == error
            mount.create("later", 4096)
            assert waiting.receive().startswith("ok")
        gone.write(b"still")
    support.wait_for(lambda: not (mount / "temporary").exists(), "the end of what nobody uses")
    with pytest.raises(PermissionError):
        os.truncate(mount / "sealed", 0)
    for i in range(1, 3000, 2):
        os.unlink(mount / f"f{i}")
    layout = support.run([installed, "--layout"], check=True).stdout.split()
    assert layout == [str(builds["number"]), str(builds["number"] - 1)]


def everything(mount):
    """Names and attributes of all files, and what they count."""
    tree = {}
    for path, directories, files in os.walk(mount.path):
        for name in [*directories, *files]:
            st = os.lstat(os.path.join(path, name))
            tree[path, name] = (st.st_ino, st.st_mode, st.st_nlink, st.st_size, st.st_mtime_ns)
    stats = mount.stats()
    return tree, os.readlink(mount / "link"), stats["iomemfs_inodes"], stats["iomemfs_used_bytes"]


def test_conversion_that_fails_changes_nothing(mounts, builds, installed, tmp_path):
    """The next program cannot convert, or is killed while it does: the present one goes on."""
    mount = mounts(binary=str(installed))
    for i in range(500):
        (mount / f"f{i}").touch()
    for script in ("exit 1", f"{builds['next']} --convert; exit 1", "kill -9 $$"):
        os.unlink(installed)
        installed.write_text(
            "#!/bin/sh\n[ $1 = --convert ] || exec " + f"{builds['next']} \"$@\"\n{script}\n"
        )
        installed.chmod(0o755)
        refused(mount, installed, "going on as before", upgrades=None)
        (mount / "f7").write_text(script)
        assert (mount / "f7").read_text() == script
        assert len(os.listdir(mount)) == 501
    install(builds["next"], installed)
    assert upgrade(installed, mount).returncode == 0
    assert version(mount) == "9.9.7"
    assert len(os.listdir(mount)) == 501
    del tmp_path


def test_death_of_all_at_an_upgrade(builds, installed):
    """The service manager starts a program with the next layout over records of this one."""
    service = service_manager.Service(binary=str(installed), passthrough="on")
    try:
        region = service.create("region", 8192)
        with open(region, "r+b", buffering=0) as stream:
            stream.write(b"kept")
            install(builds["next"], installed)
            service.kill_all()
            service.start()
            assert version(service) == "9.9.7"
            assert os.pread(stream.fileno(), 4, 0) == region.read_bytes()[:4] == b"kept"
            service.kill_all()
            service.start()
            assert region.read_bytes()[:4] == b"kept"
    finally:
        service.stop()


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


def refused(mount, installed, words, upgrades=1):
    old = version(mount)
    (mount / "file").write_text("kept")
    result = upgrade(support.program(), mount)
    assert result.returncode == 32
    assert result.stderr.count("\n") == 1 and "not upgraded" in result.stderr
    assert version(mount) == old
    assert (mount / "file").read_text() == "kept"
    stats = mount.stats()
    assert stats["iomemfs_upgrades_total"] == 0
    assert upgrades is None or stats["iomemfs_upgrades_refused_total"] == upgrades
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
