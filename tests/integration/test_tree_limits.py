# SPDX-License-Identifier: MIT
"""Limits of directories: what lies inside cannot take more, and what lies outside feels nothing."""

import errno
import json
import mmap
import os
import time

import pytest

import crash_load
import support
from socket_client import Client
from support import fails_with, wait_for
from test_crash_points import link_descriptor

MIB = 1 << 20
PAGE = 4096
ALICE, BOB = (1001, 1001), (1002, 1002)

iomem = support.build_dir() / "src" / "cli" / "iomem"


def limit(directory, words):
    """Sets a limit as `echo words > DIRECTORY/.ctl/limit` does."""
    fd = os.open(f"{directory}/.ctl/limit", os.O_WRONLY)
    try:
        os.write(fd, words.encode() + b"\n")
    finally:
        os.close(fd)


def limited(mount, name, words, owner=None):
    directory = mount / name
    directory.mkdir()
    if owner:
        os.chown(directory, *owner)
    limit(directory, words)
    return directory


def space(directory):
    """(size, used) in bytes, (limit, used) of inodes."""
    st = os.statvfs(directory)
    blocks, files = st.f_blocks, st.f_files
    return blocks * PAGE, (blocks - st.f_bfree) * PAGE, files, files - st.f_ffree


def create(directory, name, size):
    fd = os.open(f"{directory}/.ctl/create", os.O_WRONLY)
    try:
        os.write(fd, f"{name} {size}\n".encode())
    finally:
        os.close(fd)


def fill(path):
    """Appends until ENOSPC; the bytes that were written."""
    written = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while written < 1 << 30:
            written += os.write(fd, b"w" * 65536)
    except OSError as error:
        assert error.errno == errno.ENOSPC
    finally:
        os.close(fd)
    return written


# What a limit is


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_limit_is_a_reservation(mount):
    d = limited(mount, "d", "size=8m nr_inodes=100")
    assert (d / ".ctl/limit").read_text() == "size=8388608 nr_inodes=100\n"
    assert space(d) == (8 * MIB, 0, 100, 1)
    assert space(mount) == (64 * MIB, 8 * MIB, 1000, 1 + 100)
    # Nothing that happens inside is felt outside.
    before = space(mount)
    create(d, "a", 3 * MIB)
    (d / "f").write_bytes(b"x" * MIB)
    (d / "s").mkdir()
    assert space(d) == (8 * MIB, 4 * MIB, 100, 4)
    assert space(d / "s") == space(d) == space(d / "f")
    assert space(mount) == before
    # And the other way round: what is outside can be used up.
    create(mount, "rest", 56 * MIB)
    fails_with(errno.ENOSPC, create, mount, "more", 1)
    create(d, "b", 4 * MIB)
    assert space(d)[:2] == (8 * MIB, 8 * MIB)
    fails_with(errno.ENOSPC, create, d, "c", 1)
    assert sorted(os.listdir(d)) == ["a", "b", "f", "s"]


@pytest.mark.options("size=64m")
def test_kernel_keeps_the_limit_of_what_it_grows(mount):
    d = limited(mount, "d", "size=8m")
    create(d, "a", 3 * MIB)
    assert 5 * MIB - 2 * 65536 <= fill(d / "f") <= 5 * MIB
    assert space(mount)[1] == 8 * MIB
    fails_with(errno.ENOSPC, create, d, "b", MIB)
    os.unlink(d / "a")
    assert fill(d / "g") >= 3 * MIB - 65536
    # A file outside has what the limit leaves, and no more.
    assert 56 * MIB - 2 * 65536 <= fill(mount / "f") <= 56 * MIB
    os.unlink(d / "f")
    assert fill(d / "h") >= 5 * MIB - 2 * 65536


@pytest.mark.options("size=64m")
def test_mapping_is_kept_in_the_limit(mount):
    """What ftruncate(2) was refused cannot be mapped either; what it was granted can be filled."""
    d = limited(mount, "d", "size=4m")
    with open(d / "f", "w+b") as f:
        fails_with(errno.ENOSPC, os.ftruncate, f.fileno(), 5 * MIB)
        os.ftruncate(f.fileno(), 4 * MIB)
        assert space(d)[:2] == (4 * MIB, 4 * MIB)
        fails_with(errno.ENOSPC, create, d, "r", 1)
        with mmap.mmap(f.fileno(), 0) as mapped:
            mapped[:] = b"m" * (4 * MIB)
            mapped.flush()
            os.fsync(f.fileno())
            # It has got what it had asked for, and counts once.
            assert space(d)[:2] == (4 * MIB, 4 * MIB)


