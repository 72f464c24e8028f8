# SPDX-License-Identifier: MIT
"""The files of .ctl: commands, their errors and rights, the listings; that they stay hidden."""

import concurrent.futures
import ctypes
import errno
import json
import mmap
import os
import re
import stat
import subprocess
import sys

import pytest
from support import DAEMON, NOBODY, ROOT, as_user, run, wait_for

MIB = 1 << 20


def write(path, data):
    """One write(2) to a control file.  0 or the errno."""
    if isinstance(data, str):
        data = data.encode()
    fd = os.open(path, os.O_WRONLY)
    try:
        assert os.write(fd, data) == len(data)
        return 0
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)


def write_and_read(path, data):
    """The errno of a write, and what can be read from the same open file afterwards."""
    fd = os.open(path, os.O_RDWR)
    try:
        try:
            os.write(fd, data.encode())
            result = 0
        except OSError as error:
            result = error.errno
        return result, read_all(fd)
    finally:
        os.close(fd)


def read_all(fd):
    text = b""
    while True:
        piece = os.read(fd, 65536)
        if not piece:
            return text.decode()
        text += piece


def regions(directory):
    """regions.json of a directory: {name: region}."""
    text = (directory / ".ctl" / "regions.json").read_bytes()
    listed = json.loads(text)["regions"]
    assert len({r["name"] for r in listed}) == len(listed)
    return {r["name"]: r for r in listed}


def table(directory):
    """regions of a directory: a list of rows, each a dictionary by column."""
    lines = (directory / ".ctl" / "regions").read_text().splitlines()
    head = lines[0].split()
    rows = [line.split() for line in lines[1:]]
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row)) for row in rows]


def state(directory):
    """All that a failed command must leave alone."""
    names = {}
    for path, directories, files in os.walk(directory):
        for name in directories + files:
            st = os.lstat(os.path.join(path, name))
            names[os.path.join(path, name)] = (
                st.st_ino, st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_nlink,
            )  # fmt: skip
    st, fs = os.stat(directory), os.statvfs(directory)
    return names, (st.st_mtime_ns, st.st_ctime_ns, st.st_nlink), (fs.f_bfree, fs.f_ffree)


# Creating


def test_create(folder):
    old = os.umask(0o027)
    try:
        assert write(folder / ".ctl/create", "frames 64k\n") == 0
    finally:
        os.umask(old)
    st = os.stat(folder / "frames")
    assert (st.st_size, st.st_mode, st.st_uid, st.st_gid) == (65536, stat.S_IFREG | 0o640, 0, 0)
    assert st.st_nlink == 1
    with open(folder / "frames", "r+b") as one, open(folder / "frames", "r+b") as other:
        with mmap.mmap(one.fileno(), 0) as a, mmap.mmap(other.fileno(), 0) as b:
            assert a[:] == bytes(65536)
            a[65535] = 7
            assert b[65535] == 7


@pytest.mark.parametrize(
    "text,size",
    [("1", 1), ("4095", 4095), ("3k", 3072), ("3K", 3072), ("1m", MIB), ("1M", MIB), ("007", 7)],
)
def test_sizes(folder, text, size):
    assert write(folder / ".ctl/create", f"a {text}\n") == 0
    assert os.stat(folder / "a").st_size == size


@pytest.mark.parametrize("unit,size", [("g", 1 << 30), ("G", 1 << 30), ("t", 1 << 40)])
@pytest.mark.options("size=0")
def test_large_sizes(mount, unit, size):
    assert write(mount.ctl / "create", f"a 1{unit}\n") == 0
    assert os.stat(mount / "a").st_size == size
    assert os.stat(mount / "a").st_blocks == 0


def test_mode_is_as_given(folder):
    old = os.umask(0o077)
    try:
        for mode in (0o640, 0o666, 0o777, 0o400, 0):
            assert write(folder / ".ctl/create", f"m{mode:o} 1 mode={mode:04o}\n") == 0
            assert stat.S_IMODE(os.stat(folder / f"m{mode:o}").st_mode) == mode
    finally:
        os.umask(old)


def test_group_of_a_setgid_directory(folder):
    os.chown(folder, 0, 2000)
    os.chmod(folder, 0o2777)
    assert as_user(NOBODY, write, folder / ".ctl/create", "a 1\n") == 0
    st = os.stat(folder / "a")
    assert (st.st_uid, st.st_gid) == (NOBODY[0], 2000)


def test_words_may_be_apart(folder):
    assert write(folder / ".ctl/create", " \ta \t 8k\t\tmode=600  \n") == 0
    assert os.stat(folder / "a").st_size == 8192


def test_several_lines_stop_at_the_first_error(folder):
    assert write(folder / ".ctl/create", "a 1\nb 2\nc 3\n") == 0
    assert sorted(os.listdir(folder)) == ["a", "b", "c"]
    result, text = write_and_read(folder / ".ctl/create", "d 1\nb 1\ne 1\n")
    assert result == errno.EEXIST
    assert text == "line 2: b: exists already\n"
    assert sorted(os.listdir(folder)) == ["a", "b", "c", "d"]


