# SPDX-License-Identifier: MIT
"""The end of one mount and the start of the next; mounts in private mount namespaces."""

import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import uuid

import crash_load
import pytest
import support
from support import LIMIT, is_mounted, program, run, wait_for

ROUNDS = 200


@pytest.fixture
def target():
    home = support.scratch_directory()
    path = home / "mnt"
    path.mkdir()
    yield path
    while is_mounted(path):
        run(["umount", "-l", path], check=True)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def marked():
    """An environment by which all processes are found; they are gone when the test ends."""
    mark = str(uuid.uuid4())
    word = f"IOMEMFS_TEST_MARK={mark}"
    yield dict(os.environ, IOMEMFS_TEST_MARK=mark), lambda: support.processes_with_environment(word)
    try:
        wait_for(lambda: not support.processes_with_environment(word), "the daemon's end")
    finally:
        for pid in support.processes_with_environment(word):
            os.kill(pid, signal.SIGKILL)


def default_socket(path):
    return "/run/iomemfs/" + str(path)[1:].replace("-", "\\x2d").replace("/", "-") + ".sock"


def is_served(path):
    """Whether a daemon answers at this socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT)
        try:
            client.connect(path)
            client.sendall(b"nonsense\n")
            return client.recv(100).startswith(b"error")
        except OSError:
            return False


def mount_it(path, environment, *options):
    result = run([program(), path, *options], env=environment)
    assert result.returncode == 0 and "no socket" not in result.stderr, result.stderr


@pytest.mark.timeout(240)
def test_remount_at_once_has_a_socket(target, marked):
    environment, _ = marked
    path = default_socket(target)
    for number in range(ROUNDS):
        mount_it(target, environment)
        assert is_served(path), f"round {number}"
        run(["umount", target], check=True)
    wait_for(lambda: not os.path.lexists(path), "the last socket's end")


def test_daemon_that_ends_slowly(target, marked):
    """The next one waits for its socket, and keeps it when the first has ended."""
    environment, pids = marked
    mount_it(target, environment)
    old = pids()
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    # umount(8) would ask it something first.
    assert ctypes.CDLL(None).umount2(bytes(target), 0) == 0
    with subprocess.Popen([program(), str(target)], env=environment) as mounting:
        with pytest.raises(subprocess.TimeoutExpired):
            mounting.wait(0.3)
        for pid in old:
            os.kill(pid, signal.SIGCONT)
        assert mounting.wait(LIMIT) == 0
    wait_for(lambda: not set(old) & set(pids()), "the first daemon's end")
    assert is_served(default_socket(target))
    run(["umount", target], check=True)


def test_dead_mount_is_replaced(target, marked):
    """All processes died: what they left is unmounted, however often, and the socket replaced."""
    environment, pids = marked
    for _ in range(2):
        result = run([program(), target], env=environment)
        assert result.returncode == 0, result.stderr
        os.listdir(target)
        everybody = pids()
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        for pid in everybody:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not pids(), "the death of all")
        with pytest.raises(OSError):
            os.listdir(target)
    result = run([program(), target], env=environment)
    assert result.returncode == 0 and "unmounted what a dead daemon had left" in result.stderr
    assert is_served(default_socket(target))
    run(["umount", target], check=True)
    assert not is_mounted(target)


# Private mount namespaces


class Private:
    """A shell in a mount namespace of its own, with a mount that was made there."""

    def __init__(self, target, environment, options="socket=none", how=("-m",)):
        self.target = target
        self.shell = subprocess.Popen(
            ["unshare", *how, "sh"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, bufsize=1,
        )  # fmt: skip
        self.say(f"{program()} {target} -o {options} && echo mounted", "mounted")

    def say(self, command, expected):
        self.shell.stdin.write(command + "\n")
        assert self.shell.stdout.readline().strip() == expected

    def daemon(self, pids):
        """Its processes."""
        return [pid for pid in pids() if pid != self.shell.pid]

    def end(self):
        self.shell.kill()
        self.shell.wait()
        self.shell.stdin.close()
        self.shell.stdout.close()


@contextlib.contextmanager
def private(*arguments, **keywords):
    one = Private(*arguments, **keywords)
    try:
        yield one
    finally:
        one.end()


def mount_points(pid):
    lines = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines]


@pytest.mark.parametrize("how", ["-m", "-Urm"])
def test_private_mount_ends_with_its_namespace(target, marked, how):
    """Also in a user namespace, where there is no passthrough."""
    environment, pids = marked
    with private(target, environment, how=[how]) as one:
        one.say(f"echo 'big 64M populate' > {target}/.ctl/create; ls {target}", "big")
        assert not is_mounted(target)
        assert one.daemon(pids)
    wait_for(lambda: not pids(), "the daemon's end with the namespace")


@pytest.mark.parametrize("whom", ["worker", "keeper"])
def test_private_mount_survives_deaths(target, marked, whom):
    """Also when the program had to be loaded anew, it ends with the namespace."""
    environment, pids = marked
    with private(target, environment) as one:
        one.say(f"echo 'kept 1M' > {target}/.ctl/create; ls {target}", "kept")
        before = set(one.daemon(pids))
        keeper = next(pid for pid in before if crash_load.children(pid))
        victim = keeper if whom == "keeper" else crash_load.children(keeper)[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: set(one.daemon(pids)) - before, "a new process")
        one.say(f"ls {target}", "kept")
    wait_for(lambda: not pids(), "the daemon's end with the namespace")


def test_private_daemon_keeps_no_mounts(target, marked):
    """Neither its own, nor those of others, whose memory they would hold."""
    environment, pids = marked
    other = target.parent / "other"
    other.mkdir()
    run(["mount", "-t", "tmpfs", "other", other], check=True)
    try:
        with private(target, environment) as one:
            for pid in one.daemon(pids):
                points = mount_points(pid)
                assert str(target) not in points and str(other) not in points
                assert "/proc" in points and "/dev" in points
            assert str(other) in mount_points(one.shell.pid)
            assert str(target) in mount_points(one.shell.pid)
        assert is_mounted(other), "what was detached there is still mounted here"
    finally:
        run(["umount", other], check=True)


def test_private_mount_is_unmounted_by_signal(target, marked):
    environment, pids = marked
    with private(target, environment) as one:
        keeper = next(pid for pid in one.daemon(pids) if crash_load.children(pid))
        os.kill(keeper, signal.SIGTERM)
        wait_for(lambda: not one.daemon(pids), "the daemon's end")
        assert str(target) not in mount_points(one.shell.pid)


def test_ordinary_user_cannot_leave(target, marked):
    """Nobody without rights can move to another namespace: that is said."""
    environment, pids = marked
    os.chown(target, *support.NOBODY)
    with subprocess.Popen(
        ["unshare", "-m", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         program(), str(target), "-f", "-o", "socket=none,passthrough=off"],
        env=environment, stderr=subprocess.PIPE, text=True,
    ) as daemon:  # fmt: skip
        assert "cannot leave the private mount namespace" in daemon.stderr.readline()
        wait_for(lambda: len(pids()) >= 2 and crash_load.children(daemon.pid), "a worker")
        daemon.terminate()
        assert daemon.wait(LIMIT) == 0


def test_mount_with_the_first_process_stays_where_it_is(mounts):
    """A mount in the namespace of process 1 does as ever."""
    mount = mounts()
    assert str(mount.path) in mount_points(mount.process.pid)


@pytest.mark.may_leave_mount
def test_unmount_beside_a_container(mounts, marked):
    """Somebody else still has the mount: that is said, the data stays, and the path is free."""
    environment, _ = marked
    mount = mounts()
    mount.create("kept", 4096)
    path = re.search(r"socket=(\S+)", " ".join(mount.argv))[1]
    with subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", f"cat; ls {mount}"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as container:  # fmt: skip
        wait_for(lambda: os.readlink(f"/proc/{container.pid}/ns/mnt")
                 != os.readlink("/proc/self/ns/mnt"), "the container")
        run(["umount", mount], check=True)
        wait_for(lambda: "is still in use" in mount.log(), "the line in the log")
        wait_for(lambda: not os.path.lexists(path), "the socket's end")
        assert mount.pids()
        assert container.communicate(timeout=LIMIT)[0] == "kept\n"
    mount.wait_end()
