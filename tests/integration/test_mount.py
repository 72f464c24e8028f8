# SPDX-License-Identifier: MIT
"""Mounting in every form, refusing what is wrong, and leaving nothing behind."""

import contextlib
import errno
import os
import shutil
import signal
import stat
import subprocess
import uuid

import pytest
import socket_client
from support import (
    DAEMON,
    NOBODY,
    LIMIT,
    as_user,
    is_mounted,
    kernel_is_from,
    mount_line,
    processes_with_environment,
    program,
    run,
    wait_for,
    without_kernel_warnings,
)

MIB = 1024 * 1024


@contextlib.contextmanager
def mounted_by(argv, path, *, user=None, stderr=""):
    """Runs a command that mounts in the background; unmounts, and checks that the daemon ends."""
    mark = str(uuid.uuid4())
    # run() reads both pipes to their end: a daemon that kept one open would hang it.
    result = run(argv, user=user, env=dict(os.environ, IOMEMFS_TEST_MARK=mark))
    word = f"IOMEMFS_TEST_MARK={mark}"
    try:
        assert (result.returncode, result.stdout) == (0, ""), result.stderr
        if stderr is not None:
            assert without_kernel_warnings(result.stderr) == stderr
        assert is_mounted(path)
        yield lambda: processes_with_environment(word)
    finally:
        while is_mounted(path):
            command = ["umount", path] if user is None else ["fusermount3", "-u", path]
            if run(command, user=user).returncode:
                run(["umount", "-l", path], check=True)
        try:
            wait_for(lambda: not processes_with_environment(word), "the daemon's end")
        finally:
            for pid in processes_with_environment(word):
                os.kill(pid, signal.SIGKILL)


def shown(path, column):
    return run(["findmnt", "-n", "-o", column, "--mountpoint", path], check=True).stdout.strip()


def use(path):
    """Makes a region, fills it and reads it back."""
    (path / ".ctl" / "create").write_text("region 1M\n")
    assert (path / "region").stat().st_size == MIB
    (path / "file").write_bytes(b"content")
    assert (path / "file").read_bytes() == b"content"


def refused(argv, status, *words, **keywords):
    """Runs a command that must fail, with one line that has these words in it."""
    result = run(argv, **keywords)
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr
    return result.stderr


# Forms


FORMS = {
    "fuse": (["mount", "-t", "fuse", "iomemfs", "DIR"], "iomemfs"),
    "fuse-options": (["mount", "-t", "fuse", "iomemfs", "DIR", "-o", "size=1g"], "iomemfs"),
    "fuse.iomemfs": (["mount", "-t", "fuse.iomemfs", "name", "DIR"], "name"),
    "fuse.iomemfs-options": (
        ["mount", "-t", "fuse.iomemfs", "name", "DIR", "-o", "size=1g,relatime,nodiratime"],
        "name",
    ),
    "iomemfs": (["mount", "-t", "iomemfs", "name", "DIR"], "name"),
    "iomemfs-options": (
        ["mount", "-t", "iomemfs", "-o", "noatime,size=1g,lazytime,user=joe", "name", "DIR"],
        "name",
    ),
    "iomemfs-verbose": (["mount", "-v", "-n", "-s", "-t", "iomemfs", "name", "DIR"], "name"),
}


@pytest.mark.installed
@pytest.mark.parametrize("form", FORMS)
def test_mount_forms(target, form):
    argv, source = FORMS[form]
    argv = [target if word == "DIR" else word for word in argv]
    stderr = None if "-v" in argv else ""
    if "-v" in argv:
        argv.remove("-v")
    with mounted_by(argv, target, stderr=stderr):
        assert shown(target, "SOURCE") == source
        assert shown(target, "FSTYPE") == "fuse.iomemfs"
        if "size=1g" in ",".join(map(str, argv)):
            assert os.statvfs(target).f_blocks * os.statvfs(target).f_frsize == 1024 * MIB
        use(target)