@pytest.mark.options("nr_inodes=100")
def test_inodes(mount):
    d = limited(mount, "d", "nr_inodes=5")
    for name in "abc":
        (d / name).touch()
    os.link(d / "a", d / "l")
    assert space(d)[2:] == (5, 5)
    for attempt in (
        lambda: (d / "x").touch(),
        lambda: (d / "x").mkdir(),
        lambda: os.link(d / "a", d / "x"),
        lambda: os.symlink("a", d / "x"),
        lambda: os.mkfifo(d / "x"),
        lambda: create(d, "x", 1),
        lambda: os.close(os.open(d, os.O_TMPFILE | os.O_RDWR)),
    ):
        fails_with(errno.ENOSPC, attempt)
    os.unlink(d / "l")
    (d / "x").mkdir()
    assert space(mount)[2:] == (100, 1 + 5)
    # Bytes are those of the mount, because this limit has none.
    assert space(d)[:2] == space(mount)[:2]
    create(mount, "big", 3 * MIB)
    assert space(d)[1] == 3 * MIB


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_nested(mount):
    outer = limited(mount, "outer", "size=16m nr_inodes=100")
    middle = limited(outer, "middle", "nr_inodes=50")
    inner = limited(middle, "inner", "size=8m")
    assert space(outer) == (16 * MIB, 8 * MIB, 100, 1 + 50)
    assert space(middle) == (16 * MIB, 8 * MIB, 50, 2)
    assert space(inner) == (8 * MIB, 0, 50, 2)
    create(inner, "r", 8 * MIB)
    fails_with(errno.ENOSPC, create, inner, "s", 1)
    create(middle, "r", 8 * MIB)
    fails_with(errno.ENOSPC, create, outer, "s", 1)
    assert space(mount)[:2] == (64 * MIB, 16 * MIB)
    (outer / "more").mkdir()
    assert "has 0B and" in fails_text(outer / "more", "size=4k", errno.ENOSPC)


def fails_text(directory, words, number):
    """The text of the error that setting this limit yields."""
    fd = os.open(f"{directory}/.ctl/limit", os.O_RDWR)
    try:
        with pytest.raises(OSError) as caught:
            os.write(fd, words.encode() + b"\n")
        assert caught.value.errno == number, caught.value
        return os.pread(fd, 1000, 0).decode()
    finally:
        os.close(fd)


def test_nesting_has_a_bound(mount):
    d = mount.path
    for i in range(16):
        d = limited(d, f"d{i}", "nr_inodes=%d" % (100 - i))
    (d / "x").mkdir()
    assert "16 deep" in fails_text(d / "x", "nr_inodes=2", errno.EMLINK)


# Setting, changing, taking away


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_only_an_empty_directory_gets_one(mount):
    d = mount / "d"
    d.mkdir()
    (d / "f").touch()
    assert "not empty" in fails_text(d, "size=1m", errno.ENOTEMPTY)
    os.unlink(d / "f")
    limit(d, "size=1m nr_inodes=10")
    (d / "f").touch()
    assert "not empty" in fails_text(d, "none", errno.ENOTEMPTY)
    os.unlink(d / "f")
    limit(d, "none")
    assert (d / ".ctl/limit").read_text() == "none\n"
    assert space(d) == space(mount) == (64 * MIB, 0, 1000, 2)
    assert "has no limit" in fails_text(d, "none", errno.ENODATA)


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_changed_at_any_time(mount):
    d = limited(mount, "d", "size=8m nr_inodes=10")
    create(d, "r", 4 * MIB)
    (d / "f").write_bytes(b"x" * MIB)
    assert "more than that" in fails_text(d, "size=4m", errno.EBUSY)
    assert "more than that" in fails_text(d, "nr_inodes=2", errno.EBUSY)
    limit(d, "size=5m nr_inodes=3")
    assert space(d) == (5 * MIB, 5 * MIB, 3, 3)
    assert space(mount) == (64 * MIB, 5 * MIB, 1000, 4)
    assert "has 59M and" in fails_text(d, "size=65m", errno.ENOSPC)
    assert "inodes left" in fails_text(d, "nr_inodes=1001", errno.ENOSPC)
    assert space(d) == (5 * MIB, 5 * MIB, 3, 3)
    limit(d, "size=64m")
    assert space(mount)[:2] == (64 * MIB, 64 * MIB)
    (d / "f").write_bytes(b"x" * 50 * MIB)
    # A failed one changes nothing of either kind.
    fails_text(d, "nr_inodes=20 size=1m", errno.EBUSY)
    assert (d / ".ctl/limit").read_text() == "size=67108864 nr_inodes=3\n"