LONG = "n" * 255
BAD_LINES = [
    ("", errno.EINVAL),
    ("a 1", errno.EINVAL),
    ("a 1\nb", errno.EINVAL),
    ("a 1\n\n", errno.EINVAL),
    ("\na 1\n", errno.EINVAL),
    ("\n", errno.EINVAL),
    ("   \n", errno.EINVAL),
    ("a 1\0\n", errno.EINVAL),
    ("a 1\n\0\n", errno.EINVAL),
    ("a\0b 1\n", errno.EINVAL),
    ("a 1\r\n", errno.EINVAL),
    ("a\n", errno.EINVAL),
    ("a -1\n", errno.EINVAL),
    ("a +1\n", errno.EINVAL),
    ("a 1.5\n", errno.EINVAL),
    ("a 1.5mb\n", errno.EINVAL),
    ("a .5m\n", errno.EINVAL),
    ("a 1e3\n", errno.EINVAL),
    ("a 0x\n", errno.EINVAL),
    ("a 1kb\n", errno.EINVAL),
    ("a 1x\n", errno.EINVAL),
    ("a k\n", errno.EINVAL),
    ("a one\n", errno.EINVAL),
    ("a 9223372036854775808\n", errno.EFBIG),
    ("a 18446744073709551617\n", errno.EFBIG),
    ("a 16777216t\n", errno.EFBIG),
    ("a 9223372036854775807\n", errno.EFBIG),
    ("a 1 bogus\n", errno.EINVAL),
    ("a 1 mode=\n", errno.EINVAL),
    ("a 1 mode=888\n", errno.EINVAL),
    ("a 1 mode=u+r\n", errno.EINVAL),
    ("a 1 mode=4755\n", errno.EINVAL),
    ("a 1 mode=600 mode=600\n", errno.EINVAL),
    ("a 1 2\n", errno.EINVAL),
    ("a b 1\n", errno.EINVAL),
    ("../a 1\n", errno.EINVAL),
    ("sub/../a 1\n", errno.EINVAL),
    ("./a 1\n", errno.EINVAL),
    (". 1\n", errno.EINVAL),
    (".. 1\n", errno.EINVAL),
    ("/a 1\n", errno.EINVAL),
    ("/ 1\n", errno.EINVAL),
    ("a/ 1\n", errno.EINVAL),
    ("sub//a 1\n", errno.EINVAL),
    (".ctl 1\n", errno.EINVAL),
    (".ctl/a 1\n", errno.EINVAL),
    ("sub/.ctl/create 1\n", errno.EINVAL),
    ("\\056\\056/a 1\n", errno.EINVAL),
    ("a\\ b 1\n", errno.EINVAL),
    ("a\\x 1\n", errno.EINVAL),
    ("a\\000 1\n", errno.EINVAL),
    ("sub\\057a 1\n", errno.EINVAL),
    (f"{LONG}n 1\n", errno.ENAMETOOLONG),
    (f"sub/{LONG}n 1\n", errno.ENAMETOOLONG),
    ("n/" * 2100 + "n 1\n", errno.ENAMETOOLONG),
    ("there 1\n", errno.EEXIST),
    ("sub 1\n", errno.EEXIST),
    ("link 1\n", errno.EEXIST),
    ("missing/a 1\n", errno.ENOENT),
    ("there/a 1\n", errno.ENOTDIR),
    ("link/a 1\n", errno.ELOOP),
    ("dangling/a 1\n", errno.ELOOP),
    ("a 7t\n", errno.ENOSPC),
    ("a 1 fixed " + " " * 65536 + "\n", errno.EINVAL),
    ("a 1\n" + "x" * MIB, errno.EINVAL),
    ("".join(f"a{i} 1\n" for i in range(1025)), errno.EINVAL),
]


def test_bad_input_changes_nothing(folder):
    (folder / "sub").mkdir()
    (folder / "there").write_text("kept")
    (folder / "link").symlink_to("sub")
    (folder / "dangling").symlink_to("nowhere")
    before = state(folder)
    for text, want in BAD_LINES:
        if text == "":
            continue  # write(2) of nothing reaches no file
        got = write(folder / ".ctl/create", text)
        assert got == want, f"{text[:60]!r}: {errno.errorcode.get(got, got)}"
        assert state(folder) == before, text[:60]
    assert (folder / "there").read_text() == "kept"


def test_a_write_split_in_two(folder):
    fd = os.open(folder / ".ctl/create", os.O_WRONLY)
    try:
        for piece in (b"frames ", b"64k"):
            with pytest.raises(OSError) as caught:
                os.write(fd, piece)
            assert caught.value.errno == errno.EINVAL
        with pytest.raises(OSError) as caught:
            os.write(fd, b"\n")
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(fd)
    assert os.listdir(folder) == []


def test_longest_name(folder):
    assert write(folder / ".ctl/create", f"{LONG} 1\n") == 0
    assert os.listdir(folder) == [LONG]
    assert write(folder / ".ctl/remove", f"{LONG}\n") == 0


def test_names_are_written_with_escapes(folder):
    name = b"a b\tc\nd\\e\x7f\x01\xff"
    assert write(folder / ".ctl/create", b"a\\040b\\011c\\012d\\134e\\177\\001\xff 1\n") == 0
    assert os.listdir(os.fsencode(folder)) == [name]
    (region,) = regions(folder).values()
    assert region["name"] == "a b\tc\nd\\e\x7f\x01\ufffd"
    assert region["name_escaped"] == "a\\040b\\011c\\012d\\134e\\177\\001\\377"
    shown = (folder / ".ctl/regions").read_bytes().splitlines()[1].split()[0]
    assert shown == b"a\\040b\\011c\\012d\\134e\\177\\001\\377"
    assert write(folder / ".ctl/remove", shown + b"\n") == 0
    assert os.listdir(folder) == []


def test_fixed(folder):
    assert write(folder / ".ctl/create", "f 8k fixed\n") == 0
    for size in (0, 4096, 8193):
        with pytest.raises(PermissionError) as caught:
            os.truncate(folder / "f", size)
        assert caught.value.errno == errno.EPERM
        result, text = write_and_read(folder / ".ctl/resize", f"f {size}\n")
        assert (result, text) == (errno.EPERM, "f: its size is fixed for life\n")
    with pytest.raises(PermissionError):
        os.open(folder / "f", os.O_RDWR | os.O_TRUNC)
    fd = os.open(folder / "f", os.O_RDWR)
    try:
        assert os.pwrite(fd, b"x" * 8192, 0) == 8192
        with pytest.raises(OSError):
            os.pwrite(fd, b"y", 8192)
    finally:
        os.close(fd)
    assert os.stat(folder / "f").st_size == 8192
    region = regions(folder)["f"]
    assert region["flags"] == ["fixed"] and region["seals"] == ["shrink", "grow"]


def test_size_0(folder):
    """It is a region like others: listed, sealed, resized; only mmap(2) has nothing to map."""
    for options in ("", " fixed", " populate", " huge", " ephemeral"):
        name = "empty" + options.replace(" ", "-")
        assert write(folder / ".ctl/create", f"{name} 0{options}\n") == 0, options
        assert regions(folder)[name]["size"] == regions(folder)[name]["allocated"] == 0
        with open(folder / name, "r+b", buffering=0) as file:
            assert os.fstat(file.fileno()).st_size == 0 and file.read(1) == b""
            with pytest.raises(ValueError):  # Python's own word for EINVAL of size 0
                mmap.mmap(file.fileno(), 0)
            if options == " fixed":
                with pytest.raises(PermissionError):
                    os.ftruncate(file.fileno(), 1)
                with pytest.raises(PermissionError):
                    file.write(b"x")
                assert write(folder / ".ctl/resize", f"{name} 4k\n") == errno.EPERM
            else:
                assert write(folder / ".ctl/resize", f"{name} 4k\n") == 0
                with mmap.mmap(file.fileno(), 0) as memory:
                    memory[4095] = 7
                assert os.pread(file.fileno(), 1, 4095) == b"\7"
    assert write(folder / ".ctl/seal", "empty-fixed write\n") == 0
    with pytest.raises(PermissionError):
        open(folder / "empty-fixed", "r+b")  # pylint: disable=consider-using-with
    wait_for(lambda: "empty-ephemeral" not in regions(folder), "the end of the ephemeral one")