@pytest.mark.installed
@pytest.mark.parametrize("fstype", ["fuse.iomemfs", "iomemfs"])
@pytest.mark.parametrize("by", ["directory", "all"])
def test_fstab(home, target, fstype, by):
    fstab = home / "fstab"
    fstab.write_text(
        f"mem {target} {fstype} size=64m,mode=0750,uid=nobody,gid=1,x-test.word,nofail 0 0\n"
    )
    what = ["-a"] if by == "all" else [target]
    with mounted_by(["mount", "-T", fstab, *what], target):
        assert shown(target, "SOURCE") == "mem"
        st = target.stat()
        assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (NOBODY[0], 1, 0o750)
        assert os.statvfs(target).f_blocks * os.statvfs(target).f_frsize == 64 * MIB
        use(target)


@pytest.mark.parametrize("words", [[], ["-o", "size=1g"], ["-o", "ro", "-o", "size=1g,rw"]])
@pytest.mark.parametrize("source", [None, "name"])
def test_by_hand(target, source, words):
    argv = [program(), *([source] if source else []), target, *words]
    with mounted_by(argv, target):
        assert shown(target, "SOURCE") == (source or "iomemfs")
        use(target)


def test_relative_path_and_link(home, target):
    (home / "link").symlink_to("mnt")
    mark = str(uuid.uuid4())
    environment = dict(os.environ, IOMEMFS_TEST_MARK=mark)
    assert run([program(), "./link"], cwd=home, env=environment).returncode == 0
    try:
        assert is_mounted(target)
        use(target)
    finally:
        run(["umount", target], check=True)
    wait_for(lambda: not processes_with_environment(f"IOMEMFS_TEST_MARK={mark}"), "the end")


@pytest.mark.parametrize("source", ["a,b", "a\\b", "a b", "size=1x", "ä", "a=b,c\\,d"])
def test_source_names(target, source):
    with mounted_by([program(), source, target], target):
        assert shown(target, "SOURCE") == source


def test_helper_form(home, target):
    helper = home / "mount.iomemfs"
    helper.symlink_to(program())
    fake = run([helper, "name", target, "-f", "-o", "rw,size=1g"])
    assert (fake.returncode, fake.stderr) == (0, "")
    assert not is_mounted(target)
    with mounted_by([helper, "name", target, "-s", "-n", "-v", "-o", "rw,dev,suid"], target):
        assert shown(target, "SOURCE") == "name"
        use(target)
    refused([helper, target], 1, "usage")


def test_returns_when_it_answers(target):
    """No moment between the command's return and the first answer."""
    device = target.stat().st_dev
    for _ in range(10):
        with mounted_by([program(), target], target):
            assert target.stat().st_dev != device
            assert os.listdir(target) == []


def test_daemon_is_detached(target):
    with mounted_by([program(), target], target) as pids:
        for pid in pids():
            for fd in range(3):
                assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
            assert os.readlink(f"/proc/{pid}/cwd") == "/"
            assert os.getsid(pid) != os.getsid(0)


# Options


def test_defaults(mounts):
    mount = mounts()
    st = os.stat(mount)
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (0, 0, 0o1777)
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    vfs = os.statvfs(mount)
    assert abs(vfs.f_blocks * vfs.f_frsize - ram / 2) < ram / 100
    fields = " ".join(mount_line(mount))
    assert "allow_other" in fields and "default_permissions" in fields
    assert "nosuid" not in fields and "nodev" not in fields