def test_bad_words(mount):
    d = mount / "d"
    d.mkdir()
    for words in ("", "size=0", "nr_inodes=0", "size=x", "none size=1m", "mode=0600", "size=1m x"):
        assert fails_text(d, words, errno.EINVAL)
    fails_text(mount, "size=1m", errno.EINVAL)
    limit(d, "size=1m")
    # What is not limited so far would have to be counted first.
    assert "after none" in fails_text(d, "nr_inodes=10", errno.EINVAL)
    fails_with(errno.ENOENT, os.stat, d / ".ctl/limits")


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_mount_cannot_shrink_below_what_is_reserved(mount):
    limited(mount, "d", "size=32m nr_inodes=500")
    fails_with(errno.EINVAL, mount.command, "admin", "remount size=31m")
    fails_with(errno.EINVAL, mount.command, "admin", "remount nr_inodes=500")
    mount.command("admin", "remount size=32m nr_inodes=501")
    assert space(mount) == (32 * MIB, 32 * MIB, 501, 501)
    mount.command("admin", "remount size=0")
    assert space(mount / "d")[:2] == (32 * MIB, 0)


# Who may


@pytest.mark.options("size=64m,mode=1777")
def test_who_may_set_one(mount):
    d = limited(mount, "alice", "size=16m", owner=ALICE)
    os.chmod(d, 0o777)
    # Not even the owner of the directory may, because the limit above is the mount's.
    fails_with(errno.EPERM, support.as_user, ALICE, limit, d, "size=32m")
    fails_with(errno.EPERM, support.as_user, ALICE, limit, d, "none")
    assert "administrator" in support.as_user(ALICE, fails_text, d, "size=1m", errno.EPERM)
    support.as_user(ALICE, os.mkdir, mount / "own")
    fails_with(errno.EPERM, support.as_user, ALICE, limit, mount / "own", "size=1m")
    # Inside her limit she may, also for directories of others; they may not.
    support.as_user(BOB, os.mkdir, d / "bob")
    fails_with(errno.EPERM, support.as_user, BOB, limit, d / "bob", "size=1m")
    support.as_user(ALICE, limit, d / "bob", "size=1m")
    fails_with(errno.EPERM, support.as_user, BOB, limit, d / "bob", "size=2m")
    assert space(d)[:2] == (16 * MIB, MIB)
    limit(d / "bob", "size=2m")
    support.as_user(ALICE, limit, d / "bob", "none")


