# SPDX-License-Identifier: MIT
"""Descriptors that clients send to the socket, whose close takes as long as the sender likes."""

import contextlib
import errno
import os
import signal
import socket
import struct
import time

import pytest

import stuck_file
import support
from socket_client import Client

OLDER = {"IOMEMFS_TESTING": "1", "IOMEMFS_TEST_PASSRIGHTS": "no"}
SO_PASSRIGHTS = 83
DESCRIPTORS = 60


def kernel_refuses():
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError as error:
            assert error.errno == errno.ENOPROTOOPT
            return False
    return True


# How the daemon keeps out of it: by the kernel, and as where the kernel cannot.
both_ways = pytest.mark.parametrize(
    "refused",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not kernel_refuses(), reason="before Linux 6.16")
        ),
        pytest.param(False, marks=pytest.mark.environment(**OLDER)),
    ],
    ids=["by-the-kernel", "by-the-daemon"],
)


class Lingering:
    """Makes TCP connections whose close waits for an answer that never comes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def let_go(self):
        """Those that end need not wait."""

    def descriptor(self):
        one = socket.create_connection(self.listener.getsockname())
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30000))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                one.send(bytes(65536))
        one.setblocking(True)
        return one.detach()


class Stuck(stuck_file.StuckFile):
    def descriptor(self):
        return os.open(self.path, os.O_RDWR)


def send(path, fd, before, line, after, wait):
    """Sends it, as one who has nothing else to do with it; whether it could be sent."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(support.LIMIT)
        one.connect(path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if before:
                one.sendall(before)
            socket.send_fds(one, [line], [fd])
            if after:
                one.sendall(after)
            if wait:
                while one.recv(65536):
                    pass


WAYS = [
    (b"", b"list\n", b"", True),
    (b"", b"list\n", b"", False),
    (b"list\nli", b"st\n", b"list\n", True),
    (b"list\n" * 100, b"x", b"", False),
    (b"wait nothing\n", b"list\n", b"", False),
    (b"", b"x" * 9000, b"", False),
]


def send_descriptors(hit, path, source, refused):
    """All ways, as often as there may be descriptors: its own closes would wait as well."""
    held = []
    while len(held) < DESCRIPTORS:
        held.append(source.descriptor())
        try:
            send(path, held[-1], *WAYS[len(held) % len(WAYS)])
            assert not refused
        except PermissionError:
            assert refused
        hit()
    while True:
        time.sleep(3600)


@both_ways
@pytest.mark.parametrize("kind", [Lingering, Stuck])
def test_nobody_waits_for_its_close(beside, refused, kind):
    before = len(beside.mount.pids())
    with kind() as source:
        with beside.attack(send_descriptors, beside.socket_path, source, refused, processes=3):
            beside.serve(hits=DESCRIPTORS)
            source.let_go()
        beside.serve()
        support.wait_for(lambda: len(beside.mount.pids()) <= before, "the end of who closes them")


@both_ways
@pytest.mark.options("clients=10")
def test_more_than_its_connections(beside, refused):
    """What is refused because of clients= is closed, too."""
    del refused
    with Lingering() as source:
        with beside.attack(send_and_hold, beside.socket_path, source, 100):
            beside.wait_hits(100)
            beside.serve(hits=0)


def send_and_hold(hit, path, source, count):
    """So many connections at once, each with a descriptor in it and nobody who reads."""
    held = []
    for _ in range(count):
        one = socket.socket(socket.AF_UNIX)
        one.connect(path)
        with contextlib.suppress(OSError):
            socket.send_fds(one, [b"list\n"], [source.descriptor()])
        held.append(one)
        hit()
    while True:
        time.sleep(3600)


@both_ways
@pytest.mark.log_allows("killed by signal 9")
def test_a_worker_that_follows_does_not_wait(beside, refused):
    """The connections of the last worker, with descriptors in them that nobody took out."""
    worker = beside.daemon.worker()
    os.kill(worker, signal.SIGSTOP)
    with Lingering() as source:
        with beside.attack(send_and_hold, beside.socket_path, source, 20):
            beside.wait_hits(20)
            beside.daemon.kill_worker()
            beside.restarts += 1
            beside.serve(hits=0)
    del refused


@pytest.mark.environment(**OLDER)
def test_who_sends_one_is_told(beside):
    with Client(beside.socket_path) as client:
        assert client.list("victim")
        reader, writer = os.pipe()
        socket.send_fds(client.socket, [b"list\n"], [writer])
        os.close(writer)
        assert client.receive().startswith("error EPERM")
        assert os.read(reader, 1) == b""  # nobody holds the other end
        os.close(reader)
        with pytest.raises(EOFError):
            client.receive()