@pytest.mark.parametrize(
    "text, expected",
    [
        ("4096", 4096),
        ("5000", 8192),
        ("64k", 64 * 1024),
        ("64M", 64 * MIB),
        ("64MiB", 64 * MIB),
        ("64MB", (64000000 + 4095) // 4096 * 4096),
        ("1.5g", 1536 * MIB),
        ("1g", 1024 * MIB),
        ("2T", 2 * 1024 * 1024 * MIB),
        ("0x100000", MIB),
        ("10%", None),
        ("0", 0),
    ],
)
def test_size(mounts, text, expected):
    mount = mounts(f"size={text}")
    limit = mount.stats()["iomemfs_size_bytes"]
    if expected is None:
        ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert abs(limit - ram / 10) < ram / 100
    else:
        assert limit == expected
    mount.create("x", 4096)


def test_nr_inodes(mounts):
    mount = mounts("nr_inodes=1k")
    assert os.statvfs(mount).f_files == 1024


@pytest.mark.parametrize("user, uid", [("nobody", 65534), ("12345", 12345)])
def test_owner(mounts, user, uid):
    mount = mounts(f"uid={user},gid=12,mode=2710")
    st = os.stat(mount)
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (uid, 12, 0o2710)


@pytest.mark.parametrize(
    "options, shown_as",
    [("ro", "ro"), ("nosuid", "nosuid"), ("nodev", "nodev"), ("noexec", "noexec"),
     ("noatime", "noatime"), ("sync", "sync"), ("dirsync", "dirsync"),
     ("nosymfollow", "nosymfollow")],
)  # fmt: skip
def test_flags(mounts, options, shown_as):
    mount = mounts(options)
    fields = mount_line(mount)
    assert shown_as in fields[5].split(",") + fields[-1].split(",")


def test_read_only(mounts):
    mount = mounts("ro")
    for call in (
        lambda: os.mkdir(mount / "d"),
        lambda: os.open(mount / "f", os.O_CREAT | os.O_WRONLY),
        lambda: os.chmod(mount, 0o700),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EROFS


def test_noexec_and_exec(mounts):
    for options, works in (("noexec", False), ("exec", True)):
        mount = mounts(options)
        script = mount / "true"
        shutil.copy("/bin/true", script)
        script.chmod(0o755)
        if works:
            assert run([script]).returncode == 0
        else:
            with pytest.raises(PermissionError):
                run([script])


def test_passthrough_modes(mounts):
    possible = int(kernel_is_from(6, 9))
    for word, value in (("on", 1), ("off", 0), ("auto", possible)):
        if word == "on" and not possible:
            continue  # test_passthrough_refused
        mount = mounts(passthrough=word)
        assert mount.stats()["iomemfs_passthrough"] == value


ACCEPTED = (
    "defaults,auto,noauto,user,nouser,users,nousers,owner,group,_netdev,nofail,comment=x,x-a.b,"
    "relatime,norelatime,strictatime,lazytime,nolazytime,diratime,nodiratime,silent,loud,"
    "user=somebody,iversion,rw,dev,suid,exec,async,atime"
)


def test_options_without_meaning(target):
    with mounted_by([program(), target, "-o", ACCEPTED], target):
        use(target)


# Refusals


BAD_OPTIONS = [
    "size=1x", "size=", "size=-1", "size=1.5", "size=1kk", "size=1.5%", "size=%", "size=99999999999999999999",
    "size=10%%", "size", "nr_inodes=", "nr_inodes=x", "nr_inodes=5%", "mode=9", "mode=", "mode=77777",
    "uid=", "uid=no-such-user", "gid=-1", "passthrough=", "passthrough=yes", "socket=",
    "socket=relative/path", "socket=/" + "x" * 200, "spin=", "spin=-1", "spin=1001", "xattr=", "xattr=yes", "latency=", "latency=high",
    "bogus=1", "bogus", "remountx", "user_id=0", "sizes=1g", "SIZE=1g",
]  # fmt: skip


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_bad_options(target, option):
    line = refused([program(), target, "-o", "rw," + option], 1, "iomemfs: ", option[:40])
    assert "not mounted" not in line
    assert not is_mounted(target)


@pytest.mark.parametrize(
    "words", [[], ["a", "b", "c"], ["DIR", "-x"], ["DIR", "--bogus"], ["DIR", "-o"]]
)
def test_bad_usage(target, words):
    refused([program(), *[target if w == "DIR" else w for w in words]], 1)
    assert not is_mounted(target)


@pytest.mark.installed
@pytest.mark.parametrize("fstype", ["fuse.iomemfs", "iomemfs"])
def test_bad_options_by_mount(target, fstype):
    result = run(["mount", "-t", fstype, "name", target, "-o", "size=1x"])
    assert result.returncode == 1
    assert "size=1x" in result.stderr
    assert not is_mounted(target)


@pytest.mark.parametrize("word, permissions", [("x-mount.mkdir", 0o755), ("X-mount.mkdir=0700", 0o700)])
def test_mount_point_is_made(home, word, permissions):
    path = home / "a" / "b" / "c"
    refused([program(), path], 32, "make the directory first")
    with mounted_by([program(), path, "-o", word], path):
        use(path)
    assert stat.S_IMODE(path.stat().st_mode) == permissions
    with mounted_by([program(), path, "-o", word], path):
        use(path)


def test_bad_mount_points(home):
    refused([program(), home / "missing"], 32, "missing", "no such file")
    (home / "file").write_text("")
    refused([program(), home / "file"], 32, "file", "not a directory")
    refused([program(), ""], 32)


def test_user_without_right(home):
    home.chmod(0o755)
    (home / "mnt").mkdir(mode=0o755)
    refused([program(), home / "mnt"], 32, "no write access", user=NOBODY)
    assert not is_mounted(home / "mnt")


def test_passthrough_refused(target):
    """What cannot be had is said, and nothing stays mounted."""
    os.chown(target, *NOBODY)
    result = run([program(), target, "-o", "passthrough=on"], user=NOBODY)
    said = without_kernel_warnings(result.stderr, passthrough=False)
    assert (result.returncode, result.stdout) == (32, "")
    assert len(said.splitlines()) == 1 and "passthrough" in said
    wait_for(lambda: not is_mounted(target), "the end of the half-made mount")


# Ordinary users


def test_ordinary_user(target):
    os.chown(target, *NOBODY)
    mark = str(uuid.uuid4())
    environment = dict(os.environ, IOMEMFS_TEST_MARK=mark)
    word = f"IOMEMFS_TEST_MARK={mark}"
    result = run([program(), target], user=NOBODY, env=environment)
    try:
        assert result.returncode == 0, result.stderr
        # Said once, and it is no failure.
        said = without_kernel_warnings(result.stderr, passthrough=False)
        assert len(said.splitlines()) == 1 and "passthrough" in said
        fields = mount_line(target)
        assert "nosuid" in fields[5] and "nodev" in fields[5]
        as_user(NOBODY, use, target)
        st = as_user(NOBODY, os.stat, target)
        assert (st.st_uid, st.st_gid) == NOBODY
        stats = as_user(NOBODY, (target / ".ctl" / "stats").read_text)
        assert "iomemfs_passthrough 0" in stats
        with pytest.raises(PermissionError):
            as_user(DAEMON, os.listdir, target)
    finally:
        run(["fusermount3", "-u", target], user=NOBODY, check=True)
    wait_for(lambda: not processes_with_environment(word), "the daemon's end")


def test_ordinary_user_silent_with_off(target):
    os.chown(target, *NOBODY)
    argv = [program(), target, "-o", "passthrough=off"]
    with mounted_by(argv, target, user=NOBODY):
        as_user(NOBODY, use, target)


# Remount


def limits(mount):
    vfs = os.statvfs(mount)
    return vfs.f_blocks * vfs.f_frsize, vfs.f_files


def test_remount(mounts):
    mount = mounts("size=64m,nr_inodes=100")
    mount.create("a", "32M")
    with pytest.raises(OSError) as caught:
        mount.create("b", "64M")
    assert caught.value.errno == errno.ENOSPC

    def remount(options):
        return run([program(), mount.path, "-o", f"remount,{options}"])

    assert remount("size=128m").returncode == 0
    assert limits(mount) == (128 * MIB, 100)
    mount.create("b", "64M")
    assert remount("nr_inodes=200,size=100m").returncode == 0
    assert limits(mount) == (100 * MIB, 200)
    refused([program(), mount.path, "-o", "remount,size=64m"], 32, "iomemfs: ")
    refused([program(), mount.path, "-o", "remount,nr_inodes=2"], 32, "iomemfs: ")
    assert limits(mount) == (100 * MIB, 200)
    refused([program(), mount.path, "-o", "remount,size=1x"], 1, "size=1x")
    assert (mount / "a").stat().st_size == 32 * MIB


def test_remount_flags(mounts):
    mount = mounts("noexec")
    assert run([program(), mount.path, "-o", "remount,ro"], check=True).stderr == ""
    with pytest.raises(OSError) as caught:
        os.mkdir(mount / "d")
    assert caught.value.errno == errno.EROFS
    assert "noexec" in mount_line(mount)[5]
    run([program(), mount.path, "-o", "remount,rw"], check=True)
    os.mkdir(mount / "d")
    assert "noexec" in mount_line(mount)[5]


@pytest.mark.installed
@pytest.mark.parametrize("options", ["size=2g", "size=2g,ro", "nr_inodes=50", "ro"])
def test_remount_by_mount(target, options):
    with mounted_by(["mount", "-t", "fuse.iomemfs", "name", target, "-o", "size=1g"], target):
        result = run(["mount", "-o", f"remount,{options}", target])
        assert (result.returncode, result.stderr) == (0, "")
        assert len([p for p in [mount_line(target)] if p]) == 1
        size, inodes = limits(target)
        assert size == (2 if "size=2g" in options else 1) * 1024 * MIB
        assert inodes == 50 or "nr_inodes" not in options
        assert ("ro" in mount_line(target)[5].split(",")) == ("ro" in options.split(","))


def test_remount_elsewhere(target):
    refused([program(), target, "-o", "remount,size=1g"], 32, "no iomemfs")


def test_remount_by_another_user(mounts):
    mount = mounts("size=64m")
    refused([program(), mount.path, "-o", "remount,size=1g"], 32, user=NOBODY)
    assert limits(mount)[0] == 64 * MIB


# The end


def shmem():
    with open("/proc/meminfo", encoding="ascii") as table:
        for line in table:
            if line.startswith("Shmem:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no Shmem in /proc/meminfo")


@pytest.mark.alone
@pytest.mark.parametrize("how", ["command", "file"])
def test_unmount_frees_memory(mounts, how):
    mount = mounts("size=1g")
    if how == "command":
        mount.create("big", "512M")
    with open(mount / "big", "r+b" if how == "command" else "wb") as stream:
        for _ in range(512):
            stream.write(b"x" * MIB)
    peak = shmem()
    mount.unmount()
    mount.wait_end()
    wait_for(lambda: shmem() < peak - 256 * MIB, "the memory's return")
    mount.start()  # the fixture ends it


def test_busy_mount(mounts):
    mount = mounts()
    mount.create("x", 4096)
    fd = os.open(mount / "x", os.O_RDWR)
    try:
        assert run(["umount", mount]).returncode == 32
        os.pwrite(fd, b"still here", 0)
        assert os.pread(fd, 10, 0) == b"still here"
    finally:
        os.close(fd)


def test_lazy_unmount(mounts):
    """What is open goes on; the daemon ends with the last of it."""
    mount = mounts()
    mount.create("x", 4096)
    fd = os.open(mount / "x", os.O_RDWR)
    try:
        run(["umount", "-l", mount], check=True)
        os.ftruncate(fd, 8192)
        os.pwrite(fd, b"still here", 5000)
        assert os.pread(fd, 10, 5000) == b"still here"
        assert mount.pids()
    finally:
        os.close(fd)
    mount.wait_end()
    mount.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_unmount(mounts, number):
    mount = mounts()
    mount.create("x", 4096)
    mount.process.send_signal(number)
    assert mount.process.wait(LIMIT) == 0
    mount.wait_end()
    assert not is_mounted(mount.path)
    assert mount.failures() == []
    mount.start()


def test_two_mounts(mounts):
    one, two = mounts("size=64m"), mounts("size=128m")
    one.create("x", "1M")
    two.create("x", "2M")
    (one / "only").write_text("here")
    assert (one / "x").stat().st_size == MIB and (two / "x").stat().st_size == 2 * MIB
    assert not (two / "only").exists()
    assert one.path.stat().st_dev != two.path.stat().st_dev
    with pytest.raises(OSError) as caught:
        os.link(one / "x", two / "y")
    assert caught.value.errno == errno.EXDEV


def test_mount_twice(mounts):
    """Refused by name; what is mounted is as it was, its socket included."""
    mount = mounts()
    (mount / "file").write_text("content")
    for argv in (
        [program(), mount.path],
        [program(), "other", mount.path, "-f", "-o", f"socket={mount.home}/socket"],
        [program(), f"{mount.path}/."],
    ):
        line = refused(argv, 32)
        assert line == f"iomemfs: {mount.path}: already mounted\n"
    assert (mount / "file").read_text() == "content"
    with socket_client.Client(socket_client.socket_of(mount)) as client:
        assert [region["name"] for region in client.list()] == ["file"]


@pytest.mark.installed
@pytest.mark.parametrize("form", ["fuse", "fuse.iomemfs", "iomemfs"])
def test_mount_twice_by_mount(target, form):
    argv, _ = FORMS[form]
    argv = [target if word == "DIR" else word for word in argv]
    with mounted_by(argv, target):
        result = run(argv)
        assert result.returncode == 32
        assert f"iomemfs: {target}: already mounted" in result.stderr
        use(target)


@pytest.mark.may_leave_mount
def test_mount_with_another_between(mounts):
    """It is the mount on top that counts: over a tmpfs over an iomemfs, one can mount."""
    lower = mounts()
    (lower / "below").write_text("below")
    run(["mount", "-t", "tmpfs", "between", lower.path], check=True)
    try:
        upper = mounts(directory=lower.path)
        assert os.listdir(upper) == []
        upper.unmount()
        upper.wait_end()
    finally:
        run(["umount", lower.path], check=True)
    assert (lower / "below").read_text() == "below"


@pytest.mark.parametrize("name", ["with space", "tab\tand\\backslash", "newline\n, twice"])
def test_mount_twice_whatever_the_name(mounts, home, name):
    directory = home / name
    directory.mkdir()
    mount = mounts(directory=directory)
    result = run([program(), directory])
    assert (result.returncode, result.stderr) == (32, f"iomemfs: {directory}: already mounted\n")
    assert os.listdir(mount) == []


def test_foreground_logs_to_stderr(mounts):
    mount = mounts()
    mount.unmount()
    mount.wait_end()
    log = mount.log()
    assert all(line.startswith("iomemfs: ") for line in log.splitlines()), log
    mount.start()


def test_descriptor_limit_is_raised(mounts):
    mount = mounts()
    with open(f"/proc/{mount.process.pid}/limits", encoding="ascii") as table:
        fields = next(line.split() for line in table if line.startswith("Max open files"))
    assert fields[3] == fields[4]


def test_survives_closed_standard_descriptors(target):
    """Started as some services are: without descriptors 0, 1 and 2."""
    mark = str(uuid.uuid4())
    environment = dict(os.environ, IOMEMFS_TEST_MARK=mark)
    word = f"IOMEMFS_TEST_MARK={mark}"
    argv = ["sh", "-c", 'exec "$0" "$1" <&- >&- 2>&-', program(), str(target)]
    try:
        assert subprocess.run(argv, env=environment, timeout=LIMIT, check=False).returncode == 0
        use(target)
    finally:
        run(["umount", target], check=True)
    wait_for(lambda: not processes_with_environment(word), "the daemon's end")