# Its end


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_lives_until_the_last_orphan_is_gone(mount):
    d = limited(mount, "d", "size=8m nr_inodes=10")
    with open(d / "f", "w+b") as f:
        f.write(b"x" * MIB)
        f.flush()
        os.unlink(d / "f")
        assert "still in use" in fails_text(d, "none", errno.EBUSY)
        os.rmdir(d)
        assert space(mount) == (64 * MIB, 8 * MIB, 1000, 1 + 10)
        assert os.fstatvfs(f.fileno()).f_blocks * PAGE == 8 * MIB
        f.seek(0)
        with pytest.raises(OSError) as caught:
            while True:
                os.write(f.fileno(), b"w" * MIB)
        assert caught.value.errno == errno.ENOSPC
    wait_for(lambda: space(mount) == (64 * MIB, 0, 1000, 1), "the end of the limit")


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_nested_limits_end_from_within(mount):
    outer = limited(mount, "outer", "size=16m nr_inodes=100")
    inner = limited(outer, "inner", "size=8m nr_inodes=10")
    with open(inner / "f", "w+b") as f:
        os.unlink(inner / "f")
        os.rmdir(inner)
        assert space(outer) == (16 * MIB, 8 * MIB, 100, 11)
        os.rmdir(outer)
        assert space(mount) == (64 * MIB, 16 * MIB, 1000, 101)
        f.write(b"x")
    wait_for(lambda: space(mount) == (64 * MIB, 0, 1000, 1), "the end of both")


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_nothing_is_left_of_many(mount):
    daemon = crash_load.Daemon(mount)
    limited(mount, "first", "size=1m")
    os.rmdir(mount / "first")
    before = daemon.descriptors()
    for i in range(200):
        d = limited(mount, f"d{i % 7}", "size=1m nr_inodes=10")
        (d / "f").write_bytes(b"x" * 100)
        create(d, "r", 100)
        os.unlink(d / "f")
        os.unlink(d / "r")
        os.rmdir(d)
    wait_for(lambda: space(mount) == (64 * MIB, 0, 1000, 1), "the end of all limits")
    wait_for(lambda: daemon.descriptors() == before, "the descriptors")


def test_removed_directory_takes_no_unnamed_file(mount):
    """A limit has ended with its directory, so there is nothing that it could count in."""
    d = limited(mount, "d", "size=1m nr_inodes=3")
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.rmdir(d)
        path = f"/proc/self/fd/{fd}"
        fails_with(errno.ENOENT, os.open, path, os.O_TMPFILE | os.O_RDWR)
        assert os.fstatvfs(fd).f_bsize == PAGE
    finally:
        os.close(fd)


# The border


def test_border(mount):
    d = limited(mount, "d", "size=1m")
    e = limited(mount, "e", "size=1m")
    for place in (mount.path, d, e):
        (place / "f").write_bytes(b"content")
        (place / "sub").mkdir()
    for source, target in ((mount.path, d), (d, mount.path), (d, e), (d / "sub", e / "sub")):
        (source / "x").touch()
        fails_with(errno.EXDEV, os.rename, source / "x", target / "y")
        fails_with(errno.EXDEV, os.rename, source / "x", target / "f")
        fails_with(errno.EXDEV, os.link, source / "x", target / "y")
        fails_with(errno.EXDEV, crash_load.rename_exchange, source / "x", target / "f"
                   if (target / "f").exists() else target)
        os.unlink(source / "x")
    fails_with(errno.EXDEV, os.rename, d / "sub", mount / "moved")
    # Programs that know what EXDEV means go on as between file systems.
    assert support.run(["mv", d / "f", mount / "g"]).returncode == 0
    assert (mount / "g").read_bytes() == b"content"
    # The directory itself belongs to where it lies, and takes its limit along.
    os.rename(d, mount / "sub" / "d")
    assert space(mount / "sub" / "d")[0] == MIB
    (mount / "sub" / "d" / "sub" / "h").touch()
    os.rename(mount / "sub" / "d" / "sub" / "h", mount / "sub" / "d" / "h")
    fails_with(errno.EXDEV, os.rename, mount / "sub" / "d", e / "d")
    assert space(mount / "sub" / "d")[0] == MIB


def test_unnamed_file_gets_its_name_inside(mount):
    d = limited(mount, "d", "size=1m nr_inodes=10")
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR)
    try:
        assert space(d)[3] == 2
        fails_with(errno.EXDEV, link_descriptor, fd, mount / "f")
        link_descriptor(fd, d / "f")
    finally:
        os.close(fd)


# Where it is shown


def tables(mount, *words, where=None):
    done = support.run([iomem, *words, "-J", "-b", where or mount], check=True)
    return json.loads(done.stdout)["limits"]