@pytest.mark.parametrize("option", ["populate", "huge", "populate huge fixed"])
def test_populated(folder, option):
    assert write(folder / ".ctl/create", f"p 8m {option}\n") == 0
    st = os.stat(folder / "p")
    assert (st.st_size, st.st_blocks * 512) == (8 * MIB, 8 * MIB)
    region = regions(folder)["p"]
    assert set(region["flags"]) == set(option.split())
    assert region["allocated"] == 8 * MIB
    assert 0 <= region["huge"] <= 8 * MIB
    assert (folder / "p").read_bytes() == bytes(8 * MIB)
    assert write(folder / ".ctl/create", f"p 8m {option}\n") == errno.EEXIST
    assert write(folder / ".ctl/create", f"q 7t {option}\n") == errno.ENOSPC
    assert os.listdir(folder) == ["p"]


def test_populated_among_other_lines(folder):
    result, text = write_and_read(
        folder / ".ctl/create", "a 1\nb 4m populate\nc 1\nb 4m populate\nd 1\n"
    )
    assert (result, text) == (errno.EEXIST, "line 4: b: exists already\n")
    assert sorted(os.listdir(folder)) == ["a", "b", "c"]
    assert os.stat(folder / "b").st_blocks * 512 == 4 * MIB


def test_defaults_of_a_tree(folder):
    (folder / "d/inner").mkdir(parents=True)
    assert (folder / "d/.ctl/default").read_text() == "none\n"
    assert write(folder / "d/.ctl/default", "mode=0604 ephemeral\n") == 0
    for name in ("d", "d/inner"):
        assert (folder / name / ".ctl/default").read_text() == "mode=0604 ephemeral\n"
        with open(folder / name / "a", "w") as f:
            assert stat.S_IMODE(os.fstat(f.fileno()).st_mode) == 0o604
            assert regions(folder / name)["a"]["flags"] == ["ephemeral"]
        # With its last user goes the name.
        wait_for(lambda name=name: not os.path.exists(folder / name / "a"), "the name to go")
    assert (folder / ".ctl/default").read_text() == "none\n"
    (folder / "a").touch()
    assert regions(folder)["a"]["flags"] == []
    assert write(folder / "d/inner/.ctl/default", "none\n") == 0
    # Commands say for themselves what they want.
    assert write(folder / "d/.ctl/create", "c 1 mode=600\n") == 0
    assert regions(folder)["d/c"]["flags"] == []
    for line in ("\n", "none none\n", "none mode=600\n", "bogus\n", "fixed\n", "a 1\n", "mode=8\n"):
        assert write(folder / "d/.ctl/default", line) == errno.EINVAL, line
    assert as_user(NOBODY, write, folder / "d/.ctl/default", "none\n") == errno.EPERM
    assert (folder / "d/.ctl/default").read_text() == "mode=0604 ephemeral\n"


def test_defaults_of_a_directory_that_is_gone(folder):
    """Whatever holds there, nothing breaks."""
    (folder / "outer/inner").mkdir(parents=True)
    fd = os.open(folder / "outer/inner", os.O_RDONLY)
    try:
        os.rmdir(folder / "outer/inner")
        os.rmdir(folder / "outer")
        wait_for(lambda: write_again(folder), "the daemon")
        try:
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_TMPFILE | os.O_RDWR, 0o600))
        except FileNotFoundError:
            pass
    finally:
        os.close(fd)


def write_again(folder):
    """Gives the kernel reason to forget what is gone."""
    return write(folder / ".ctl/create", "x 1\n") == 0 and write(folder / ".ctl/remove", "x\n") == 0


POLL = """
import os, sys
sizes = set()
for i in range(int(sys.argv[2])):
    while True:
        try:
            sizes.add(os.stat(f"{sys.argv[1]}/r{i}").st_size)
            break
        except FileNotFoundError:
            pass
    with open(f"{sys.argv[1]}/r{i}", "rb") as f:
        sizes.add(os.fstat(f.fileno()).st_size)
        sizes.add(os.lseek(f.fileno(), 0, os.SEEK_END))
    if i % 50 == 0:
        print(i, flush=True)
print(sorted(sizes))
"""


