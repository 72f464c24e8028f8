# SPDX-License-Identifier: MIT
"""A process that ended after it connected, and whose number another has got."""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import stat

import pytest

import beside as harness
import support
from socket_client import Client, Refused

libc = ctypes.CDLL(None, use_errno=True)
SO_PEERPIDFD = 77
PR_SET_NAME = 15
PAGE = 4096


def kernel_has_peerpidfd():
    one, other = socket.socketpair()
    with one, other:
        try:
            os.close(one.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
        except OSError as error:
            return error.errno != errno.ENOPROTOOPT
    return True


pytestmark = pytest.mark.skipif(
    not kernel_has_peerpidfd(), reason="a kernel without SO_PEERPIDFD (Linux 6.5)"
)


def drop_capabilities():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert libc.capset(header, (ctypes.c_uint32 * 6)()) == 0


class ConnectedByTheDead(Client):
    """A connection that a process made which has ended since."""

    def __init__(self, path, become):  # pylint: disable=super-init-not-called
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(support.LIMIT)
        self.buffer, self.fds = b"", []
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                become()
                self.socket.connect(path)
                os._exit(0)
            os._exit(1)
        assert os.waitpid(self.pid, 0)[1] == 0


@contextlib.contextmanager
def reused(pid, become=lambda: None):
    """Another process with that number, for a while."""
    child = 0
    for _ in range(2000):
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as last:
            last.write(str(pid - 1))
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                if os.getpid() == pid:
                    become()
                    signal.pause()
            os._exit(0)
        if child == pid:
            break
        os.waitpid(child, 0)
    try:
        assert child == pid, "the number could not be had"
        yield
    finally:
        if child == pid:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def become_attacker():
    os.setgroups([])
    os.setgid(harness.ATTACKER[1])
    os.setuid(harness.ATTACKER[0])


def become_innocent():
    libc.prctl(PR_SET_NAME, b"innocent", 0, 0, 0)
    os.umask(0)


def test_nothing_is_blamed_on_another(beside):
    with ConnectedByTheDead(beside.socket_path, become_attacker) as client:
        with reused(client.pid, become_innocent):
            support.wait_for(
                lambda: open(f"/proc/{client.pid}/comm", encoding="ascii").read() == "innocent\n"
            )
            client.ask(f"create attacker/mine {PAGE}")
            assert client.stat("attacker/mine")["creator_command"] == ""
            st = os.stat(beside.attackers / "mine")
            assert stat.S_IMODE(st.st_mode) == 0o600  # nor made with another's umask
            assert st.st_uid == harness.ATTACKER[0]


def test_no_power_comes_from_another(beside):
    """Root without its capabilities, and then root with them: looked up when it is accepted."""
    worker = beside.daemon.worker()
    os.kill(worker, signal.SIGSTOP)
    try:
        client = ConnectedByTheDead(beside.socket_path, drop_capabilities)
        with client, reused(client.pid):
            os.kill(worker, signal.SIGCONT)
            with pytest.raises(Refused) as caught:
                client.ask("remove victim/kept")
            assert caught.value.errno in (errno.EACCES, errno.ENOENT)
    finally:
        os.kill(worker, signal.SIGCONT)
    beside.serve()


def test_a_name_is_the_callers_while_it_lives(beside):
    with Client(beside.socket_path) as client:
        client.ask(f"create victim/mine {PAGE}")
        name = client.stat("victim/mine")["creator_command"]
        assert name == open("/proc/self/comm", encoding="ascii").read().strip()
        client.ask("remove victim/mine")