@pytest.mark.options("size=64m,nr_inodes=1000")
@pytest.mark.parametrize("way", ["socket", "files"])
def test_df(mount, way):
    if way == "files":
        os.unlink(mount.home / "socket")
    limited(limited(mount, "a b", "size=16m nr_inodes=100"), "c", "size=8m")
    lines = tables(mount, "df")
    assert [line["directory"] for line in lines] == [".", "a b", "a b/c"]
    assert lines[0] == {
        "directory": ".", "size": 64 * MIB, "used": 16 * MIB, "overcommitted": 0, "inodes": 1000, "inodes_used": 101,
    }  # fmt: skip
    assert (lines[1]["size"], lines[1]["used"]) == (16 * MIB, 8 * MIB)
    assert (lines[2]["size"], lines[2]["inodes"], lines[2]["inodes_used"]) == (8 * MIB, 100, 2)
    lines = tables(mount, "df", where=mount / "a b")
    assert [line["directory"] for line in lines] == [".", "c"]
    text = support.run([iomem, "df", mount], check=True).stdout
    assert text.splitlines()[0].split()[:5] == ["DIRECTORY", "SIZE", "USED", "AVAIL", "USE%"]
    assert "16M" in text and len(text.splitlines()) == 4
    assert text.splitlines()[1].split() == [
        ".", "64M", "16M", "48M", "25%", "1000", "101", "899", "11%",
    ]  # fmt: skip
    # df(1) says the same.
    words = support.run(["df", "-B1", "--output=size,used,avail,itotal,iused,iavail",
                         mount / "a b"], check=True).stdout.split()[-6:]  # fmt: skip
    assert [int(w) for w in words] == [16 * MIB, 8 * MIB, 8 * MIB, 100, 2, 98]


@pytest.mark.options("size=64m,mode=1777")
def test_df_shows_what_one_may_see(mount):
    d = limited(mount, "hidden", "size=8m", owner=ALICE)
    limited(d, "inner", "size=1m")
    os.chmod(d, 0o700)
    assert [line["directory"] for line in tables(mount, "df")] == [".", "hidden", "hidden/inner"]
    for user, seen in ((ALICE, 3), (BOB, 2)):
        text = support.as_user(user, (mount.ctl / "limits.json").read_text)
        assert len(json.loads(text)["limits"]) == seen
        text = support.as_user(user, (mount.ctl / "stats").read_text)
        assert text.count("iomemfs_limit_size_bytes{") == seen - 1


@pytest.mark.options("size=64m")
@pytest.mark.parametrize("way", ["socket", "files"])
def test_limit_by_command(mount, way):
    if way == "files":
        os.unlink(mount.home / "socket")
    (mount / "d").mkdir()

    def set_limit(*words):
        return support.run([iomem, "limit", mount / "d", *words])

    assert set_limit("size=8m", "nr_inodes=10").returncode == 0
    assert space(mount / "d") == (8 * MIB, 0, 10, 1)
    assert "8M" in set_limit().stdout
    done = set_limit("size=65m")
    assert done.returncode == 5 and "no space: the limit above has 56M" in done.stderr
    assert set_limit("size=4x").returncode == 2
    assert set_limit("mode=1").returncode == 2
    assert set_limit("size=0").returncode == 2
    assert set_limit("none").returncode == 0
    assert space(mount / "d")[0] == 64 * MIB
    done = support.run([iomem, "limit", mount / "e", "size=1m"])
    assert done.returncode == 3 and "e:" in done.stderr


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_stats(mount):
    limited(mount, 'a"\\ b', "size=8m nr_inodes=10")
    stats = mount.stats()
    label = '{directory="a\\"\\\\134\\\\040b"}'
    assert stats["iomemfs_limit_size_bytes" + label] == 8 * MIB
    assert stats["iomemfs_limit_used_bytes" + label] == 0
    assert stats["iomemfs_limit_inodes_max" + label] == 10
    assert stats["iomemfs_limit_inodes" + label] == 1
    text = (mount.ctl / "stats").read_text()
    assert text.count("# TYPE iomemfs_limit_inodes gauge") == 1


