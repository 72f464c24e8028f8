# SPDX-License-Identifier: MIT
"""What people are told when something is not as they thought: what is wrong, and what to do."""

import errno
import json
import mmap
import os
import re
import shutil
import subprocess
import sys

import pytest

from support import DAEMON, NOBODY, ROOT, as_user, build_dir, is_mounted, program, run, wait_for

IN_THE_WAY = 7


def iomem(*arguments, **keywords):
    return run([build_dir() / "src" / "cli" / "iomem", *arguments], **keywords)


# Mounting


def test_already_mounted_for_all(mounts):
    """Root and others, also where the mount lets nobody but its user look."""
    mount = mounts()
    for user in (None, NOBODY):
        result = run([program(), mount.path], user=user)
        assert (result.returncode, result.stderr) == (32, f"iomemfs: {mount}: already mounted\n")
    private = mounts(user=NOBODY)
    for user in (NOBODY, DAEMON, None):
        result = run([program(), private.path], user=user)
        assert (result.returncode, result.stderr) == (32, f"iomemfs: {private}: already mounted\n")


def test_no_rights(target):
    """An ordinary user, in somebody else's directory."""
    result = run([program(), target], user=NOBODY)
    assert result.returncode == 32
    assert f"no write access to mountpoint {target}" in result.stderr
    assert not is_mounted(target)


def test_no_fusermount(home):
    """The helper of ordinary users comes with another package."""
    target = home / "own"
    target.mkdir()
    os.chown(target, *NOBODY)
    # In a mount namespace of its own, where the helper is no program.
    helper = os.path.realpath(shutil.which("fusermount3"))
    script = 'mount --bind /dev/null "$1" && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$2" "$3"'
    result = run(["unshare", "-m", "sh", "-c", script, "sh", helper, program(), target])
    assert result.returncode == 32, result.stderr
    assert "iomemfs: fusermount3 is missing: install the package fuse3\n" in result.stderr
    assert not is_mounted(target)


@pytest.mark.parametrize(
    "argv, hint",
    [
        (["--size", "4g"], "-o size=…"),
        (["--size=4g"], "-o size=4g"),
        (["-size=4g"], "-o size=4g"),
        (["--nr_inodes=7"], "-o nr_inodes=7"),
        (["--huge", "always"], "-o huge=…"),
    ],
)
def test_mount_options_need_o(target, argv, hint):
    result = run([program(), *argv, target])
    assert result.returncode == 1
    assert result.stderr == f"iomemfs: {argv[0]}: unknown option; write it as {hint}\n"


def test_no_hint_for_others(target):
    result = run([program(), "--sizes=4g", target])
    assert result.stderr == "iomemfs: --sizes=4g: unknown option; `iomemfs --help` lists them\n"


def test_more_than_the_memory(target):
    """It is allowed, as there may be swap; but hardly meant."""
    helper = target.parent / "mount.iomemfs"
    helper.symlink_to(program())
    for size, said in (
        ("101%", "iomemfs: warning: size=101% is more than the memory of this machine\n"),
        ("100%", ""),
    ):
        result = run([helper, "mem", target, "-f", "-o", f"size={size}"])  # -f: do not mount
        assert (result.returncode, result.stderr) == (0, said)


@pytest.mark.parametrize("value", ["64X", "64mb", "1.5", "", "G"])
def test_sizes_name_the_units(mount, value):
    """By all three doors, the same."""
    how = "a number with a unit of B, K, M, G, T, P or E, as in 4096B, 1.5G, 64MiB or 64MB"
    result = run([program(), mount.path, "-o", f"size={value}"])
    assert result.stderr == f"iomemfs: size={value}: not a size (50%, or {how})\n"
    result = iomem("-m", mount.path, "create", "a", value)
    assert result.stderr.splitlines()[0] == f"iomem: {value}: not a size ({how})"
    if value:
        with pytest.raises(OSError):
            mount.command("create", f"a {value}")
        assert (mount.ctl / "error").read_text() == f"{value}: not a size ({how})\n"