def test_whoever_polls_for_a_name_sees_it_whole(folder):
    count = 300
    pollers = [
        subprocess.Popen(
            [sys.executable, "-c", POLL, folder, str(count)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        for i in range(count):
            assert write(folder / ".ctl/create", f"r{i} 12345 fixed\n") == 0
        for poller in pollers:
            assert poller.communicate(timeout=50)[0].splitlines()[-1] == "[12345]"
    finally:
        for poller in pollers:
            poller.kill()
            poller.communicate()


def test_one_of_many_makers_wins(folder):
    def make(_):
        return write(folder / ".ctl/create", "one 1\n")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(make, range(64)))
    assert sorted(results) == [0] + [errno.EEXIST] * 63


# Resizing, sealing, removing


def test_resize_is_seen_at_once(folder):
    assert write(folder / ".ctl/create", "a 8k\n") == 0
    with open(folder / "a", "r+b") as f:
        f.write(b"x" * 8192)
        f.flush()
        for size in (1 << 20, 4096, 12345, 0, 8192):
            os.stat(folder / "a")  # what the kernel keeps must not answer below
            assert write(folder / ".ctl/resize", f"a {size}\n") == 0
            assert os.stat(folder / "a").st_size == size
            assert os.fstat(f.fileno()).st_size == size
            assert os.lseek(f.fileno(), 0, os.SEEK_END) == size
            assert len(os.pread(f.fileno(), 1 << 21, 0)) == size
        assert os.pread(f.fileno(), 8192, 0) == bytes(8192)


def test_resize_changes_times_as_truncate_does(folder):
    assert write(folder / ".ctl/create", "a 8k\n") == 0
    os.utime(folder / "a", ns=(1, 1))
    assert write(folder / ".ctl/resize", "a 4k\n") == 0
    assert os.stat(folder / "a").st_mtime_ns > 10**18


@pytest.mark.parametrize(
    "line,want",
    [
        ("missing 1\n", errno.ENOENT),
        ("sub 1\n", errno.EISDIR),
        ("fifo 1\n", errno.EINVAL),
        ("link 1\n", errno.ELOOP),
        ("link/a 1\n", errno.ELOOP),
        ("a\n", errno.EINVAL),
        ("a -1\n", errno.EINVAL),
        ("a 1 2\n", errno.EINVAL),
        ("a 8388608t\n", errno.EFBIG),
        ("a 7t\n", errno.ENOSPC),
        ("../a 1\n", errno.EINVAL),
    ],
)
def test_resize_errors(folder, line, want):
    assert write(folder / ".ctl/create", "a 8k\n") == 0
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("a")
    os.mkfifo(folder / "fifo")
    before = state(folder)
    assert write(folder / ".ctl/resize", line) == want
    assert state(folder) == before


def test_files_made_by_open_are_regions_too(folder):
    (folder / "a").write_bytes(b"x" * 5000)
    assert regions(folder)["a"]["size"] == 5000
    assert write(folder / ".ctl/resize", "a 100\n") == 0
    assert (folder / "a").read_bytes() == b"x" * 100
    assert write(folder / ".ctl/remove", "a\n") == 0
    assert regions(folder) == {}


def test_seal(folder):
    assert write(folder / ".ctl/create", "a 8k\n") == 0
    assert write(folder / ".ctl/seal", "a shrink\n") == 0
    with pytest.raises(PermissionError):
        os.truncate(folder / "a", 4096)
    os.truncate(folder / "a", 16384)
    fd = os.open(folder / "a", os.O_RDWR)
    try:
        result, text = write_and_read(folder / ".ctl/seal", "a write\n")
        assert result == errno.EBUSY and "open or mapped" in text
    finally:
        os.close(fd)
    # close(2) does not wait for the daemon to be told.
    wait_for(lambda: write(folder / ".ctl/seal", "a write,grow\n") == 0, "the seal")
    for flags in (os.O_RDWR, os.O_WRONLY):
        with pytest.raises(PermissionError):
            os.open(folder / "a", flags)
    assert (folder / "a").read_bytes() == bytes(16384)
    assert regions(folder)["a"]["seals"] == ["shrink", "grow", "write"]
    for line in ("a bogus\n", "a\n", "a shrink,\n", "a shrink grow\n"):
        assert write(folder / ".ctl/seal", line) == errno.EINVAL
    assert write(folder / ".ctl/seal", "missing grow\n") == errno.ENOENT
    assert as_user(NOBODY, write, folder / ".ctl/seal", "a grow\n") == errno.EPERM


def test_remove_is_seen_at_once(folder):
    for name in ("a", "b"):
        assert write(folder / ".ctl/create", f"{name} 8k\n") == 0
    os.link(folder / "a", folder / "c")
    with open(folder / "a", "r+b") as f:
        assert os.fstat(f.fileno()).st_nlink == 2
        os.stat(folder)
        os.utime(folder, ns=(1, 1))
        assert write(folder / ".ctl/remove", "a\n") == 0
        assert not os.path.exists(folder / "a")
        assert os.fstat(f.fileno()).st_nlink == 1
        assert os.stat(folder).st_mtime_ns > 10**18
        assert sorted(os.listdir(folder)) == ["b", "c"]
        assert write(folder / ".ctl/remove", "c\n") == 0
        assert os.fstat(f.fileno()).st_nlink == 0
        # Whoever has it open keeps it.
        f.write(b"still")
        f.flush()
        assert os.pread(f.fileno(), 5, 0) == b"still"
    assert write(folder / ".ctl/create", "a 1\n") == 0


def test_create_changes_the_directory(folder):
    os.stat(folder)
    os.utime(folder, ns=(1, 1))
    assert os.stat(folder).st_mtime_ns == 1
    assert write(folder / ".ctl/create", "a 1\n") == 0
    assert os.stat(folder).st_mtime_ns > 10**18


def test_remove_errors(folder):
    (folder / "sub").mkdir()
    for line, want in (
        ("missing\n", errno.ENOENT),
        ("sub\n", errno.EISDIR),
        ("sub/\n", errno.EINVAL),
        ("a b\n", errno.EINVAL),
        (".ctl\n", errno.EINVAL),
        ("\n", errno.EINVAL),
    ):
        assert write(folder / ".ctl/remove", line) == want
    assert os.listdir(folder) == ["sub"]


def test_remove_takes_what_unlink_takes(folder):
    (folder / "link").symlink_to("nowhere")
    os.mkfifo(folder / "fifo")
    assert write(folder / ".ctl/remove", "link\nfifo\n") == 0
    assert os.listdir(folder) == []


# Reading


def test_usage_and_error_text(folder):
    for file in ("create", "resize", "seal", "remove"):
        usage = (folder / ".ctl" / file).read_text()
        assert usage.startswith("usage: NAME") and usage.count("\n") == 1
    fd = os.open(folder / ".ctl/create", os.O_RDWR)
    try:
        assert read_all(fd).startswith("usage: ")
        os.write(fd, b"a 1\n")
        with pytest.raises(OSError):
            os.write(fd, b"a 1\n")
        assert read_all(fd) == "a: exists already\n"
        os.lseek(fd, 0, os.SEEK_SET)
        assert read_all(fd) == "a: exists already\n"
        with pytest.raises(OSError):
            os.write(fd, b"b one\n")
        assert read_all(fd).startswith("one: not a size")
    finally:
        os.close(fd)
    # Of this open file, and of no other.
    assert (folder / ".ctl/create").read_text().startswith("usage: ")


def test_texts_by_shell(folder):
    script = 'exec 3<>.ctl/create; echo "x 1" >&3; echo "x 1" >&3; cat <&3'
    result = run(["sh", "-c", script], cwd=folder)
    assert result.stdout == "x: exists already\n"


def test_no_space_names_the_limit(folder):
    result, text = write_and_read(folder / ".ctl/create", "a 7t\n")
    assert result == errno.ENOSPC
    assert re.fullmatch(r"a: no space: 7T wanted, [\d.]+[MG] of [\d.]+[MG] left \(size=\)\n", text), text


def test_regions(folder):
    assert table(folder) == []
    assert regions(folder) == {}
    (folder / "sub/deep").mkdir(parents=True)
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to("sub")
    assert write(folder / ".ctl/create", "a 8k mode=640 fixed\n") == 0
    assert write(folder / ".ctl/create", "sub/deep/b 5000\n") == 0
    with open(folder / "a", "r+b") as f:
        f.write(b"x")
        f.flush()
        rows = {row["NAME"]: row for row in table(folder)}
        listed = regions(folder)
    assert rows.keys() == listed.keys() == {"a", "sub/deep/b"}
    a, b = rows["a"], rows["sub/deep/b"]
    assert (a["SIZE"], a["ALLOCATED"], a["MODE"], a["REFS"]) == ("8192", "4096", "0640", "1")
    assert (a["UID"], a["GID"], a["FLAGS"], a["SEALS"]) == ("0", "0", "fixed", "shrink,grow")
    assert (b["SIZE"], b["ALLOCATED"], b["REFS"], b["FLAGS"]) == ("5000", "0", "0", "-")
    assert a["PID"] == str(os.getpid())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", a["CREATED"])
    assert (listed["a"]["size"], listed["a"]["allocated"], listed["a"]["mode"]) == (
        8192, 4096, "0640",
    )  # fmt: skip
    assert listed["a"]["inode"] == os.stat(folder / "a").st_ino
    assert listed["a"]["creator_pid"] == os.getpid()
    assert (listed["a"]["refs"], listed["a"]["writers"]) == (1, 1)
    assert listed["a"]["creator_command"] == open("/proc/self/comm").read().rstrip("\n")


def test_the_command_is_the_one_of_the_moment(folder):
    """A process may take another name, and its number may go to another process; names that fill
    all 15 bytes, and those with odd bytes, are not cut."""
    names = ["first", "fifteen-bytes-x", "a b)", "sh"]
    script = "".join(f"printf '{name}' > /proc/$$/comm; : > {i}.open; echo '{i}.ctl 1' > .ctl/create;"
                     for i, name in enumerate(names))  # fmt: skip
    subprocess.run(["sh", "-c", script], cwd=folder, check=True)
    # A process after the other, each another one's successor in the cache of names.
    for name in names:
        subprocess.run(
            ["sh", "-c", f"printf '{name}' > /proc/$$/comm; : > '{name}.own'"],
            cwd=folder, check=True,
        )  # fmt: skip
    listed = regions(folder)
    for i, name in enumerate(names):
        assert listed[f"{i}.open"]["creator_command"] == name
        assert listed[f"{i}.ctl"]["creator_command"] == name
        assert listed[f"{name}.own"]["creator_command"] == name


def test_a_listing_is_read_as_a_directory_is(folder):
    """What is there all along is listed once; what comes or goes meanwhile once, or not at all."""
    for i in range(200):
        assert write(folder / ".ctl/create", f"r{i} 1\n") == 0
    fd = os.open(folder / ".ctl/regions", os.O_RDONLY)
    try:
        text = os.read(fd, 100)
        for i in range(0, 200, 2):
            assert write(folder / ".ctl/remove", f"r{i}\n") == 0
        text += read_all(fd).encode()
        names = [line.split()[0] for line in text.splitlines()[1:]]
        assert len(names) == len(set(names))
        assert {f"r{i}".encode() for i in range(1, 200, 2)} <= set(names)
        os.lseek(fd, 0, os.SEEK_SET)
        assert len(read_all(fd).splitlines()) == 101
    finally:
        os.close(fd)


def test_columns_are_aligned(folder):
    for name, size in (("a", "1"), ("a-longer-name", "16m"), ("ä\xa0", "3k")):
        assert write(folder / ".ctl/create", f"{name} {size}\n") == 0
    lines = (folder / ".ctl/regions").read_text().splitlines()
    end = lines[0].index("SIZE") + 4
    assert [line[:end].split()[-1] for line in lines] == ["SIZE", "1", "16777216", "3072"]


def test_stats(mount):
    before = mount.stats()
    assert before["iomemfs_passthrough"] in (0, 1)
    assert before["iomemfs_regions"] == 0
    assert before["iomemfs_used_bytes"] == 0
    assert write(mount.ctl / "create", "a 5000\n") == 0
    assert write(mount.ctl / "create", "a 5000\n") == errno.EEXIST
    with open(mount / "a", "rb"):
        after = mount.stats()
        assert after["iomemfs_open_handles"] == 1
    assert after["iomemfs_regions"] == 1
    assert after["iomemfs_used_bytes"] == 8192
    assert after["iomemfs_inodes"] == before["iomemfs_inodes"] + 1
    assert after["iomemfs_commands_total"] == before["iomemfs_commands_total"] + 2
    assert after["iomemfs_command_errors_total"] == before["iomemfs_command_errors_total"] + 1
    assert after['iomemfs_requests_total{opcode="LOOKUP"}'] > 0
    pids = {int(v) for k, v in after.items() if k.startswith("iomemfs_daemon_pid")}
    assert len(pids) == 2 and pids < set(mount.pids())  # the third tells the kernel
    fs = os.statvfs(mount)
    assert after["iomemfs_size_bytes"] == fs.f_blocks * fs.f_frsize


def test_stats_are_well_formed(shared_mount):
    typed = set()
    for line in (shared_mount.ctl / "stats").read_text().splitlines():
        if line.startswith("#"):
            words = line.split(" ", 3)
            assert words[1] in ("HELP", "TYPE") and words[2].startswith("iomemfs_")
            if words[1] == "TYPE":
                assert words[3] in ("counter", "gauge", "histogram")
                assert (words[3] == "counter") == words[2].endswith("_total")
                assert words[2] not in typed
                typed.add(words[2])
                if words[3] == "histogram":
                    typed |= {f"{words[2]}_{part}" for part in ("bucket", "sum", "count")}
        else:
            match = re.fullmatch(r'(\w+)(\{\w+="[^"]*"(,\w+="[^"]*")*\})? \d+(\.\d+)?', line)
            assert match and match[1] in typed, line


def test_listings_cannot_be_written(folder):
    for file in ("regions", "regions.json", "stats", "events", "error"):
        with pytest.raises(PermissionError):
            as_user(NOBODY, os.open, folder / ".ctl" / file, os.O_WRONLY)
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            with pytest.raises(PermissionError) as caught:
                os.open(folder / ".ctl" / file, flags)
            assert caught.value.errno == errno.EACCES


def test_no_such_control_file(folder):
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_CREAT):
        with pytest.raises(FileNotFoundError):
            os.open(folder / ".ctl/creat", flags)


BAD_SIZE = (
    "not a size (a number with a unit of B, K, M, G, T, P or E, as in 4096B, 1.5G, 64MiB or 64MB)\n"
)


def test_last_error(folder):
    """`echo ... > create || cat error` tells whoever wrote, and nobody else, what was wrong."""

    def shell(line, user=None):
        command = 'echo "$1" > .ctl/create || cat .ctl/error'
        return run(["sh", "-c", command, "sh", line], cwd=folder, user=user).stdout

    assert shell("b 1x") == f"1x: {BAD_SIZE}"
    assert shell("c 1y", NOBODY) == f"1y: {BAD_SIZE}"
    # It is the last one of this user in this directory.
    assert (folder / ".ctl/error").read_text() == f"1x: {BAD_SIZE}"
    assert as_user(DAEMON, (folder / ".ctl/error").read_text) == ""
    (folder / "sub").mkdir()
    assert (folder / "sub/.ctl/error").read_text() == ""
    # A command that succeeds leaves it as it is.
    assert write(folder / ".ctl/create", "fine 1\n") == 0
    assert (folder / ".ctl/error").read_text() == f"1x: {BAD_SIZE}"


# Scope


def test_scope_is_the_directory(folder):
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    assert write(folder / "one/.ctl/create", "a 1\n") == 0
    assert write(folder / ".ctl/create", "two/b 1\n") == 0
    assert write(folder / ".ctl/create", "c 1\n") == 0
    assert regions(folder).keys() == {"one/a", "two/b", "c"}
    assert regions(folder / "one").keys() == {"a"}
    assert regions(folder / "two").keys() == {"b"}
    assert write(folder / "one/.ctl/remove", "../c\n") == errno.EINVAL
    assert write(folder / "one/.ctl/remove", "b\n") == errno.ENOENT
    os.rename(folder / "one", folder / "two/three")
    assert regions(folder).keys() == {"two/three/a", "two/b", "c"}


def test_handles_follow_a_renamed_directory(folder):
    (folder / "one").mkdir()
    fd = os.open(folder / "one/.ctl/create", os.O_WRONLY)
    try:
        os.rename(folder / "one", folder / "two")
        os.write(fd, b"a 1\n")
        assert os.listdir(folder / "two") == ["a"]
        os.unlink(folder / "two/a")
        os.rmdir(folder / "two")
        with pytest.raises(FileNotFoundError):
            os.write(fd, b"a 1\n")
    finally:
        os.close(fd)


def test_a_bind_mount_has_its_own(folder, tmp_path):
    (folder / "inner").mkdir()
    target = tmp_path / "bound"
    target.mkdir()
    assert write(folder / ".ctl/create", "secret 1\n") == 0
    run(["mount", "--bind", folder / "inner", target], check=True)
    try:
        assert write(target / ".ctl/create", "a 4k\n") == 0
        assert regions(target).keys() == {"a"}
        assert write(target / ".ctl/remove", "../secret\n") == errno.EINVAL
        assert not os.path.exists(target / ".ctl/admin")
        assert os.listdir(target) == ["a"]
        assert os.stat(folder / "inner/a").st_size == 4096
    finally:
        run(["umount", target], check=True)


# Hiding


def test_hidden_from_programs(folder, tmp_path):
    assert write(folder / ".ctl/create", "a 4k\n") == 0
    (folder / "sub").mkdir()
    assert write(folder / "sub/.ctl/create", "b 4k\n") == 0
    assert sorted(os.listdir(folder)) == ["a", "sub"]
    found = run(["find", folder], check=True).stdout.split()
    assert sorted(found) == [str(folder), f"{folder}/a", f"{folder}/sub", f"{folder}/sub/b"]
    run(["cp", "-a", folder, tmp_path / "copy"], check=True)
    assert not os.path.exists(tmp_path / "copy/.ctl")
    listed = run(["tar", "-C", folder, "-cf", tmp_path / "x.tar", "."], check=True)
    listed = run(["tar", "-tf", tmp_path / "x.tar"], check=True).stdout
    assert ".ctl" not in listed
    du = run(["du", "-a", folder], check=True).stdout
    assert ".ctl" not in du
    run(["rm", "-rf", folder / "sub"], check=True)
    assert os.listdir(folder) == ["a"]
    run(["cp", "-a", tmp_path / "copy/sub", folder], check=True)
    assert regions(folder).keys() == {"a", "sub/b"}


def test_ctl_is_a_directory_that_shows_its_files(folder):
    want = (
        "create default error events limit limits.json regions regions.json remove resize seal stats"
    ).split()
    listed = sorted(os.listdir(folder / ".ctl"))
    assert [name for name in listed if name != "socket"] == want
    assert stat.S_ISDIR(os.stat(folder / ".ctl").st_mode)
    for name in want:
        assert stat.S_ISREG(os.lstat(folder / ".ctl" / name).st_mode)
    inodes = {os.lstat(folder / ".ctl" / name).st_ino for name in listed}
    assert len(inodes | {os.stat(folder / ".ctl").st_ino, os.stat(folder).st_ino}) == (
        len(listed) + 2
    )
    assert os.stat(folder / ".ctl/..").st_ino == os.stat(folder).st_ino


def test_ctl_cannot_be_changed(folder):
    (folder / "d").mkdir()
    (folder / "f").touch()
    attempts = [
        lambda: os.mkdir(folder / ".ctl"),
        lambda: os.rmdir(folder / ".ctl"),
        lambda: os.unlink(folder / ".ctl"),
        lambda: os.symlink("x", folder / ".ctl"),
        lambda: os.rename(folder / ".ctl", folder / "x"),
        lambda: os.rename(folder / "d", folder / ".ctl"),
        lambda: os.rename(folder / "f", folder / ".ctl/create"),
        lambda: os.link(folder / "f", folder / ".ctl/f"),
        lambda: os.link(folder / ".ctl/create", folder / "x"),
        lambda: os.unlink(folder / ".ctl/create"),
        lambda: os.mkdir(folder / ".ctl/x"),
        lambda: open(folder / ".ctl/x", "w"),
        lambda: os.rename(folder / ".ctl/create", folder / "x"),
        lambda: os.chmod(folder / ".ctl", 0o777),
        lambda: os.chmod(folder / ".ctl/create", 0o777),
        lambda: os.chown(folder / ".ctl/create", 1, 1),
    ]
    for number, attempt in enumerate(attempts):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno in (
            errno.EPERM, errno.EACCES, errno.EEXIST, errno.EBUSY, errno.EXDEV, errno.EISDIR,
            errno.EOPNOTSUPP, errno.ENOTEMPTY, errno.ENOENT,
        ), (number, caught.value)  # fmt: skip
    assert sorted(os.listdir(folder)) == ["d", "f"]
    assert write(folder / ".ctl/create", "a 1\n") == 0


# Rights


def test_rights_to_create(folder):
    (folder / "closed").mkdir(0o700)
    (folder / "readonly").mkdir(0o755)
    (folder / "group").mkdir()
    os.chown(folder / "group", 0, 3000)
    os.chmod(folder / "group", 0o070)
    for name in ("closed", "readonly", "group"):
        assert as_user(NOBODY, write, folder / ".ctl/create", f"{name}/a 1\n") == errno.EACCES
    for groups in ([3000], [1, 2, 3000, 4]):
        assert as_user(NOBODY, write, folder / ".ctl/create", "group/a 1\n", groups=groups) == 0
        assert write(folder / ".ctl/remove", "group/a\n") == 0
    assert as_user(NOBODY, write, folder / ".ctl/create", "mine 1\n", umask=0o077) == 0
    st = os.stat(folder / "mine")
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (*NOBODY, 0o600)
    # Root's mask does not hold for others.
    assert as_user(NOBODY, write, folder / ".ctl/create", "ours 1\n", umask=0) == 0
    assert stat.S_IMODE(os.stat(folder / "ours").st_mode) == 0o666
    # A name that is taken is told before the missing right to add one.
    (folder / "readonly/taken").touch()
    assert as_user(NOBODY, write, folder / ".ctl/create", "readonly/taken 1\n") == errno.EEXIST


def test_rights_to_resize(folder):
    for mode, user, groups, want in (
        (0o644, NOBODY, [], errno.EACCES),
        (0o646, NOBODY, [], 0),
        (0o664, NOBODY, [3000], 0),
        (0o606, NOBODY, [3000], errno.EACCES),
        (0o466, DAEMON, [], errno.EACCES),
        (0o200, DAEMON, [], 0),
    ):
        name = f"r{mode:o}{len(groups)}"
        assert write(folder / ".ctl/create", f"{name} 4k mode={mode:o}\n") == 0
        os.chown(folder / name, DAEMON[0], 3000)
        got = as_user(user, write, folder / ".ctl/resize", f"{name} 8k\n", groups=groups)
        assert got == want, name
        assert os.stat(folder / name).st_size == (4096 if want else 8192)


def test_rights_to_remove(folder):
    os.chmod(folder, 0o1777)
    assert as_user(DAEMON, write, folder / ".ctl/create", "theirs 1\n", umask=0) == 0
    assert as_user(NOBODY, write, folder / ".ctl/remove", "theirs\n") == errno.EPERM
    assert as_user(DAEMON, write, folder / ".ctl/remove", "theirs\n") == 0
    os.chmod(folder, 0o777)
    assert as_user(DAEMON, write, folder / ".ctl/create", "theirs 1\n") == 0
    assert as_user(NOBODY, write, folder / ".ctl/remove", "theirs\n") == 0
    assert write(folder / ".ctl/create", "mine 1 mode=666\n") == 0
    os.chmod(folder, 0o755)
    assert as_user(NOBODY, write, folder / ".ctl/remove", "mine\n") == errno.EACCES
    assert os.listdir(folder) == ["mine"]


def drop_power():
    """Takes CAP_DAC_OVERRIDE and what else opens files of others from this process, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for i in range(3):
        data[i] &= ~0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    assert libc.capset(header, data) == 0


def without_power(function, *arguments, in_namespace=False):
    """As root that is a user like others; or that only rules a user namespace of its own."""

    def call():
        drop_power()
        if in_namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(0x10000000) == 0  # CLONE_NEWUSER: all capabilities, in there
            with open("/proc/self/uid_map", "w", encoding="ascii") as ids:
                ids.write("0 0 1")
        return function(*arguments)

    return as_user((0, 0), call)


@pytest.mark.parametrize("in_namespace", [False, True])
def test_rights_of_root_without_its_power(folder, in_namespace):
    """As open(2), truncate(2) and unlink(2): uid 0 alone opens nothing."""
    (folder / "theirs").mkdir()
    assert write(folder / ".ctl/create", "theirs/a 4k mode=600\n") == 0
    for name in ("theirs/a", "theirs"):
        os.chown(folder / name, *NOBODY)

    def attempts():
        def outcome(call, *arguments):
            try:
                os.close(call(*arguments))
            except OSError as error:
                return error.errno
            return 0

        by_hand = [
            outcome(os.open, folder / "theirs/new", os.O_WRONLY | os.O_CREAT),
            outcome(os.open, folder / "theirs/a", os.O_WRONLY),
            outcome(lambda: os.unlink(folder / "theirs/a") or os.open("/", os.O_RDONLY)),
        ]
        by_command = [
            write(folder / ".ctl" / file, line)
            for file, line in (
                ("create", "theirs/new 4k\n"), ("resize", "theirs/a 8k\n"),
                ("remove", "theirs/a\n"),
            )
        ]  # fmt: skip
        return by_hand, by_command, write(folder / ".ctl/seal", "theirs/a grow\n")

    by_hand, by_command, seal = without_power(attempts, in_namespace=in_namespace)
    assert by_hand == by_command == [errno.EACCES] * 3
    assert seal == errno.EPERM
    # It takes set-user-id from what it resizes, like any other stranger.
    assert write(folder / ".ctl/create", "set 4k mode=766\n") == 0
    os.chown(folder / "set", *NOBODY)
    os.chmod(folder / "set", 0o4766)
    assert write(folder / ".ctl/resize", "set 8k\n") == 0
    assert os.stat(folder / "set").st_mode & 0o7777 == 0o4766
    resized = (write, folder / ".ctl/resize", "set 4k\n")
    assert without_power(*resized, in_namespace=in_namespace) == 0
    assert os.stat(folder / "set").st_mode & 0o7777 == 0o766
    # What is root's is still root's, populated or not, and what is for all is for all.
    for line in ("mine 4k\n", "ours 4k populate\n"):
        created = (write, folder / ".ctl/create", line)
        assert without_power(*created, in_namespace=in_namespace) == 0
    assert write(folder / ".ctl/seal", "theirs/a grow\n") == 0
    assert write(folder / ".ctl/remove", "theirs/a\n") == 0


def test_rights_to_see(folder):
    for name, mode in (("open", 0o755), ("blind", 0o711), ("list", 0o744), ("closed", 0o700)):
        (folder / name).mkdir()
        assert write(folder / name / ".ctl/create", "a 1 mode=600\n") == 0
        os.chmod(folder / name, mode)
    assert len(regions(folder)) == 4
    assert as_user(NOBODY, regions, folder).keys() == {"open/a"}
    with pytest.raises(PermissionError):
        as_user(NOBODY, os.listdir, folder / "closed/.ctl")


def test_rights_to_see_events(folder):
    for name, mode, owner in (("open", 0o755, 0), ("closed", 0o700, 0), ("mine", 0o700, NOBODY[0])):
        (folder / name).mkdir()
        os.chown(folder / name, owner, 0)
        os.chmod(folder / name, mode)
    (folder / "closed/inner").mkdir()
    (folder / "mine/inner").mkdir()

    def watch():
        fds = [
            os.open(path / ".ctl/events", os.O_RDONLY | os.O_NONBLOCK)
            for path in (folder, folder / "mine")
        ]
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        try:
            return [os.read(fd, 65536).decode() for fd in fds]
        finally:
            for fd in fds:
                os.close(fd)

    def make():
        os.read(ready[0], 1)
        for name in ("open", "closed", "closed/inner", "mine", "mine/inner"):
            assert write(folder / ".ctl/create", f"{name}/a 1\n") == 0
        os.write(go[1], b"x")

    ready, go = os.pipe(), os.pipe()
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            made = pool.submit(make)
            try:
                texts = as_user(NOBODY, watch)
            finally:
                os.write(ready[1], b"x")
            made.result()
    finally:
        for fd in ready + go:
            os.close(fd)
    seen = [[line.split()[2] for line in text.splitlines()] for text in texts]
    assert seen == [["open/a", "mine/a", "mine/inner/a"], ["a", "inner/a"]]


@pytest.mark.environment(IOMEMFS_TESTING="0")
def test_rights_of_admin(mount):
    with pytest.raises(PermissionError):
        as_user(NOBODY, os.open, mount.ctl / "admin", os.O_WRONLY)
    with pytest.raises(PermissionError):
        as_user(NOBODY, os.open, mount.ctl / "admin", os.O_RDONLY)
    (mount / "sub").mkdir()
    assert "admin" in os.listdir(mount.ctl)
    assert "admin" not in os.listdir(mount / "sub/.ctl")
    # Only for tests, and this daemon is not one for these.
    assert write(mount.ctl / "admin", "crash 1\n") == errno.EPERM


def test_admin_of_an_ordinary_user(mounts):
    mount = mounts(user=NOBODY, passthrough="off")

    def trial():
        assert write(mount.ctl / "create", "a 4k\n") == 0
        assert write(mount.ctl / "admin", "remount size=1m\n") == 0
        assert write(mount.ctl / "create", "b 1m\n") == errno.ENOSPC
        assert write(mount.ctl / "create", "b 1020k\n") == 0
        return sorted(os.listdir(mount))

    assert as_user(NOBODY, trial) == ["a", "b"]


def test_admin_remount(mount):
    assert write(mount.ctl / "create", "a 1m\n") == 0
    assert write(mount.ctl / "admin", "remount size=4m nr_inodes=10\n") == 0
    fs = os.statvfs(mount)
    assert (fs.f_blocks * fs.f_frsize, fs.f_files) == (4 * MIB, 10)
    for line in (
        "remount size=512k\n", "remount nr_inodes=1\n", "remount\n", "remount size=\n",
        "remount size=1x\n", "remount mode=755\n", "bogus\n", "remount size=8m nr_inodes=1\n",
    ):  # fmt: skip
        result, text = write_and_read(mount.ctl / "admin", line)
        assert result == errno.EINVAL and text.count("\n") == 1, line
    fs = os.statvfs(mount)
    assert (fs.f_blocks * fs.f_frsize, fs.f_files) == (4 * MIB, 10)


# The manual


def manual():
    return (ROOT / "iomemfs-ctl.7").read_text()


def words_of(pattern):
    """All words after an mdoc macro in the manual's lines that match."""
    lines = re.findall(pattern, manual(), re.M)
    return [word for line in lines for word in re.findall(r"[\w.]+", line)]


def test_manual_lint():
    result = run(["mandoc", "-T", "lint", "-W", "all", ROOT / "iomemfs-ctl.7"])
    complaints = [
        line
        for line in result.stdout.splitlines()
        if "outdated mandoc.db" not in line and "referenced manual not found" not in line
    ]
    assert complaints == []


def test_manual_has_every_file(mount):
    described = set(words_of(r"^\.It Pa (\S+)"))
    assert described >= set(os.listdir(mount.ctl))
    assert described - set(os.listdir(mount.ctl)) <= {"socket"}


def test_manual_has_every_option(mount):
    usage = (mount.ctl / "create").read_text()
    options = re.findall(r"\[(\w+)", usage)
    section = manual().split(".It Pa create", 1)[1].split(".It Pa resize", 1)[0]
    assert re.findall(r"^\.It Cm (\w+)", section, re.M) == options
    seals = (mount.ctl / "seal").read_text().split()[-1].split(",")
    assert words_of(r"^\.It Pa seal Ar name Cm (.*)$") == seals
    admin = (mount.ctl / "admin").read_text()
    for word in re.findall(r"[a-z_]{5,}=?", admin.removeprefix("usage: ")):
        assert f"Cm {word}" in manual()


def test_manual_has_every_column(mount):
    assert write(mount.ctl / "create", "a 1\n") == 0
    head = (mount.ctl / "regions").read_text().splitlines()[0].split()
    assert words_of(r"^\.It ([A-Z][A-Z ,]+)$") == head
    assert set(words_of(r"^\.Va (.*)$")) >= regions(mount)["a"].keys()