def test_socket(mount):
    (mount / "d").mkdir()
    (mount / "f").touch()
    with Client(mount.home / "socket") as client:
        client.ask("limit d size=8m")
        for line, number in (
            ("limit d size=9999999m", errno.ENOSPC),
            ("limit f size=1m", errno.ENOTDIR),
            ("limit nothing size=1m", errno.ENOENT),
            ("limit d", errno.EINVAL),
            ("limit", errno.EINVAL),
            ("limits f", errno.ENOTDIR),
        ):
            fails_with(number, client.ask, line)
        assert json.loads(client.ask("limits"))["limits"][1]["size"] == 8 * MIB
        assert json.loads(client.ask("limits d"))["limits"][0]["directory"] == "."
        client.ask("limit d none")
        assert len(json.loads(client.ask("limits"))["limits"]) == 1


# The daemon dies


@pytest.mark.options("size=64m,nr_inodes=1000")
def test_restart(mount):
    d = limited(mount, "d", "size=8m nr_inodes=10")
    create(d, "r", 4 * MIB)
    (d / "f").write_bytes(b"x" * MIB)
    os.kill(support.worker_pid(mount), 9)
    assert space(d) == (8 * MIB, 5 * MIB, 10, 3)
    assert space(mount) == (64 * MIB, 8 * MIB, 1000, 11)
    assert 3 * MIB - 2 * 65536 <= fill(d / "g") <= 3 * MIB
    mount.command("admin", "upgrade")
    wait_for(lambda: mount.stats()["iomemfs_upgrades_total"] == 1, "the upgrade")
    assert space(d)[0] == 8 * MIB
    assert (d / "f").read_bytes() == b"x" * MIB


# What counts


@pytest.mark.options("size=8m")
def test_one_byte_far_away_is_a_page(mount):
    with open(mount / "f", "w+b") as f:
        os.pwrite(f.fileno(), b"x", 100 << 30)
        assert space(mount)[:2] == (8 * MIB, PAGE)
        os.pwrite(f.fileno(), b"y", 50 << 30)
        os.pwrite(f.fileno(), b"z", 50 << 30)
        assert space(mount)[:2] == (8 * MIB, 2 * PAGE)
        # A smaller size never asks for more.
        os.ftruncate(f.fileno(), 60 << 30)
        assert space(mount)[:2] == (8 * MIB, PAGE)
        fails_with(errno.ENOSPC, os.ftruncate, f.fileno(), 61 << 30)
    create(mount, "r", 8 * MIB - PAGE)


@pytest.mark.options("size=8m")
def test_the_larger_of_size_and_pages_counts(mount):
    with open(mount / "f", "w+b") as f:
        os.ftruncate(f.fileno(), 4 * MIB)
        assert space(mount)[1] == 4 * MIB
        os.pwrite(f.fileno(), b"x" * MIB, 0)
        assert space(mount)[1] == 4 * MIB
        os.pwrite(f.fileno(), b"x" * MIB, 5 * MIB)  # not part of what it asked for, but of its pages
        assert space(mount)[1] == 4 * MIB
        os.pwrite(f.fileno(), b"x" * 3 * MIB, 2 * MIB)
        assert space(mount)[1] == 5 * MIB
        os.ftruncate(f.fileno(), 5 * MIB)
        assert space(mount)[1] == 4 * MIB
        os.ftruncate(f.fileno(), 2 * MIB)
        assert space(mount)[1] == 2 * MIB
        os.ftruncate(f.fileno(), 8 * MIB)
        assert space(mount)[1] == 8 * MIB


@pytest.mark.modes("passthrough")
@pytest.mark.options("size=8m")
def test_overcommitment_is_shown(mount):
    """What was only asked for can be taken by others; df shows at most the size, stats the rest."""
    with open(mount / "f", "w+b") as f:
        os.ftruncate(f.fileno(), 6 * MIB)
        assert fill(mount / "g") >= 8 * MIB - 2 * 65536
        assert space(mount)[:2] == (8 * MIB, 8 * MIB)
        over = mount.stats()["iomemfs_overcommitted_bytes"]
        assert 6 * MIB - 2 * 65536 <= over <= 6 * MIB
        fails_with(errno.ENOSPC, create, mount, "r", 1)
    os.unlink(mount / "g")
    wait_for(lambda: space(mount)[:2] == (8 * MIB, 6 * MIB), "the pages of g")
    assert mount.stats()["iomemfs_overcommitted_bytes"] == 0