# Unmounting


@pytest.mark.may_leave_mount
@pytest.mark.parametrize("user", [None, NOBODY])
def test_busy(mounts, user):
    """iomem umount says how to find out who is in the way, and who it is."""
    mount = mounts("allow_other" if user is None else "", user=user)
    as_user(user or (0, 0), (mount / "a").touch)
    holder = subprocess.Popen(
        ["tail", "-f", mount / "a"], **({} if user is None else {"user": user[0], "group": user[1]})
    )
    with holder:
        wait_for(lambda: "tail" in iomem("-m", mount.path, "who", user=user).stdout, "its use")
        result = iomem("umount", mount.path, user=user)
        assert result.returncode == IN_THE_WAY
        lines = result.stderr.splitlines()
        assert "busy" in lines[0], lines
        assert lines[1] == f"iomem: 'iomem -m {mount} who' shows who uses it:"
        assert re.match(rf" *{holder.pid} .* tail ", lines[3]), lines
        assert mount.is_mounted()
        holder.kill()
    wait_for(lambda: iomem("umount", mount.path, user=user).returncode == 0, "the unmount")
    assert not mount.is_mounted()
    mount.wait_end()


@pytest.mark.may_leave_mount
def test_busy_and_lazy(mounts):
    mount = mounts()
    mount.create("a", 4096)
    with open(mount / "a", "rb"):
        assert iomem("-m", mount.path, "umount", "--lazy").returncode == 0
        assert not mount.is_mounted()
    mount.wait_end()


def test_nothing_to_unmount(home):
    result = iomem("umount", home)
    assert (result.returncode, result.stderr) == (3, f"iomem: {home}: no iomemfs is mounted there\n")


def test_who_uses_the_mount(mount):
    """Open files, mappings, working directories: whatever keeps it busy."""
    (mount / "d").mkdir()
    mount.create("d/a", 4096)
    mount.create("b", 4096)
    with subprocess.Popen(["sleep", "100"], cwd=mount / "d") as sleeper, open(mount / "b", "rb") as b:
        view = mmap.mmap(b.fileno(), 4096, prot=mmap.PROT_READ)
        os.close(os.open(mount / "d/a", os.O_RDWR))
        found = json.loads(iomem("-m", mount.path, "who", "-J").stdout)["references"]
        uses = [(r["pid"], r["use"], r.get("fd"), r["access"], r["name"]) for r in found]
        assert (sleeper.pid, "cwd", None, [], "d") in uses
        assert (os.getpid(), "descriptor", b.fileno(), ["read"], "b") in uses
        assert (os.getpid(), "mem", None, ["read"], "b") in uses
        assert {r["pid"] for r in found} == {sleeper.pid, os.getpid()}
        view.close()
        sleeper.kill()


# Writing


def test_output_that_cannot_be_written(mount):
    mount.create("a", 4096)
    for arguments in (["ls"], ["ls", "-J"], ["stat", "a"], ["--help"], ["--version"], ["help", "ls"]):
        with open("/dev/full", "w", encoding="ascii") as full:
            result = iomem("-m", mount.path, *arguments, stdout=full)
        assert result.returncode == 1, arguments
        assert result.stderr.startswith("iomem: write"), result.stderr
        assert result.stderr.count("\n") == 1


# Space


@pytest.mark.options("size=8m")
def test_no_space_in_units(mount):
    mount.create("a", 6 << 20)
    for name, size, wanted in (("b", "4M", "4M"), ("b", "3500K", "3.4M"), ("b", "1T", "1T")):
        result = iomem("-m", mount.path, "create", name, size)
        assert result.returncode == 5
        assert result.stderr == f"iomem: {name}: no space: {wanted} wanted, 2M of 8M left (size=)\n"
    result = iomem("-m", mount.path, "resize", "a", "12M")
    assert result.stderr == "iomem: a: no space: 6M wanted, 2M of 8M left (size=)\n"


# Words


def test_one_spelling_of_permission_denied(mount):
    """The daemon's, the library's and the command's."""
    mount.create("a", 4096, "mode=600")
    socket = os.readlink(mount.ctl / "socket")
    said = set()
    for where in (mount.path, socket):
        for arguments in (["exec", "a", "true"], ["resize", "a", "8k"]):
            result = iomem("-m", where, *arguments, user=NOBODY)
            assert result.returncode == 4
            said.add(result.stderr)
    assert said == {"iomem: a: permission denied\n"}
    for directory in ("src",):
        for path in (ROOT / directory).rglob("*.[ch]"):
            assert "Permission denied" not in path.read_text(), path


def test_the_first_example_says_how_to_learn_why():
    manual = (ROOT / "iomemfs.8").read_text()
    example = manual.split(".Sh EXAMPLES")[1].split(".Ed")[0]
    assert "|| cat /mnt/mem/.ctl/error" in example
    first = (ROOT / "README.md").read_text().split("mount -t fuse iomemfs /mnt/mem")[1]
    assert "cat /mnt/mem/.ctl/error" in first.split("ls -l /mnt/mem")[0]


# Shrinking


@pytest.fixture(params=["mount", "socket"])
def where(request, mount):
    return mount.path if request.param == "mount" else os.readlink(mount.ctl / "socket")


HOLDER = """
import mmap, os, sys
fd = int(os.environ.get("IOMEM_FD") or os.open(sys.argv[1], os.O_RDWR))
view = mmap.mmap(fd, 0)
os.close(fd)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("via", ["mount", "socket"])
def test_shrinking_what_is_mapped(mount, where, via):
    """Refused, with who has it; unless it is meant."""
    mount.create("a", 65536)
    argv = [sys.executable, "-c", HOLDER, str(mount / "a")]
    if via == "socket":
        argv = [str(build_dir() / "src" / "cli" / "iomem"), "-m", str(mount), "exec", "a", *argv]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"ready\n"
        result = iomem("-m", where, "resize", "a", "4K")
        assert result.returncode == IN_THE_WAY
        lines = result.stderr.splitlines()
        assert lines[0] == "iomem: a: somebody has it open or mapped"
        assert "--force" in lines[1]
        assert re.match(rf" *{holder.pid} root +python", lines[3]), lines
        assert os.stat(mount / "a").st_size == 65536
        # A stranger learns that it is used, not by whom.
        os.chmod(mount / "a", 0o666)
        result = iomem("-m", where, "resize", "a", "4K", user=NOBODY)
        assert result.returncode == IN_THE_WAY and str(holder.pid) not in result.stderr
        # Growing takes nothing from anybody.
        assert iomem("-m", where, "resize", "a", "128K").returncode == 0
        assert iomem("-m", where, "resize", "--force", "a", "4K").returncode == 0
        assert os.stat(mount / "a").st_size == 4096
        holder.stdin.close()
    # The kernel tells of the last close when it gets to it.
    wait_for(lambda: iomem("-m", where, "resize", "a", "1K").returncode == 0, "the last close")


def test_shrinking_by_a_command(mount):
    """`resize NAME SIZE` does what it is told, `unused` asks first."""
    mount.create("a", 65536)
    with open(mount / "a", "r+b"):
        with pytest.raises(OSError) as caught:
            mount.command("resize", "a 4k unused")
        assert caught.value.errno == errno.EBUSY
        assert (mount.ctl / "error").read_text() == "a: somebody has it open or mapped\n"
        mount.command("resize", "a 128k unused")
        mount.command("resize", "a 4k")
    for bad in ("a 4k used", "a 4k unused unused"):
        with pytest.raises(OSError) as caught:
            mount.command("resize", bad)
        assert caught.value.errno == errno.EINVAL