@pytest.mark.options("size=8m")
def test_fallocate_counts_pages(mount):
    with open(mount / "f", "w+b") as f:
        os.posix_fallocate(f.fileno(), 100 << 30, MIB)
        assert space(mount)[1] == MIB
        os.posix_fallocate(f.fileno(), 0, 5 * MIB)
        assert space(mount)[1] == 6 * MIB
        os.pwrite(f.fileno(), b"x" * 5 * MIB, 0)
        # What it has already is not asked for again.
        os.posix_fallocate(f.fileno(), 0, 7 * MIB)
        assert space(mount)[1] == 8 * MIB
        fails_with(errno.ENOSPC, os.posix_fallocate, f.fileno(), 0, 8 * MIB)
        assert space(mount)[1] == 8 * MIB
        os.pwrite(f.fileno(), b"x" * 7 * MIB, 0)


@pytest.mark.modes("passthrough")
@pytest.mark.options("size=8m")
def test_fallocate_again(mount):
    """Pages that were allocated, but not written, are not allocated again."""
    create(mount, "r", 4 * MIB)
    for name in ("r", "f"):
        with open(mount / name, "a+b") as f:
            for _ in range(3):
                os.posix_fallocate(f.fileno(), 0, 4 * MIB)
    assert space(mount)[1] == 8 * MIB


@pytest.mark.options("size=8m")
def test_sparse(mount):
    (mount / "d").mkdir()
    fd = os.open(mount / "d/.ctl/default", os.O_WRONLY)
    os.write(fd, b"sparse\n")
    os.close(fd)
    assert (mount / "d/.ctl/default").read_text() == "sparse\n"
    (mount / "d/sub").mkdir()
    with open(mount / "d/sub/f", "w+b") as f:
        os.ftruncate(f.fileno(), 100 << 30)
        assert space(mount)[1] == 0
        os.pwrite(f.fileno(), b"x", 50 << 30)
        assert space(mount)[1] == PAGE
        with mmap.mmap(f.fileno(), 2 * MIB) as mapped:
            mapped[:] = b"m" * 2 * MIB
            mapped.flush()
            os.fsync(f.fileno())
        assert space(mount)[1] == 2 * MIB + PAGE
    # Regions that commands make are granted all the same.
    fails_with(errno.ENOSPC, create, mount / "d", "r", 8 * MIB)
    regions = json.loads((mount.ctl / "regions.json").read_text())["regions"]
    assert [r["flags"] for r in regions] == [["sparse"]]
    # Sizes ask for memory elsewhere.
    with open(mount / "g", "w+b") as f:
        fails_with(errno.ENOSPC, os.ftruncate, f.fileno(), 100 << 30)


@pytest.mark.options("size=8m")
def test_many_that_have_asked(mount):
    """However many files are filled by mappings: what they have got counts once."""
    maps = []
    for i in range(300):
        fd = os.open(mount / f"f{i}", os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, 2 * PAGE)
        maps.append(mmap.mmap(fd, 2 * PAGE))
        os.close(fd)
    assert space(mount)[1] == 600 * PAGE
    for mapped in maps:
        mapped[:] = b"m" * 2 * PAGE
        mapped.flush()
    for _ in range(600 // 64):
        os.statvfs(mount)
    assert space(mount)[1] == 600 * PAGE
    create(mount, "r", 8 * MIB - 600 * PAGE)
    for mapped in maps:
        mapped.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.options("size=1g")
def test_sums_need_no_walk(mount):
    """df takes as long with 10,000 files that have asked for memory as with one."""

    def fastest():
        times = []
        for _ in range(200):
            start = time.perf_counter()
            os.statvfs(mount)
            times.append(time.perf_counter() - start)
        return min(times)

    (mount / "first").write_bytes(b"x")
    one = fastest()
    for i in range(10000):
        fd = os.open(mount / f"f{i}", os.O_RDWR | os.O_CREAT)
        if i % 2:
            os.ftruncate(fd, 2 * PAGE)
        os.pwrite(fd, b"x", 0)
        os.close(fd)
    many = fastest()
    # 64 of them are looked at each time.
    assert many < one + 0.0005, (one, many)
    assert space(mount)[1] == PAGE + 5000 * PAGE + 5000 * 2 * PAGE
